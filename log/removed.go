package log

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/log/segment"
)

// removals remembers durably which segments retention removed, so that a segment
// that is missing for another reason is noticed. A removed segment's head says where
// its predecessor ends and what that holds: the first head of each interval is kept.
//
// Value of the only key: per interval from i64 | through i64 | head bytes u32 | head.
type removals struct {
	stable    *Stable
	intervals []interval // ascending, apart from each other
}

type interval struct {
	from, through int64
	head          []byte // of the lowest segment in it that has one, without the zeros at its end; nil when none has
}

func openRemovals(fs FS, path string) (*removals, error) {
	stable, err := OpenStable(fs, path)
	if err != nil {
		return nil, err
	}
	r := &removals{stable: stable}
	b, err := stable.Get([]byte(removedName))
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		if len(b) < 20 || uint64(binary.LittleEndian.Uint32(b[16:])) > uint64(len(b)-20) {
			return nil, fmt.Errorf("read %s: %d bytes are left over: %w", path, len(b), record.ErrCorrupt)
		}
		n := 20 + int(binary.LittleEndian.Uint32(b[16:]))
		r.intervals = append(r.intervals, interval{
			from:    int64(binary.LittleEndian.Uint64(b)),
			through: int64(binary.LittleEndian.Uint64(b[8:])),
			head:    bytes.TrimRight(b[20:n], "\x00"), // earlier releases kept whole blocks
		})
		b = b[n:]
	}
	return r, nil
}

// has reports whether all of [from, through] was removed.
func (r *removals) has(from, through int64) bool {
	for _, v := range r.intervals {
		if v.from <= from && through <= v.through {
			return true
		}
	}
	return false
}

// heads returns the heads that the intervals keep.
func (r *removals) heads() ([]segment.Head, error) {
	var heads []segment.Head
	for _, v := range r.intervals {
		if len(v.head) == 0 {
			continue
		}
		if len(v.head) < 24 {
			return nil, fmt.Errorf("head of %d bytes in %s: %w", len(v.head), removedName, record.ErrCorrupt)
		}
		whole := v.head
		if size := int(binary.LittleEndian.Uint32(v.head[12:])); size <= maxHead {
			whole = append(slices.Clip(v.head), make([]byte, max(0, size-len(v.head)))...)
		}
		h, err := segment.ReadHead(bytes.NewReader(whole), removedName, int64(binary.LittleEndian.Uint64(v.head[16:])))
		if err != nil {
			return nil, err
		}
		heads = append(heads, h)
	}
	return heads, nil
}

// maxHead is more than any head has, in bytes.
const maxHead = 1 << 20

// add notes durably that segment number is removed; head is nil when it has no valid one. Of the head only what is not
// zero is kept, since there may be many gaps, and nothing when there is no segment before.
func (r *removals) add(number int64, head []byte) error {
	head = bytes.TrimRight(head, "\x00")
	next := append(slices.Clone(r.intervals), interval{from: number, through: number, head: head})
	slices.SortFunc(next, func(a, b interval) int { return int(a.from - b.from) })
	merged := next[:1]
	for _, v := range next[1:] {
		last := &merged[len(merged)-1]
		if v.from > last.through+1 {
			merged = append(merged, v)
			continue
		}
		last.through = max(last.through, v.through)
		if len(last.head) == 0 {
			last.head = v.head
		}
	}
	if merged[0].from == 1 {
		merged[0].head = nil
	}
	var b []byte
	for _, v := range merged {
		b = binary.LittleEndian.AppendUint64(b, uint64(v.from))
		b = binary.LittleEndian.AppendUint64(b, uint64(v.through))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(v.head)))
		b = append(b, v.head...)
	}
	if err := r.stable.Set([]byte(removedName), b); err != nil {
		return err
	}
	r.intervals = merged
	return nil
}
