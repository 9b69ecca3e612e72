package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

// decodeFetch decodes the body of a Fetch request.
func decodeFetch(version int16, body []byte) (*fetching, error) {
	f := &fetching{request: &request{header: header{key: keyFetch, version: version}}, replica: -1}
	in := fields{rest: body, flexible: version >= 12}
	f.decode(&in)
	if in.bad == nil && len(in.rest) > 0 {
		return f, errors.New("bytes are left over")
	}
	return f, in.bad
}

// What kmsg writes is decoded to the same numbers, in every version.
func TestFetchDecodesWhatKmsgWrites(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	for version := int16(4); version <= 17; version++ {
		for range 50 {
			in := randomRequest(random, keyFetch, version).(*kmsg.FetchRequest)
			in.ReplicaID, in.ReplicaState.ID = -1, -1
			body := in.AppendTo(nil)
			f, err := decodeFetch(version, body)
			if err != nil {
				t.Fatalf("version %d: %v of %+v", version, err, in)
			}
			if int64(in.MaxWaitMillis) != f.wanted.MaxWait.Milliseconds() || int(in.MinBytes) != f.wanted.MinBytes || int(in.MaxBytes) != f.wanted.MaxBytes ||
				in.IsolationLevel != f.isolation || len(in.Topics) != len(f.topics) || version >= 7 && in.SessionID != f.session {
				t.Fatalf("version %d: %+v from %+v", version, f, in)
			}
			for i := range in.Topics {
				checkFetchTopic(t, version, &in.Topics[i], &f.topics[i])
			}
			for cut := range body {
				if _, err := decodeFetch(version, body[:cut]); !errors.Is(err, errMalformed) {
					t.Fatalf("version %d: %d bytes of %d: %v", version, cut, len(body), err)
				}
			}
		}
	}
}

func checkFetchTopic(t *testing.T, version int16, in *kmsg.FetchRequestTopic, got *fetchedTopic) {
	t.Helper()
	if version < 13 && in.Topic != got.name || version >= 13 && record.TopicID(in.TopicID) != got.id || len(in.Partitions) != len(got.partitions) {
		t.Fatalf("version %d: %+v from %+v", version, got, in)
	}
	for i := range in.Partitions {
		p, q := &in.Partitions[i], &got.partitions[i]
		epoch := int32(-1)
		if version >= 9 {
			epoch = p.CurrentLeaderEpoch
		}
		if p.Partition != q.index || p.FetchOffset != q.offset || max(p.PartitionMaxBytes, 0) != q.maxBytes || epoch != q.leaderEpoch {
			t.Fatalf("version %d: %+v from %+v", version, q, p)
		}
	}
}

// TestFetchWaitHasAnEnd: nobody makes the server wait for weeks.
func TestFetchWaitHasAnEnd(t *testing.T) {
	for said, want := range map[int32]time.Duration{1<<31 - 1: mostTimeout, 300_001: mostTimeout, 500: 500 * time.Millisecond, -1: 0} {
		in := kmsg.NewPtrFetchRequest()
		in.SetVersion(11)
		in.MaxWaitMillis = said
		if f, err := decodeFetch(11, in.AppendTo(nil)); err != nil || f.wanted.MaxWait != want {
			t.Errorf("max wait of %d ms: %v, %v", said, f.wanted.MaxWait, err)
		}
	}
}

func TestFetchFindsTheReplicaID(t *testing.T) {
	for version := int16(4); version <= 17; version++ {
		in := kmsg.NewPtrFetchRequest()
		in.SetVersion(version)
		in.ReplicaID, in.ReplicaState.ID = 3, 3
		f, err := decodeFetch(version, in.AppendTo(nil))
		if err != nil || f.replica != 3 {
			t.Errorf("version %d: replica %d, %v", version, f.replica, err)
		}
	}
}

// What is answered around stored batches is what kmsg reads, in every version.
func TestFetchAnswers(t *testing.T) {
	batches := append(batchOf(t, "one"), batchOf(t, "two")...)
	for version := int16(4); version <= 17; version++ {
		for isolation := range int8(2) {
			ours, theirs := net.Pipe()
			s := idle(t, Limits{})
			c := newConnection(s, &s.config.Listeners[0], ours)
			f := &fetching{
				request:   &request{header: header{key: keyFetch, version: version, correlation: 5}, connection: c},
				isolation: isolation,
				topics: []fetchedTopic{
					{name: "orders", id: record.TopicID{1}, partitions: []wantedPartition{{index: 0}, {index: 1}, {index: 2}}},
					{name: "empty", id: record.TopicID{2}, first: 3},
				},
				slots:    []int{0, -1, 1},
				refusals: []error{nil, broker.ErrOffsetOutOfRange, nil},
			}
			result := &broker.FetchResult{Partitions: []broker.FetchedPartition{
				{HighWatermark: 10, LogStartOffset: 2, Batches: [][]byte{batches[:100], batches[100:]}},
				{HighWatermark: 20, LogStartOffset: 4},
			}}
			go func() {
				if err := f.answer(result, nil); err != nil {
					t.Error(err)
				}
				c.close()
			}()
			answer, err := io.ReadAll(theirs)
			if err != nil {
				t.Fatal(err)
			}
			checkFetchAnswer(t, version, isolation, answer, batches)
		}
	}
}

func checkFetchAnswer(t *testing.T, version int16, isolation int8, answer, batches []byte) {
	t.Helper()
	if size := binary.BigEndian.Uint32(answer); int(size) != len(answer)-4 {
		t.Fatalf("version %d: answer of %d bytes says %d", version, len(answer)-4, size)
	}
	out := kmsg.NewPtrFetchResponse()
	out.SetVersion(version)
	body := answer[8:]
	if out.IsFlexible() {
		body = body[1:]
	}
	if err := out.ReadFrom(body); err != nil {
		t.Fatalf("version %d: %v", version, err)
	}
	if again := out.AppendTo(nil); !bytes.Equal(again, body) {
		t.Fatalf("version %d: %x is not what kmsg writes, %x", version, body, again)
	}
	p := out.Topics[0].Partitions
	if len(out.Topics) != 2 || len(p) != 3 || !bytes.Equal(p[0].RecordBatches, batches) || p[0].HighWatermark != 10 || p[0].LastStableOffset != 10 ||
		p[1].ErrorCode != 1 || p[1].HighWatermark != -1 || len(p[2].RecordBatches) != 0 || p[2].HighWatermark != 20 {
		t.Errorf("version %d: %+v", version, out)
	}
	if (p[0].AbortedTransactions == nil) != (isolation == 0) {
		t.Errorf("version %d, isolation level %d: aborted transactions %v", version, isolation, p[0].AbortedTransactions)
	}
}

// FuzzFetch: what is decoded is bounded by the bytes that are there, and is what kmsg reads.
func FuzzFetch(f *testing.F) {
	random := rand.New(rand.NewPCG(13, 14))
	for version := int16(4); version <= 17; version++ {
		for range 3 {
			f.Add(version, randomRequest(random, keyFetch, version).AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, version int16, body []byte) {
		if version < 4 || version > 17 {
			return
		}
		got, err := decodeFetch(version, body)
		partitions := 0
		for i := range got.topics {
			partitions += cap(got.topics[i].partitions)
		}
		if len(got.topics) > len(body) || partitions > len(body) {
			t.Fatalf("%d topics and %d partitions from %d bytes", len(got.topics), partitions, len(body))
		}
		if errors.Is(err, errMalformed) {
			return
		}
		in := kmsg.NewPtrFetchRequest()
		in.SetVersion(version)
		if err := in.ReadFrom(body); err != nil {
			return // it looks into tags of replicas, which are skipped here
		}
		if len(in.Topics) != len(got.topics) {
			t.Fatalf("%d topics, kmsg says %d", len(got.topics), len(in.Topics))
		}
		for i := range in.Topics {
			checkFetchTopic(t, version, &in.Topics[i], &got.topics[i])
		}
	})
}

// TestFetchMemory: what a fetch reads is taken from the budget before, and what it has waited for is its own.
func TestFetchMemory(t *testing.T) {
	b := newBudget(1000)
	m := &fetchMemory{budget: b, total: 1000}
	first, second := m.Take(300), m.Take(300)
	if !first || !second || b.left != 400 {
		t.Errorf("%d bytes are left of 1000 less twice 300", b.left)
	}
	if m.Take(500) || m.short != 500 || b.left != 400 {
		t.Errorf("500 of 400 bytes were taken, %d are missing", m.short)
	}
	if err := m.wait(t.Context(), time.Second); err != nil || b.left != 500 || !m.Take(500) || b.left != 500 {
		t.Errorf("%d bytes are left beside 500 that were waited for: %v", b.left, err)
	}
	if m.GiveBack(); !m.Take(5000) || b.left != 0 { // a batch that is larger than all
		t.Errorf("%d bytes are left", b.left)
	}
	if m.GiveBack(); b.left != 1000 {
		t.Errorf("%d bytes of 1000 came back", b.left)
	}
}
