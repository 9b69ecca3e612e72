package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

type dumpSegment struct {
	*general
	batches bool
	out     *bufio.Writer
	counts  segmentSummary
}

// segmentSummary is the last line about a segment.
type segmentSummary struct {
	Segment string `json:"segment"`
	Records int    `json:"records"`
	Batches int    `json:"batches"`
	Bytes   int64  `json:"bytes"`
	End     int64  `json:"end"`
	Torn    bool   `json:"torn"`
}

type segmentRecord struct {
	Offset  int64          `json:"offset"`
	Kind    string         `json:"kind"`
	Shard   record.Shard   `json:"shard"`
	Index   record.Index   `json:"index"`
	Term    record.Term    `json:"term"`
	Bytes   uint32         `json:"bytes"`
	Applied record.Index   `json:"applied"`
	Batches []segmentBatch `json:"batches,omitempty"`
	Notes   []segmentNote  `json:"notes,omitempty"`
}

type segmentBatch struct {
	Partition  record.Partition `json:"partition"`
	First      record.Offset    `json:"first"`
	Last       record.Offset    `json:"last"`
	Codec      string           `json:"codec"`
	Bytes      int              `json:"bytes"`
	Epoch      int32            `json:"epoch"`
	ProducerID int64            `json:"producerId"`
	Sequence   int32            `json:"sequence"`
}

type segmentNote struct {
	Kind  uint8 `json:"kind"`
	Bytes int   `json:"bytes"`
}

func newDumpSegment(g *general) *cobra.Command {
	c := &dumpSegment{general: g}
	cmd := &cobra.Command{
		Use:   "segment FILE...",
		Short: "Print and check the records of segment files",
		Long: `Print the records of segment files and check every checksum. A torn end, which a
crash leaves, is told; bytes that were acknowledged and cannot be read are an
error. Nothing is changed.`,
		Example: `  stela dump segment stela-data/log/*.segment
  stela dump segment stela-data/log/*.segment --batches -o json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c.out = bufio.NewWriter(c.Out)
			for _, path := range args {
				if err := c.dump(path); err != nil {
					return firstError(err, c.out.Flush())
				}
			}
			return c.out.Flush()
		},
	}
	cmd.Flags().BoolVar(&c.batches, "batches", false, "show the batches and notes in each entry")
	return cmd
}

func (c *dumpSegment) dump(path string) error {
	number, ok := segment.ParseName(filepath.Base(path))
	if !ok {
		return command.Advise(fmt.Errorf("%s is not the name of a segment", path), "segments lie in the folder log of a node's data")
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	defer f.Close() // It was only read.
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at segment: %w", err)
	}
	head, err := segment.ReadHead(f, path, number)
	if err != nil {
		if isZero(f, info.Size()) {
			return command.PrintOne(c.out, c.Output, segmentSummary{Segment: path}, func() error {
				_, err := fmt.Fprintf(c.out, "%s: prepared, nothing in it\n", path)
				return err
			})
		}
		return err
	}
	if c.Output == "table" {
		fmt.Fprintf(c.out, "%s: segment %d, created %s, incarnation %x\n", path, head.Number,
			head.CreatedAt.UTC().Format("2006-01-02T15:04:05.000Z"), head.Incarnation)
	}
	c.counts = segmentSummary{Segment: path}
	file := segment.File{Source: f, Path: path, Number: number, Seed: segment.Seed(head.Incarnation)}
	return c.records(file, segment.HeadBytes(len(head.Rows)), info.Size())
}

// isZero reports whether a file begins with nothing but zeros.
func isZero(f io.ReaderAt, size int64) bool {
	b := make([]byte, min(size, segment.HeadBlock))
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// records prints the records in [from, size) and says how they end.
func (c *dumpSegment) records(file segment.File, from, size int64) error {
	cursor := segment.NewCursor(file, from, size)
	var payload []byte
	for {
		offset := cursor.Offset()
		header, err := cursor.Next()
		if errors.Is(err, io.EOF) {
			return c.end(offset)
		}
		if err == nil {
			payload, err = file.ReadPayload(&header, payload)
		}
		if _, ok := errors.AsType[*segment.CorruptError](err); ok {
			dirty, witness, seekErr := segment.Witness(file, offset, size, segment.At(file.Number, offset))
			if seekErr != nil {
				return seekErr
			}
			if witness != nil {
				return err
			}
			c.counts.Torn = dirty
			return c.end(offset)
		}
		if err != nil {
			return err
		}
		if err := c.record(offset, &header, payload); err != nil {
			return err
		}
	}
}

func (c *dumpSegment) end(offset int64) error {
	c.counts.End = offset
	return command.PrintOne(c.out, c.Output, c.counts, func() error {
		text := "a clean end"
		if c.counts.Torn {
			text = "a torn end: what follows was never acknowledged"
		}
		_, err := fmt.Fprintf(c.out, "%d records, %d batches, %d bytes; %s at %d\n", c.counts.Records, c.counts.Batches, c.counts.Bytes, text, offset)
		return err
	})
}

// kindName says what a record is.
func kindName(kind uint8) string {
	names := map[uint8]string{
		segment.KindCommand: "entry", 1: "noop", 4: "barrier", 5: "configuration",
		segment.KindTruncate: "truncate", segment.KindFirst: "first", segment.KindNote: "note",
	}
	if name, ok := names[kind]; ok {
		return name
	}
	return fmt.Sprintf("kind-%d", kind)
}

func (c *dumpSegment) record(offset int64, header *segment.Header, payload []byte) error {
	c.counts.Records++
	c.counts.Bytes += header.Size()
	r := segmentRecord{
		Offset: offset, Kind: kindName(header.Kind), Shard: header.Shard, Index: header.Index, Term: header.Term,
		Bytes: header.PayloadBytes, Applied: header.Applied,
	}
	if header.IsBackfill() {
		r.Kind = "backfilled-" + r.Kind
	}
	if header.Kind == segment.KindCommand {
		if err := r.fill(payload); err != nil {
			return fmt.Errorf("entry at %d: %w", offset, err)
		}
		c.counts.Batches += len(r.Batches)
	}
	return command.PrintOne(c.out, c.Output, r, func() error { return c.draw(&r) })
}

// draw writes a record for people.
func (c *dumpSegment) draw(r *segmentRecord) error {
	fmt.Fprintf(c.out, "%10d  %-14s shard %d index %d term %d bytes %d batches %d notes %d applied %d\n",
		r.Offset, r.Kind, r.Shard, r.Index, r.Term, r.Bytes, len(r.Batches), len(r.Notes), r.Applied)
	if !c.batches {
		return nil
	}
	for _, b := range r.Batches {
		fmt.Fprintf(c.out, "            batch partition %d offsets %d-%d %s bytes %d epoch %d producer %d sequence %d\n",
			b.Partition, b.First, b.Last, b.Codec, b.Bytes, b.Epoch, b.ProducerID, b.Sequence)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(c.out, "            note kind %d bytes %d\n", n.Kind, n.Bytes)
	}
	return nil
}

// fill reads an entry's batches and notes.
func (r *segmentRecord) fill(payload []byte) error {
	n, err := record.TailOf(payload)
	if err != nil {
		return err
	}
	tail, err := record.ParseTail(payload[len(payload)-n:])
	if err != nil {
		return err
	}
	for i := range tail.RowCount() {
		row := tail.Row(i)
		batch, _, err := record.NextBatch(payload[row.Position:])
		if err != nil {
			return err
		}
		r.Batches = append(r.Batches, segmentBatch{
			Partition: row.Partition, First: batch.BaseOffset(), Last: batch.LastOffset(), Codec: batch.Codec().String(), Bytes: batch.Bytes(),
			Epoch: batch.LeaderEpoch(), ProducerID: batch.ProducerID(), Sequence: batch.BaseSequence(),
		})
	}
	for note := range tail.Notes() {
		r.Notes = append(r.Notes, segmentNote{Kind: note.Kind, Bytes: len(note.Body)})
	}
	return nil
}
