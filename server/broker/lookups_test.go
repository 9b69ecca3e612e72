package broker

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/meta"
)

// produceKeyed produces one batch of records "key=event id[@expected version]".
func (n *testNode) produceKeyed(p *Partition, events ...string) ProduceResult {
	builder := record.NewBuilder()
	for _, e := range events {
		key, rest, _ := strings.Cut(e, "=")
		id, expected, conditional := strings.Cut(rest, "@")
		var headers []record.Header
		if id != "" {
			headers = append(headers, record.Header{Key: []byte(headerEventID), Value: []byte(id)})
		}
		if conditional {
			headers = append(headers, record.Header{Key: []byte(headerExpected), Value: []byte(expected)})
		}
		var k []byte
		if key != "" {
			k = []byte(key)
		}
		builder.Add(time.Now().UnixMilli(), k, []byte("v-"+id), headers)
	}
	made, err := builder.AppendBatch(nil, nil)
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	f := n.pool.Get(len(made))
	copy(f.Bytes(), made)
	outcome := make(chan ProduceResult, 1)
	n.Produce([]ProduceBatch{{Partition: p, Batch: f.Bytes(), Frame: f, Receiver: ReceiverFunc(func(r ProduceResult) { outcome <- r })}})
	return <-outcome
}

// TestBatchOfManyStreams: a batch is all or nothing over all its keys.
func TestBatchOfManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("es", 0)
		p := n.partition("es", 0)
		first := []string{"a=1@none", "b=2", "=", "c=3", "a=4", "d=5@none", "e=6", "f=7", "a=8", "g=9", "e=10"}
		if r := n.produceKeyed(p, first...); r.Err != nil || r.BaseOffset != 0 {
			t.Fatalf("%+v", r)
		}
		if r := n.produceKeyed(p, first...); r.Err != nil || r.BaseOffset != 0 {
			t.Errorf("the same batch again: %+v", r)
		}
		for _, test := range []struct {
			events  []string
			culprit int32
		}{
			{[]string{"x=20", "y=21", "a=22@0"}, 2},             // an old version
			{[]string{"x=20", "b=2"}, 1},                        // new and known
			{[]string{"b=2", "x=20"}, 1},                        // known and new
			{[]string{"z=30@5"}, 0},                             // a version that is not there
			{[]string{"a=4", "a=23"}, 0},                        // known, then new
			{[]string{"q=1@none", "r=2", "s=3", "a=1@9"}, 3},    // a version ahead
			{[]string{"b=40", "c=41@exists", "w=42@exists"}, 2}, // a stream without events
		} {
			r := n.produceKeyed(p, test.events...)
			wantError(t, fmt.Sprint(test.events), r.Err, ErrVersionConflict)
			if len(r.RecordErrors) != 1 || r.RecordErrors[0].Index != test.culprit {
				t.Errorf("%v: record errors %v, want record %d", test.events, r.RecordErrors, test.culprit)
			}
		}
		wantError(t, "records stored in two batches", n.produceKeyed(p, "b=2", "b=50").Err, ErrVersionConflict)
		wantError(t, "version header on a later record", n.produceKeyed(p, "b=60", "b=61@1").Err, ErrPolicyViolation)
		if r := n.produceKeyed(p, "b=70@0", "g=71@exists"); r.Err != nil || r.BaseOffset != 11 {
			t.Errorf("after refused batches: %+v", r)
		}
		for key, want := range map[string][]string{
			"a": {"v-1", "v-4", "v-8"}, "b": {"v-2", "v-70"}, "e": {"v-6", "v-10"}, "g": {"v-9", "v-71"}, "x": {}, "z": {},
		} {
			if got := n.history(key); !slices.Equal(got, want) {
				t.Errorf("stream %s: %v, want %v", key, got, want)
			}
		}
	})
}

func TestInitProducerID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		seen := map[int64]bool{}
		for range 50 {
			for _, n := range c.nodes {
				id, epoch, err := n.InitProducerID(context.Background(), "")
				if err != nil || id < 0 || epoch != 0 || seen[id] {
					t.Fatalf("id %d epoch %d, %v", id, epoch, err)
				}
				seen[id] = true
			}
		}
		_, _, err := c.any().InitProducerID(context.Background(), "transactional")
		wantError(t, "transactional id", err, ErrUnsupported)
	})
}

func TestPartitionLookUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 2)
		n := c.leader("t", 1)
		topic := n.View().TopicByName("t")
		p, err := n.PartitionByID(topic.ID, 1)
		if err != nil || p.Number() != 1 || p.Topic() != topic || p != n.partition("t", 1) {
			t.Errorf("%+v, %v", p, err)
		}
		_, err = n.PartitionByID(record.TopicID{1}, 0)
		wantError(t, "unknown id", err, meta.ErrUnknownTopicID)
		for _, number := range []int32{-1, 2} {
			_, err = n.Partition("t", number)
			wantError(t, "unknown partition", err, ErrUnknownTopicOrPartition)
		}
		if node, epoch := n.Leader(p.ID()); node != 1 || epoch < 1 || n.Controller() != 1 || len(n.Replicas(t.Context()).Nodes()) != 1 || n.ClusterID() == "" {
			t.Errorf("leader %d epoch %d", node, epoch)
		}
	})
}

// TestLatestTimeOfWhatIsLeft: the record with the latest time of all was deleted.
func TestLatestTimeOfWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		base := time.Now().UnixMilli()
		for _, at := range []int64{500, 9000, 700, 800, 600} {
			n.mustProduce(p, testBatch{values: []string{"x"}, time: base + at})
		}
		if _, err := n.DeleteRecords(context.Background(), p, 2); err != nil {
			t.Fatal(err)
		}
		_, epoch := n.Leader(p.ID())
		got, err := n.ListOffsets(context.Background(), p, TimestampMax)
		if want := (ListedOffset{3, base + 800, epoch}); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		_, err = n.ListOffsets(context.Background(), p, -7)
		wantError(t, "unknown kind", err, ErrUnsupported)
	})
}

// TestUnreadableState: a node whose index holds what it cannot read says so and does nothing.
func TestUnreadableState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 1)
		n := c.leader("t", 0)
		n.mustProduce(n.partition("t", 0), testBatch{values: []string{"x"}})
		n.stop()
		db, err := index.Open(index.Config{FS: n.fs, Dir: "data/index", CacheBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		b := db.NewBatch()
		b.Put(1, []byte{rowChain}, []byte("bad"))
		if err := errors.Join(b.Commit(), db.Flush(), db.Close()); err != nil {
			t.Fatal(err)
		}
		b.Close()
		n.start()
		time.Sleep(time.Second)
		select {
		case err := <-n.fatal:
			if !errors.Is(err, record.ErrCorrupt) || !strings.Contains(err.Error(), "shard 1") {
				t.Errorf("fatal: %v", err)
			}
		default:
			t.Error("the node runs")
		}
		for len(n.fatal) > 0 {
			<-n.fatal
		}
		n.stop()
		for len(n.fatal) > 0 {
			<-n.fatal
		}
		if err := n.fs.RemoveAll("data/index"); err != nil { // as the documentation says
			t.Fatal(err)
		}
		n.start()
		c.ready()
		n = c.leader("t", 0)
		if got := n.read(n.partition("t", 0), 0); len(got) != 1 {
			t.Errorf("read %v", got)
		}
	})
}

// TestSentinelsAreAll: fronts learn of every error of errors.go.
func TestSentinelsAreAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, decl := range file.Decls {
		if group, ok := decl.(*ast.GenDecl); ok && group.Tok == token.VAR {
			count += len(group.Specs)
		}
	}
	if got := len(Sentinels()); got != count {
		t.Errorf("%d sentinels of %d errors", got, count)
	}
	for i, err := range Sentinels() {
		if slices.Index(Sentinels(), err) != i {
			t.Errorf("%v is there twice", err)
		}
	}
}
