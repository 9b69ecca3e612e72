package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log/record"
)

func (n *testNode) append(key string, expected Expected, ids ...string) (AppendResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request := AppendRequest{Topic: "es", Key: []byte(key), Expected: expected}
	for _, id := range ids {
		request.Events = append(request.Events, Event{ID: id, Value: []byte("v-" + id)})
	}
	return n.AppendStream(ctx, &request)
}

// history reads a whole stream, as its values.
func (n *testNode) history(key string) []string {
	n.cluster.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	values := []string{}
	for {
		slice, err := n.ReadStream(ctx, &ReadStreamRequest{Topic: "es", Key: []byte(key), From: int64(len(values)), Limit: 1000, MinVersion: -1})
		if err != nil {
			n.cluster.t.Fatalf("read stream %s: %v", key, err)
		}
		for _, e := range slice.Events {
			if e.Version != int64(len(values)) {
				n.cluster.t.Errorf("event %d of %s has version %d", len(values), key, e.Version)
			}
			values = append(values, string(e.Value))
		}
		if slice.Head < int64(len(values)) {
			return values
		}
		if len(slice.Events) == 0 {
			n.cluster.t.Fatalf("stream %s: head %d with %d events", key, slice.Head, len(values))
		}
	}
}

func TestAppendExpectations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 4, "eventstore.enable", "true")
		n := c.leader("es", 0)
		ok := func(what string, want AppendResult, expected Expected, ids ...string) {
			t.Helper()
			got, err := n.append("k", expected, ids...)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				return
			}
			want.Partition = PartitionFor([]byte("k"), 4)
			if got != want {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		conflict := func(what string, actual int64, unseen []string, expected Expected, ids ...string) {
			t.Helper()
			_, err := n.append("k", expected, ids...)
			var got *ConflictError
			if !errors.As(err, &got) {
				t.Errorf("%s: %v, want a conflict", what, err)
				return
			}
			values := []string{}
			for _, e := range got.Unseen {
				values = append(values, string(e.Value))
			}
			if got.Actual != actual || !slices.Equal(values, unseen) {
				t.Errorf("%s: actual %d unseen %v, want %d %v", what, got.Actual, values, actual, unseen)
			}
		}
		conflict("exists on an empty stream", -1, []string{}, ExpectExists, "a")
		conflict("version 0 of an empty stream", -1, []string{}, 0, "a")
		ok("none", AppendResult{FirstVersion: 0, LastVersion: 1}, ExpectNone, "a", "b")
		ok("none again, same ids", AppendResult{FirstVersion: 0, LastVersion: 1, Duplicate: true}, ExpectNone, "a", "b")
		ok("the first of them alone", AppendResult{FirstVersion: 0, LastVersion: 0, Duplicate: true}, ExpectNone, "a")
		conflict("none, other ids", 1, []string{"v-a", "v-b"}, ExpectNone, "x")
		conflict("none, more than there is", 1, []string{"v-a", "v-b"}, ExpectNone, "a", "b", "c")
		ok("at its version", AppendResult{FirstVersion: 2, LastVersion: 2, FirstOffset: 2}, 1, "c")
		conflict("at an old version", 2, []string{"v-c"}, 1, "d")
		conflict("at a future version", 2, []string{}, 7, "d")
		ok("any", AppendResult{FirstVersion: 3, LastVersion: 4, FirstOffset: 3}, ExpectAny, "d", "e")
		ok("any again", AppendResult{FirstVersion: 3, LastVersion: 4, FirstOffset: 3, Duplicate: true}, ExpectAny, "d", "e")
		conflict("any, partly there", 4, []string{}, ExpectAny, "e", "f")
		ok("exists", AppendResult{FirstVersion: 5, LastVersion: 5, FirstOffset: 5}, ExpectExists, "f")
		ok("old ids at their version", AppendResult{FirstVersion: 2, LastVersion: 3, FirstOffset: 2, Duplicate: true}, 1, "c", "d")
		if got, want := n.history("k"), []string{"v-a", "v-b", "v-c", "v-d", "v-e", "v-f"}; !slices.Equal(got, want) {
			t.Errorf("history %v, want %v", got, want)
		}
	})
}

// TestAppendDuplicateBeyondMemory appends so much that the ids of the first events are in the index only.
func TestAppendDuplicateBeyondMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("es", 0)
		for i := range 200 {
			if _, err := n.append("k", Expected(i-1), fmt.Sprint("id-", i)); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range []int{0, 3, 100, 199} {
			got, err := n.append("k", Expected(at-1), fmt.Sprint("id-", at))
			if err != nil || !got.Duplicate || got.FirstVersion != int64(at) || got.FirstOffset != record.Offset(at) {
				t.Errorf("event %d again: %+v, %v", at, got, err)
			}
		}
	})
}

func TestAppendsRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("es", 0)
		outcomes := make(chan error, 50)
		for i := range 50 {
			go func() {
				_, err := n.append("k", ExpectNone, fmt.Sprint("racer-", i))
				outcomes <- err
			}()
		}
		won := 0
		for range 50 {
			if err := <-outcomes; err == nil {
				won++
			} else if !errors.Is(err, ErrVersionConflict) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d appends to the empty stream succeeded", won)
		}
		if got := n.history("k"); len(got) != 1 {
			t.Errorf("history %v", got)
		}
	})
}

func TestReadStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("es", 0)
		for i := range 300 {
			if i%50 == 0 {
				time.Sleep(time.Second)
			}
			ids := []string{fmt.Sprint(2 * i), fmt.Sprint(2*i + 1)}
			if _, err := n.append("k", ExpectAny, ids...); err != nil {
				t.Fatal(err)
			}
			if _, err := n.append("other", ExpectAny, "o"+ids[0]); err != nil {
				t.Fatal(err)
			}
		}
		read := func(r ReadStreamRequest) (first, last int64, count int) {
			t.Helper()
			r.Topic, r.Key, r.MinVersion = "es", []byte("k"), -1
			slice, err := n.ReadStream(context.Background(), &r)
			if err != nil {
				t.Fatal(err)
			}
			if slice.Head != 599 {
				t.Errorf("head %d", slice.Head)
			}
			for i, e := range slice.Events {
				step := int64(i)
				if r.Backward {
					step = -step
				}
				if want := slice.Events[0].Version + step; e.Version != want || string(e.Value) != fmt.Sprint("v-", want) {
					t.Errorf("event %d: version %d value %s", i, e.Version, e.Value)
				}
			}
			if len(slice.Events) == 0 {
				return -1, -1, 0
			}
			return slice.Events[0].Version, slice.Events[len(slice.Events)-1].Version, len(slice.Events)
		}
		expect := func(what string, r ReadStreamRequest, first, last int64, count int) {
			t.Helper()
			if a, b, k := read(r); a != first || b != last || k != count {
				t.Errorf("%s: %d to %d, %d events; want %d to %d, %d", what, a, b, k, first, last, count)
			}
		}
		expect("all", ReadStreamRequest{Limit: 1000}, 0, 599, 600)
		expect("a page", ReadStreamRequest{From: 10, Limit: 10}, 10, 19, 10)
		expect("beyond the end", ReadStreamRequest{From: 600, Limit: 10}, -1, -1, 0)
		expect("backward from the newest", ReadStreamRequest{From: -1, Limit: 10, Backward: true}, 599, 590, 10)
		expect("backward to the begin", ReadStreamRequest{From: 200, Limit: 1000, Backward: true}, 200, 0, 201)
		slice, err := n.ReadStream(context.Background(), &ReadStreamRequest{Topic: "es", Key: []byte("k"), From: 100, Limit: 1, MinVersion: -1})
		if err != nil || len(slice.Events) != 1 {
			t.Fatal(slice, err)
		}
		stored := time.UnixMilli(slice.Events[0].Timestamp) // all of that second were stored in one instant
		expect("until", ReadStreamRequest{Limit: 1000, Until: stored}, 0, 199, 200)
		expect("until just before", ReadStreamRequest{Limit: 1000, Until: stored.Add(-1)}, 0, 99, 100)
		slice, err = n.ReadStream(context.Background(), &ReadStreamRequest{Topic: "es", Key: []byte("nobody"), Limit: 1, MinVersion: -1})
		if err != nil || slice.Head != -1 || len(slice.Events) != 0 {
			t.Errorf("empty stream: %+v, %v", slice, err)
		}
	})
}

func TestReadStreamWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("es", 0)
		got := make(chan StreamSlice, 1)
		go func() {
			slice, err := n.ReadStream(context.Background(), &ReadStreamRequest{Topic: "es", Key: []byte("k"), Limit: 10, MinVersion: 1})
			if err != nil {
				t.Error(err)
			}
			got <- slice
		}()
		synctest.Wait()
		for _, id := range []string{"a", "b"} {
			if len(got) != 0 {
				t.Error("answered too early")
			}
			if _, err := n.append("k", ExpectAny, id); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if slice := <-got; slice.Head != 1 || len(slice.Events) != 2 {
			t.Errorf("got %+v", slice)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := n.ReadStream(ctx, &ReadStreamRequest{Topic: "es", Key: []byte("k"), Limit: 10, MinVersion: 2})
		wantError(t, "a version that never comes", err, ErrTimedOut)
	})
}

// TestKafkaRecordsGetVersions produces plainly to an event-store topic.
func TestKafkaRecordsGetVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 4, "eventstore.enable", "true")
		n := c.leader("es", 0)
		key := []byte("order-1")
		right := PartitionFor(key, 4)
		p, wrong := n.partition("es", right), n.partition("es", (right+1)%4)
		for _, codec := range []record.Codec{record.CodecNone, record.CodecGzip, record.CodecSnappy, record.CodecLZ4, record.CodecZstd} {
			n.mustProduce(p, testBatch{key: key, values: []string{"v-" + codec.String()}, codec: codec})
		}
		if got, want := n.history("order-1"), []string{"v-none", "v-gzip", "v-snappy", "v-lz4", "v-zstd"}; !slices.Equal(got, want) {
			t.Errorf("history %v, want %v", got, want)
		}
		r := n.produce(wrong, testBatch{key: key, values: []string{"x"}})
		wantError(t, "wrong partition", r.Err, ErrPolicyViolation)
		if len(r.RecordErrors) != 1 {
			t.Errorf("record errors %v", r.RecordErrors)
		}
		n.mustProduce(p, testBatch{values: []string{"keyless"}})
		if got := len(n.history("order-1")); got != 5 {
			t.Errorf("%d events after a keyless record", got)
		}
		expect := func(version string) []record.Header {
			return []record.Header{{Key: []byte(headerExpected), Value: []byte(version)}}
		}
		r = n.produce(p, testBatch{key: key, values: []string{"x"}, headers: expect("3")})
		wantError(t, "header with an old version", r.Err, ErrVersionConflict)
		r = n.produce(p, testBatch{key: key, values: []string{"x"}, headers: expect("soon")})
		wantError(t, "header that is no version", r.Err, ErrPolicyViolation)
		if r = n.produce(p, testBatch{key: key, values: []string{"v-last"}, headers: expect("4")}); r.Err != nil {
			t.Errorf("header with the right version: %v", r.Err)
		}
		if got := n.history("order-1"); got[len(got)-1] != "v-last" || len(got) != 6 {
			t.Errorf("history %v", got)
		}
	})
}

// TestIdempotentProducerWithEventIDs answers a batch by its event ids and lets the producer go on with the next sequence.
func TestIdempotentProducerWithEventIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("es", 0)
		id := func(id string) []record.Header {
			return []record.Header{{Key: []byte(headerEventID), Value: []byte(id)}}
		}
		send := func(n *testNode, producer int64, sequence int32, event string) (record.Offset, error) {
			r := n.produce(n.partition("es", 0), testBatch{
				key: []byte("k"), values: []string{"v-" + event}, headers: id(event), producer: producer, sequence: sequence,
			})
			return r.BaseOffset, r.Err
		}
		want := func(n *testNode, producer int64, sequence int32, event string, offset record.Offset) {
			t.Helper()
			if at, err := send(n, producer, sequence, event); err != nil || at != offset {
				t.Errorf("producer %d sequence %d event %s: offset %d, %v; want %d", producer, sequence, event, at, err, offset)
			}
		}
		want(n, 1, 0, "a", 0)
		want(n, 1, 1, "b", 1)
		want(n, 2, 0, "a", 0) // another producer repeats the event
		want(n, 2, 1, "b", 1)
		m := c.depose(n)
		want(m, 2, 2, "c", 2) // the new leader knows that sequences 0 and 1 are done
		want(m, 2, 1, "b", 1)
		if got, want := m.history("k"), []string{"v-a", "v-b", "v-c"}; !slices.Equal(got, want) {
			t.Errorf("history %v, want %v", got, want)
		}
	})
}

// TestVersionsAcrossLeaderChanges appends through every node while the leadership wanders.
func TestVersionsAcrossLeaderChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("es", 1, "eventstore.enable", "true")
		version, want := int64(-1), []string{}
		for round := range 6 {
			for id := int32(1); id <= 3; id++ {
				event := fmt.Sprintf("%d-%d", round, id)
				result, err := c.nodes[id].append("k", Expected(version), event)
				if err != nil || result.FirstVersion != version+1 {
					t.Fatalf("append through node %d: %+v, %v", id, result, err)
				}
				version++
				want = append(want, "v-"+event)
			}
			n := c.leader("es", 0)
			if round%2 == 0 {
				c.depose(n)
			} else {
				c.restart(n)
			}
		}
		for _, n := range c.nodes {
			if got := n.history("k"); !slices.Equal(got, want) {
				t.Errorf("through node %d: %v, want %v", n.id, got, want)
			}
			_, err := n.append("k", 3, "late")
			var conflict *ConflictError
			if !errors.As(err, &conflict) || conflict.Actual != version || len(conflict.Unseen) != int(version)-3 {
				t.Errorf("conflict through node %d: %v", n.id, err)
			}
		}
	})
}

func TestAppendIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("es", 1, "eventstore.enable", "true")
		c.create("plain", 1)
		n := c.leader("es", 0)
		event := []Event{{ID: "a"}}
		for what, r := range map[string]struct {
			request AppendRequest
			want    error
		}{
			"no topic":       {AppendRequest{Topic: "nope", Key: []byte("k"), Expected: ExpectAny, Events: event}, ErrUnknownTopicOrPartition},
			"plain topic":    {AppendRequest{Topic: "plain", Key: []byte("k"), Expected: ExpectAny, Events: event}, ErrNotEventStore},
			"no key":         {AppendRequest{Topic: "es", Expected: ExpectAny, Events: event}, ErrInvalidRequest},
			"no event":       {AppendRequest{Topic: "es", Key: []byte("k"), Expected: ExpectAny}, ErrInvalidRequest},
			"no such expect": {AppendRequest{Topic: "es", Key: []byte("k"), Expected: -3, Events: event}, ErrInvalidRequest},
			"long id":        {AppendRequest{Topic: "es", Key: []byte("k"), Expected: ExpectAny, Events: []Event{{ID: string(make([]byte, MaxEventIDBytes+1))}}}, ErrInvalidRequest},
			"large":          {AppendRequest{Topic: "es", Key: []byte("k"), Expected: ExpectAny, Events: []Event{{Value: make([]byte, 2<<20)}}}, ErrMessageTooLarge},
		} {
			_, err := n.AppendStream(context.Background(), &r.request)
			wantError(t, what, err, r.want)
		}
	})
}
