package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The parts of workloads that have several.
const (
	partAppend    = ""
	partReplay    = "replay"
	partMemory    = "memory"
	partCold      = "cold"
	partProducing = "beside a producer"

	partIdle       = "idle"
	partBulk       = "after B1"
	partMany       = "many partitions"
	partOneNode    = "one node"
	partThreeNodes = "three nodes"
	partKill       = "kill"
	partStop       = "stop"
)

const (
	fetchBytes = 50_000_000
	// readStep is how the disk itself is read for comparison, and readSample how much of it.
	readStep   = 1 << 20
	readSample = 1_000_000_000
	// besideSeconds is how long the producer runs for its quiet p99, and at least beside the reader.
	besideSeconds = 10
)

// consume reads a topic from its beginning to where it ends now, and counts on m.
func consume(ctx context.Context, c *Cluster, topic string, m *meter, progress func(share float64)) error {
	cl, err := connect(c, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(fetchBytes))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("ask for the end of topic %s: %w", topic, err)
	}
	var total, done int64
	ends.Each(func(end kadm.ListedOffset) { total += end.Offset })
	for done < total {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read topic %s: %w", topic, err)
		}
		var records, bytes int64
		fetches.EachRecord(func(record *kgo.Record) {
			records++
			bytes += int64(len(record.Value))
		})
		done += records
		m.records.Add(records)
		m.bytes.Add(bytes)
		progress(float64(done) / float64(total))
	}
	return nil
}

// read measures a reader of a whole topic.
func (r *run) read(ctx context.Context, c *Cluster, topic, part string) error {
	f, err := r.readFigures(ctx, c, topic, part)
	if err != nil {
		return err
	}
	return r.report(f)
}

func (r *run) readFigures(ctx context.Context, c *Cluster, topic, part string) (finding, error) {
	m := newMeter(r.kernel, r.subject(c))
	f := finding{part: part, began: time.Now(), config: r.config}
	if err := m.begin(ctx); err != nil {
		return f, err
	}
	defer m.abandon()
	if err := consume(ctx, c, topic, m, func(share float64) { r.tell("read "+part, share) }); err != nil {
		return f, err
	}
	var err error
	f.figures, err = m.end(ctx)
	f.timeline = m.Timeline()
	return f, err
}

// catchUp measures how an old topic is read: from memory, from the disk, beside a producer.
func (r *run) catchUp(ctx context.Context) error {
	h, err := r.cluster(ctx)
	if err != nil {
		return err
	}
	if err := r.checkSpace(r.config); err != nil {
		return err
	}
	topic := r.topicName(r.config.ID)
	if err := r.fill(ctx, h, topic); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	if err := r.read(ctx, h.Cluster, topic, partMemory); err != nil {
		return err
	}
	if err := r.readCold(ctx, h, topic); err != nil {
		return err
	}
	if err := r.readBeside(ctx, h, topic); err != nil {
		return err
	}
	return deleteTopic(ctx, h.Cluster, topic)
}

// fill makes a topic with as many bytes as the workload says.
func (r *run) fill(ctx context.Context, h *hosted, topic string) error {
	if _, err := createTopic(ctx, h.Cluster, r.spec(topic, r.config, len(h.Nodes))); err != nil {
		return err
	}
	config := r.config
	config.Rate = 0
	p, err := newProducer(h.Cluster, topic, config)
	if err != nil {
		return err
	}
	defer p.Close()
	const steps = 100
	for step := range steps {
		r.tell("fill", float64(step)/steps)
		if err := p.Warm(ctx, config.DataBytes/int64(config.RecordBytes)/steps); err != nil {
			return err
		}
	}
	return nil
}

// readCold reads the topic after the kernel has forgotten all files, and the files themselves likewise.
func (r *run) readCold(ctx context.Context, h *hosted, topic string) error {
	forget := func() error { return errors.Join(r.settle(ctx), r.kernel.DropCaches()) }
	if err := forget(); err != nil {
		return r.finish(Result{
			Workload: r.config.ID, Part: partCold, Peer: r.peer.Name, Version: r.versions[r.peer.Name], Pair: r.pair,
			Quick: r.Quick, Began: time.Now().UTC(), Config: r.config, Failed: err.Error(),
		})
	}
	r.tell("read the files", 0)
	disk, err := readFiles(h.Nodes[0].Data)
	if err != nil {
		return err
	}
	if err := forget(); err != nil {
		return err
	}
	f, err := r.readFigures(ctx, h.Cluster, topic, partCold)
	if err != nil {
		return err
	}
	f.figures[FigureColdDisk] = disk
	return r.report(f)
}

// readFiles reads the large files below a folder, one after the other, and returns 1e6 bytes a second.
func readFiles(folder string) (float64, error) {
	var bytes int64
	buffer := make([]byte, readStep)
	began := time.Now()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || bytes >= readSample {
			return nil // It may go while we look.
		}
		info, err := entry.Info()
		if err != nil || info.Size() < readStep {
			return nil // It may go while we look.
		}
		file, err := os.Open(path)
		if err != nil {
			return nil // It may go while we look.
		}
		defer file.Close()
		for bytes < readSample {
			n, err := file.Read(buffer)
			bytes += int64(n)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
		}
		return nil
	})
	return float64(bytes) / megabyte / time.Since(began).Seconds(), err
}

// readBeside measures a producer alone and then beside a reader of the old topic.
func (r *run) readBeside(ctx context.Context, h *hosted, topic string) error {
	config := r.config
	config.DataBytes, config.Records, config.Warm = 0, int64(config.Rate*besideSeconds), int64(config.Rate)
	if r.Quick {
		config.Records /= quickShare
	}
	quiet, err := r.produceOn(ctx, h.Cluster, config)
	if err != nil {
		return err
	}
	reading, cancel := context.WithCancel(ctx)
	reader := newMeter(r.kernel, r.subject(h.Cluster))
	if err := reader.begin(ctx); err != nil {
		cancel()
		return err
	}
	var failure error
	var read sync.WaitGroup
	read.Go(func() { // cancel ends it
		for reading.Err() == nil && failure == nil {
			failure = consume(reading, h.Cluster, topic, reader, func(float64) {})
		}
	})
	beside, err := r.produceOn(ctx, h.Cluster, config)
	cancel()
	read.Wait()
	defer reader.abandon()
	if err == nil && failure != nil && !errors.Is(failure, context.Canceled) {
		err = failure
	}
	if err != nil {
		return err
	}
	figures, err := reader.end(ctx)
	if err != nil {
		return err
	}
	beside.part = partProducing
	beside.figures[FigureThroughput] = figures[FigureThroughput] // The reader's; the producer's is given.
	beside.figures[FigureRate] = figures[FigureRate]
	if p99 := quiet.figures[FigureP99]; p99 > 0 {
		beside.figures[FigureDisturbed] = beside.figures[FigureP99] / p99
	}
	return r.report(beside)
}
