package index

import (
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stela-db/stela/log/record"
)

// A layer is what was committed and is not in Pebble yet. What changes often (a producer's row changes with each of its batches)
// is there once, and what lies side by side (a partition's runs) becomes one row: Pebble sees a fraction of
// the changes, and in the order of their keys.
type layer struct {
	rows     map[string]*layerRow
	runs     map[record.Partition][]Run // ascending; only appended to
	versions map[string]*layerStream    // by streamPrefix
	bytes    int64                      // roughly what it takes of memory
}

type layerRow struct {
	value []byte
	gone  bool // deleted; an older one may be in Pebble
}

// A layerStream is the versions of one stream from first on.
type layerStream struct {
	first    int64
	versions []layerVersion // only appended to
}

type layerVersion struct {
	offset record.Offset
	id     [16]byte
}

// What entries of a layer take of memory beside their bytes, in bytes.
const (
	rowMemory     = 112
	runMemory     = 80
	streamMemory  = 160
	versionMemory = 32
)

func newLayer() *layer {
	return &layer{rows: map[string]*layerRow{}, runs: map[record.Partition][]Run{}, versions: map[string]*layerStream{}}
}

func (l *layer) isEmpty() bool { return len(l.rows) == 0 && len(l.runs) == 0 && len(l.versions) == 0 }

// set changes one row.
func (l *layer) set(key, value []byte, gone bool) {
	row := l.rows[string(key)]
	if row == nil {
		row = &layerRow{}
		l.rows[string(key)] = row
		l.bytes += int64(len(key)) + rowMemory
	}
	l.bytes += int64(len(value) - len(row.value))
	row.value, row.gone = append(row.value[:0], value...), gone
}

func (l *layer) addRun(run *Run) {
	l.runs[run.Partition] = append(l.runs[run.Partition], *run)
	l.bytes += runMemory
}

// addVersion adds the version that follows the stream's newest; any other begins a new row of versions, which cannot be here.
func (l *layer) addVersion(prefix []byte, version int64, v layerVersion) bool {
	stream := l.versions[string(prefix)]
	if stream == nil {
		stream = &layerStream{first: version}
		l.versions[string(prefix)] = stream
		l.bytes += int64(len(prefix)) + streamMemory
	}
	if version != stream.first+int64(len(stream.versions)) {
		return false
	}
	stream.versions = append(stream.versions, v)
	l.bytes += versionMemory
	return true
}

// write puts everything into a batch of Pebble's, in the order of keys.
func (l *layer) write(to *pebble.Batch) error {
	keys := make([]string, 0, len(l.rows))
	for key := range l.rows {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	w := layerWriter{to: to}
	for _, key := range keys {
		if row := l.rows[key]; row.gone {
			w.remove([]byte(key))
		} else {
			w.set([]byte(key), row.value)
		}
	}
	partitions := make([]record.Partition, 0, len(l.runs))
	for partition := range l.runs {
		partitions = append(partitions, partition)
	}
	slices.Sort(partitions)
	for _, partition := range partitions {
		w.runs(l.runs[partition])
	}
	keys = keys[:0]
	for key := range l.versions {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		w.versions([]byte(key), l.versions[key])
	}
	return w.err
}

// layerWriter writes rows and keeps the first error.
type layerWriter struct {
	to         *pebble.Batch
	key, value []byte
	err        error
}

func (w *layerWriter) set(key, value []byte) {
	if w.err == nil {
		w.err = w.to.Set(key, value, nil)
	}
}

func (w *layerWriter) remove(key []byte) {
	if w.err == nil {
		w.err = w.to.Delete(key, nil)
	}
}

// runs writes a partition's runs, as many to a row as follow each other without a gap.
func (w *layerWriter) runs(runs []Run) {
	for len(runs) > 0 {
		w.key, w.value = runKey(w.key[:0], runs[0].Partition, runs[0].First), w.value[:0]
		n := 0
		for n < min(len(runs), blockRuns) && (n == 0 || runs[n].First == runs[n-1].Last+1) {
			w.value = appendRun(w.value, &runs[n])
			n++
		}
		w.set(w.key, w.value)
		runs = runs[n:]
	}
}

func (w *layerWriter) versions(prefix []byte, stream *layerStream) {
	for i := range stream.versions {
		w.key = order.AppendUint64(append(w.key[:0], prefix...), uint64(stream.first+int64(i)))
		w.value = stream.versions[i].append(w.value[:0])
		w.set(w.key, w.value)
	}
}

func (v *layerVersion) append(dst []byte) []byte {
	return append(order.AppendUint64(dst, uint64(v.offset)), v.id[:]...)
}
