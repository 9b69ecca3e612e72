package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/cmd/internal/command"
)

// maxLineBytes is the longest line that produce and append read.
const maxLineBytes = 32 << 20

type produce struct {
	*general
	topic       string
	separator   string
	headers     []string
	partition   int32
	compression string
	tombstones  bool
	verbose     bool

	mu     sync.Mutex // guards failed and serializes what is printed
	failed error
}

func newProduce(g *general) *cobra.Command {
	c := &produce{general: g}
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Write each line of standard input as a record",
		Long: `Write each line of standard input as a record, and end when all are
acknowledged: synced to disk on a majority of the nodes.`,
		Example: `  echo '{"total": 129}' | stela produce orders -v
  printf 'k1:v1\nk2:v2\n' | stela produce orders -k : --compression zstd`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.topic = args[0]
			return c.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&c.separator, "key-separator", "k", "", "a line is a key, this `text`, and a value")
	flags.StringArrayVarP(&c.headers, "header", "H", nil, "a header `name=value` for all records; may be repeated")
	flags.Int32VarP(&c.partition, "partition", "p", -1, "the partition to write to; -1 lets the key decide")
	flags.StringVarP(&c.compression, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	flags.BoolVar(&c.tombstones, "tombstones", false, "an empty value becomes a null value")
	flags.BoolVarP(&c.verbose, "verbose", "v", false, "print partition and offset of each record")
	return cmd
}

// stored says where a record is.
type stored struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func compressionCodec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), command.Usagef("--compression is %q; use none, gzip, snappy, lz4 or zstd", name)
}

func (c *produce) options() ([]kgo.Opt, error) {
	codec, err := compressionCodec(c.compression)
	if err != nil {
		return nil, err
	}
	options := []kgo.Opt{
		kgo.AllowAutoTopicCreation(), kgo.ProducerBatchCompression(codec),
		kgo.UnknownTopicRetries(2), kgo.RecordDeliveryTimeout(2 * answerTimeout), kgo.MaxBufferedBytes(64 << 20),
	}
	if c.partition >= 0 {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	return options, nil
}

func (c *produce) run(ctx context.Context) error {
	headers, err := parseAssignments(c.headers)
	if err != nil {
		return err
	}
	options, err := c.options()
	if err != nil {
		return err
	}
	cl, err := c.connect(ctx, options...)
	if err != nil {
		return err
	}
	defer cl.Close()
	var recordHeaders []kgo.RecordHeader
	for name, value := range headers {
		recordHeaders = append(recordHeaders, kgo.RecordHeader{Key: name, Value: []byte(*value)})
	}
	sending, cancel := context.WithCancel(ctx)
	defer cancel()
	read := eachLine(sending, c.In, func(number int, line []byte) error {
		record, err := c.record(number, line)
		if err != nil {
			return err
		}
		record.Headers = recordHeaders
		cl.Produce(sending, record, func(record *kgo.Record, err error) {
			if c.acknowledged(record, err) {
				cancel()
			}
		})
		return nil
	})
	flushed := cl.Flush(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(firstError(c.failed, read, flushed))
}

// firstError returns the first that is not nil.
func firstError(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// record makes a record of one line.
func (c *produce) record(number int, line []byte) (*kgo.Record, error) {
	record := &kgo.Record{Topic: c.topic, Partition: c.partition, Value: line}
	if c.separator != "" {
		key, value, ok := strings.Cut(string(line), c.separator)
		if !ok {
			return nil, command.Advise(fmt.Errorf("line %d has no key separator %q", number, c.separator), "earlier lines were sent; correct the rest")
		}
		record.Key, record.Value = []byte(key), []byte(value)
	}
	if c.tombstones && len(record.Value) == 0 {
		record.Value = nil
	}
	return record, nil
}

// acknowledged notes the answer for one record and reports whether to give up.
func (c *produce) acknowledged(record *kgo.Record, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if errors.Is(err, kerr.MessageTooLarge) {
			err = command.Advise(err, "raise max.message.bytes of the topic or send less in one record")
		}
		if c.failed == nil {
			c.failed = fmt.Errorf("produce to %s: %w", c.topic, err)
		}
		return true
	}
	if c.verbose {
		place := stored{Topic: c.topic, Partition: record.Partition, Offset: record.Offset}
		err := command.PrintOne(c.Out, c.Output, place, func() error {
			_, err := fmt.Fprintf(c.Out, "partition %d offset %d\n", record.Partition, record.Offset)
			return err
		})
		if err != nil && c.failed == nil {
			c.failed = fmt.Errorf("write: %w", err)
		}
		return err != nil
	}
	return false
}

// eachLine calls visit for every line of r, without its end, until an error or ctx's end.
// The bytes are the callee's.
func eachLine(ctx context.Context, r io.Reader, visit func(number int, line []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLineBytes)
	number := 0
	for ctx.Err() == nil && lines.Scan() {
		number++
		line := append([]byte{}, lines.Bytes()...)
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if err := visit(number, line); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read line %d of standard input: %w", number+1, err)
	}
	return ctx.Err()
}
