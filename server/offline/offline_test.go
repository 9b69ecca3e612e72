package offline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server"
	"github.com/stela-db/stela/server/offline"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node runs a node on fs while use works with it, then stops it in order.
func node(t *testing.T, fs vfs.FS, use func(*client.Client)) {
	t.Helper()
	n, err := server.New(server.Config{Data: "data", Storage: fs, Kafka: []server.Listener{{Bind: "127.0.0.1:0"}}, HTTP: "127.0.0.1:0", SegmentBytes: 16 << 20})
	check(t, err)
	c, err := client.New(client.Config{Brokers: []string{n.Addresses().Kafka["PLAINTEXT"]}, HTTP: []string{n.Addresses().HTTP}})
	check(t, err)
	use(c)
	c.Close()
	check(t, n.Close())
}

// fill produces records from..to of topic t, size bytes each, and events of one stream.
func fill(t *testing.T, c *client.Client, from, to, size int) {
	t.Helper()
	check(t, c.CreateTopics(t.Context(), client.Topic{Name: "t", Partitions: 3}, client.Topic{Name: "s", Partitions: 2, Configs: map[string]string{"eventstore.enable": "true"}}))
	producer, err := c.Producer(client.ProducerConfig{})
	check(t, err)
	defer producer.Close()
	for n := from; n < to; n += 50 {
		var records []*client.Record
		for i := n; i < min(n+50, to); i++ {
			records = append(records, &client.Record{Topic: "t", Key: fmt.Append(nil, i%17), Value: fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", size))})
		}
		check(t, producer.Produce(t.Context(), records...))
		_, err := c.Stream("s", "k").Append(t.Context(), client.ExpectAny, client.Event{ID: fmt.Sprint(n), Type: "x", Source: "/s", Data: fmt.Append(nil, n)})
		check(t, err)
	}
}

// online reads all records of the topics through the protocol.
func online(t *testing.T, c *client.Client) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	cut, err := c.Cut(t.Context(), "s", "t")
	check(t, err)
	check(t, c.Replay(t.Context(), client.ReplayRequest{To: cut, Visit: func(r client.Record) error {
		place := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
		all[place] = append(all[place], fmt.Sprintf("%d %s %s %d", r.Offset, r.Key, r.Value, r.Time.UnixMilli()))
		return nil
	}}))
	return all
}

// offlineRecords reads them from the folder.
func offlineRecords(t *testing.T, fs vfs.FS) (map[string][]string, error) {
	t.Helper()
	r, err := offline.Open(offline.Config{FS: fs, Dir: "data"})
	if err != nil {
		return nil, err
	}
	defer func() { check(t, r.Close()) }()
	var codecs record.Codecs
	all := map[string][]string{}
	for _, topic := range []string{"s", "t"} {
		_, ends, err := r.Bounds(topic)
		if err != nil {
			return nil, err
		}
		for partition, end := range ends {
			place := fmt.Sprintf("%s/%d", topic, partition)
			err := r.Read(t.Context(), offline.Span{Topic: topic, Partition: int32(partition), To: end}, func(batch record.Batch) error {
				for one, err := range codecs.Records(batch, 1<<20) {
					if err != nil {
						return err
					}
					all[place] = append(all[place], fmt.Sprintf("%d %s %s %d", batch.Offset(&one), one.Key, one.Value, batch.Timestamp(&one)))
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func compare(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	for place, records := range want {
		if !slices.Equal(got[place], records) {
			t.Errorf("%s: %s has %d records, wanted %d", what, place, len(got[place]), len(records))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d partitions, wanted %d", what, len(got), len(want))
	}
}

// contents sums up the files of a file system.
func contents(t *testing.T, fs vfs.FS, dir string) (all []string) {
	t.Helper()
	names, err := fs.List(dir)
	check(t, err)
	slices.Sort(names)
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		check(t, err)
		if info.IsDir() {
			all = append(all, contents(t, fs, path)...)
			continue
		}
		f, err := fs.Open(path)
		check(t, err)
		b, err := io.ReadAll(f)
		check(t, errors.Join(err, f.Close()))
		all = append(all, fmt.Sprintf("%s %d %08x", path, len(b), record.Castagnoli(0, b)))
	}
	return all
}

// What a stopped node's folder says is what the node said, with the index and without, and the
// folder stays as it is; also after the node has gone on and been stopped again.
func TestRead(t *testing.T) {
	fs := vfs.NewMem()
	for round := range 2 {
		var want map[string][]string
		node(t, fs, func(c *client.Client) {
			fill(t, c, round*1000, round*1000+1000, 12<<10)
			want = online(t, c)
		})
		before := contents(t, fs, "data")
		got, err := offlineRecords(t, fs)
		check(t, err)
		compare(t, "with the index", got, want)
		if after := contents(t, fs, "data"); !slices.Equal(before, after) {
			t.Errorf("the folder was\n%s\nand is\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
		}
	}
	var want map[string][]string
	node(t, fs, func(c *client.Client) { want = online(t, c) })
	check(t, fs.RemoveAll("data/index"))
	got, err := offlineRecords(t, fs)
	check(t, err)
	compare(t, "without the index", got, want)
}

// After a crash everything that was acknowledged is there.
func TestReadAfterACrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var crashed *vfs.MemFS
	var want map[string][]string
	node(t, fs, func(c *client.Client) {
		fill(t, c, 0, 500, 500)
		want = online(t, c)
		crashed = fs.CrashClone(vfs.CrashCloneCfg{})
	})
	got, err := offlineRecords(t, crashed)
	check(t, err)
	compare(t, "after a crash", got, want)
}

func TestSpan(t *testing.T) {
	fs := vfs.NewMem()
	node(t, fs, func(c *client.Client) { fill(t, c, 0, 500, 500) })
	r, err := offline.Open(offline.Config{FS: fs, Dir: "data"})
	check(t, err)
	defer func() { check(t, r.Close()) }()
	if got := r.Topics(); !slices.Equal(got, []string{"s", "t"}) {
		t.Errorf("topics %v", got)
	}
	_, ends, err := r.Bounds("t")
	check(t, err)
	first, last := record.Offset(-1), record.Offset(-1)
	from, to := ends[0]/3, ends[0]/2
	check(t, r.Read(t.Context(), offline.Span{Topic: "t", From: from, To: to}, func(b record.Batch) error {
		if first < 0 {
			first = b.BaseOffset()
		}
		last = b.LastOffset()
		return nil
	}))
	if first > from || last < to-1 || last > to+60 || first < from-60 {
		t.Errorf("offsets %d to %d for %d to %d", first, last, from, to-1)
	}
	if err := r.Read(t.Context(), offline.Span{Topic: "t", From: 0, To: ends[0] + 1}, func(record.Batch) error { return nil }); err == nil || !strings.Contains(err.Error(), "nothing is stored at offset") {
		t.Errorf("beyond the end: %v", err)
	}
	if err := r.Read(t.Context(), offline.Span{Topic: "t", Partition: 7, To: 1}, nil); !errors.Is(err, offline.ErrUnknownTopic) {
		t.Errorf("no such partition: %v", err)
	}
	if _, _, err := r.Bounds("none"); !errors.Is(err, offline.ErrUnknownTopic) {
		t.Errorf("no such topic: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Read(ctx, offline.Span{Topic: "t", To: ends[0]}, func(record.Batch) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestFoldersThatCannotBeRead(t *testing.T) {
	fs := vfs.NewMem()
	check(t, fs.MkdirAll("data", 0o755))
	open := func() error {
		r, err := offline.Open(offline.Config{FS: fs, Dir: "data"})
		if err == nil {
			check(t, r.Close())
		}
		return err
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "not a node's data folder") {
		t.Errorf("an empty folder: %v", err)
	}
	node(t, fs, func(c *client.Client) {
		fill(t, c, 0, 100, 500)
		if err := open(); err == nil || !strings.Contains(err.Error(), "a node runs on it") {
			t.Errorf("a running node's folder: %v", err)
		}
	})
	check(t, open())
	// Some bytes of acknowledged data turn.
	f, err := fs.OpenReadWrite("data/log/000000000001.segment", vfs.WriteCategoryUnspecified)
	check(t, err)
	info, err := f.Stat()
	check(t, err)
	for offset := info.Size() / 2; offset < info.Size()/2+1024; offset += 64 { // in some record, padding apart
		var b [1]byte
		_, err = f.ReadAt(b[:], offset)
		check(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b[:], offset)
		check(t, err)
	}
	check(t, f.Close())
	check(t, fs.RemoveAll("data/index"))
	if _, err := offlineRecords(t, fs); !errors.Is(err, record.ErrCorrupt) {
		t.Errorf("a damaged segment: %v", err)
	}
}
