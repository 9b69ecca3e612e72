package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/offline"
)

// maxBatchBytes bounds what one stored batch is decompressed to.
const maxBatchBytes = 256 << 20

// A disk is the log of a node that is not running, as a framework.Source.
type disk struct {
	reader *offline.Reader
	codecs record.Codecs
}

func openDisk(folder string) (*disk, error) {
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return nil, command.Advise(fmt.Errorf("%s is not a folder", folder), "name a node's data folder with --from-disk, such as ./stela-data")
	}
	reader, err := offline.Open(offline.Config{Dir: folder})
	if err != nil {
		return nil, command.Advise(err, "name the data folder of a node that is not running")
	}
	return &disk{reader: reader}, nil
}

// close closes the folder; nothing in it was changed.
func (d *disk) close() { _ = d.reader.Close() }

// Cut implements framework.Source.
func (d *disk) Cut(_ context.Context, topics ...string) (client.Cut, error) {
	cut := client.Cut{}
	for _, topic := range topics {
		_, end, err := d.reader.Bounds(topic)
		if err != nil {
			return nil, err
		}
		for partition, offset := range end {
			cut.Set(topic, int32(partition), int64(offset))
		}
	}
	return cut, nil
}

// Replay implements framework.Source: one partition after another.
func (d *disk) Replay(ctx context.Context, request client.ReplayRequest) error {
	at, total := client.Cut{}, request.To.Events()
	var done int64
	report := func() {
		if request.Progress != nil {
			request.Progress(client.Progress{Done: done, Total: total, Cut: at})
		}
	}
	report()
	for _, topic := range slices.Sorted(maps.Keys(request.To)) {
		start, _, err := d.reader.Bounds(topic)
		if err != nil {
			return err
		}
		for partition, end := range request.To[topic] {
			if end == 0 {
				continue
			}
			if start[partition] > 0 {
				return fmt.Errorf("%s partition %d begins at offset %d: what was before is no longer kept", topic, partition, start[partition])
			}
			span := offline.Span{Topic: topic, Partition: int32(partition), To: record.Offset(end)}
			err := d.reader.Read(ctx, span, func(batch record.Batch) error {
				if err := d.visit(span, batch, request.Visit); err != nil {
					return err
				}
				next := min(int64(batch.LastOffset())+1, end)
				done += next - at.Offset(topic, int32(partition))
				at.Set(topic, int32(partition), next)
				report()
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// visit hands a batch's records of the span on. They are copied: the batch's bytes go away.
func (d *disk) visit(span offline.Span, batch record.Batch, visit func(client.Record) error) error {
	if batch.IsControl() {
		return nil
	}
	for r, err := range d.codecs.Records(batch, maxBatchBytes) {
		if err != nil {
			return err
		}
		offset := batch.Offset(&r)
		if offset >= span.To {
			return nil
		}
		copied := client.Record{
			Topic: span.Topic, Partition: span.Partition, Offset: int64(offset), LeaderEpoch: batch.LeaderEpoch(),
			Key: slices.Clone(r.Key), Value: slices.Clone(r.Value), Time: time.UnixMilli(batch.Timestamp(&r)),
		}
		for _, header := range r.Headers {
			copied.Headers = append(copied.Headers, client.Header{Name: string(header.Key), Value: slices.Clone(header.Value)})
		}
		if err := visit(copied); err != nil {
			return fmt.Errorf("offset %d: %w", offset, err)
		}
	}
	return nil
}
