package broker

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/log/record"
)

// FuzzNotes feeds everything that is parsed here: notes and rows from the log and the index, answers from other nodes.
func FuzzNotes(f *testing.F) {
	f.Add(stamp{1, 2, 3}.append(nil))
	f.Add(appendProducer(nil, producerKey{1, 2}, 3, producerBatch{4, 5, 6})[record.NoteHeaderBytes:])
	f.Add(appendVersion(appendVersionsHeader(nil, 1, 2), []byte("key"), 3, 4, eventID{5}))
	p := producerState{}
	p.push(1, producerBatch{1, 2, 3})
	f.Add(p.append(nil))
	row := partitionRow{start: 1, next: 2, entry: 3, term: 4, floor: 5}
	f.Add(row.append(nil))
	f.Add(encodeError(&ConflictError{Expected: 1, Actual: 2, Unseen: []StreamEvent{{Version: 2, Headers: []record.Header{{Key: []byte("k")}}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		corrupt := func(err error) {
			if err != nil && !errors.Is(err, record.ErrCorrupt) {
				t.Errorf("error %v", err)
			}
		}
		_, err := parseStamp(b)
		corrupt(err)
		_, _, _, err = parseProducer(b)
		corrupt(err)
		_, err = parsePartitionRow(b)
		corrupt(err)
		_, err = parseIndex(b)
		corrupt(err)
		if p, err := parseProducerState(b); err == nil {
			if again, err := parseProducerState(p.append(nil)); err != nil || again != p {
				t.Errorf("%+v came back as %+v, %v", p, again, err)
			}
		}
		bytes := 0
		corrupt(visitVersions(b, func(_ record.Partition, key []byte, _ int64, _ record.Offset, _ eventID) error {
			bytes += len(key) + eventIDBytes
			return nil
		}))
		if bytes > len(b) {
			t.Errorf("versions of %d bytes out of %d", bytes, len(b))
		}
		_ = decodeError(b)
		r := wireReader{rest: b}
		r.events()
	})
}

func TestNotesRoundTrip(t *testing.T) {
	type version struct {
		Partition record.Partition
		Key       string
		Version   int64
		Offset    record.Offset
		ID        eventID
	}
	want := []version{{7, "a", 0, 100, eventID{1}}, {7, "", 1 << 40, 103, eventID{}}, {7, "long key", 3, 1 << 20, eventID{2}}}
	note := appendVersionsHeader(nil, 7, 100)
	for _, v := range want {
		note = appendVersion(note, []byte(v.Key), v.Version, int32(v.Offset-100), v.ID)
	}
	var got []version
	err := visitVersions(note, func(p record.Partition, key []byte, number int64, offset record.Offset, id eventID) error {
		got = append(got, version{p, string(key), number, offset, id})
		return nil
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for cut := range note {
		if cut >= versionsHeaderBytes && cut < len(note) {
			_ = visitVersions(note[:cut], func(record.Partition, []byte, int64, record.Offset, eventID) error { return nil })
		}
	}
}

func TestErrorsBetweenNodes(t *testing.T) {
	for code, known := range answerCodes() {
		err := decodeError(encodeError(errors.Join(errors.New("why"), known)))
		if !errors.Is(err, known) {
			t.Errorf("code %d: %v is not %v", code, err, known)
		}
	}
	want := &ConflictError{Expected: 3, Actual: 9, Unseen: []StreamEvent{
		{Version: 4, Offset: 17, Timestamp: 5, Value: []byte("v"), Headers: []record.Header{{Key: []byte("a"), Value: nil}, {Key: []byte("b"), Value: []byte{}}}},
		{Version: 5, Value: nil},
	}}
	got, ok := errors.AsType[*ConflictError](decodeError(encodeError(want)))
	if !ok {
		t.Fatal("a conflict does not come back")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := decodeError([]byte{answerOK}); err != nil {
		t.Errorf("success: %v", err)
	}
	for _, b := range [][]byte{nil, {99}, {answerOther, 'x'}} {
		if err := decodeError(b); !errors.Is(err, ErrTimedOut) {
			t.Errorf("%v: %v", b, err)
		}
	}
}

func TestPartitionFor(t *testing.T) {
	for key, want := range map[string]uint32{ // of Kafka's Utils.murmur2
		"21": uint32(0x100000000 - 973932308), "foobar": uint32(0x100000000 - 790332482), "a-little-bit-long-string": uint32(0x100000000 - 985981536),
		"a-little-bit-longer-string": uint32(0x100000000 - 1486304829), "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": uint32(0x100000000 - 58897971),
		"abc": 479470107,
	} {
		if got := murmur2([]byte(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, int32(got), int32(want))
		}
	}
}

func TestParseExpected(t *testing.T) {
	for text, want := range map[string]Expected{"any": ExpectAny, "none": ExpectNone, "exists": ExpectExists, "0": 0, "17": 17} {
		if got, err := ParseExpected(text); err != nil || got != want || got.String() != text {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1.5", "Any", "99999999999999999999"} {
		if _, err := ParseExpected(text); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLRU(t *testing.T) {
	pinned := map[int]bool{}
	l := newLRU[int, int](3, func(v *int) bool { return pinned[*v] })
	for i := range 5 {
		l.add(i, i)
	}
	if l.get(0) != nil || l.get(1) != nil || len(l.items) != 3 {
		t.Errorf("%d items", len(l.items))
	}
	l.get(2)
	pinned[3], pinned[4], pinned[2] = true, true, true
	l.add(5, 5)
	if len(l.items) != 4 || *l.get(3) != 3 {
		t.Errorf("a pinned item is gone, %d items", len(l.items))
	}
	clear(pinned)
	l.add(6, 6)
	if len(l.items) != 3 {
		t.Errorf("%d items when nothing is pinned any more", len(l.items))
	}
	l.remove(6)
	if l.get(6) != nil {
		t.Error("a removed item is there")
	}
}
