package log

import "github.com/stela-db/stela/log/record"

const slotsPerChunk = 512

// A slot is what is known in memory of one entry of the window.
type slot struct {
	position     record.Position
	term         record.Term
	payloadBytes uint32
	tailBytes    uint32
	tailCRC      uint32
	kind         uint8
}

// window is the entries that Raft may ask for: indexes first to first+count-1.
// It grows at the end and shrinks at both, 32 bytes an entry.
type window struct {
	first  record.Index
	count  int
	skip   int // slots of the first chunk before first
	chunks []*[slotsPerChunk]slot
}

// last returns the last index, 0 when empty.
func (w *window) last() record.Index {
	if w.count == 0 {
		return 0
	}
	return w.first + record.Index(w.count) - 1
}

// begin returns the first index, 0 when empty.
func (w *window) begin() record.Index {
	if w.count == 0 {
		return 0
	}
	return w.first
}

// at returns the entry's slot, nil outside the window.
func (w *window) at(i record.Index) *slot {
	if w.count == 0 || i < w.first || i > w.last() {
		return nil
	}
	n := w.skip + int(i-w.first)
	return &w.chunks[n/slotsPerChunk][n%slotsPerChunk]
}

// push adds entry i, which must be last()+1 unless the window is empty.
func (w *window) push(i record.Index, s slot) {
	if w.count == 0 {
		w.first, w.skip = i, 0
		clear(w.chunks)
		w.chunks = w.chunks[:0]
	} else if i != w.last()+1 {
		panic("BUG: an entry was pushed out of order")
	}
	n := w.skip + w.count
	if n == len(w.chunks)*slotsPerChunk {
		w.chunks = append(w.chunks, new([slotsPerChunk]slot))
	}
	w.chunks[n/slotsPerChunk][n%slotsPerChunk] = s
	w.count++
}

// truncate drops the entries from i on.
func (w *window) truncate(i record.Index) {
	switch {
	case w.count == 0 || i > w.last():
	case i <= w.first:
		w.count = 0
	default:
		w.count = int(i - w.first)
		chunks := (w.skip + w.count + slotsPerChunk - 1) / slotsPerChunk
		clear(w.chunks[chunks:])
		w.chunks = w.chunks[:chunks]
	}
}

// forget drops the entries up to and including i.
func (w *window) forget(i record.Index) {
	switch {
	case w.count == 0 || i < w.first:
	case i >= w.last():
		w.count = 0
	default:
		n := int(i-w.first) + 1
		w.first += record.Index(n)
		w.count -= n
		w.skip += n
		if drop := w.skip / slotsPerChunk; drop > 0 {
			w.skip %= slotsPerChunk
			kept := copy(w.chunks, w.chunks[drop:])
			clear(w.chunks[kept:])
			w.chunks = w.chunks[:kept]
		}
	}
}
