package index

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/stela-db/stela/log/record"
)

// layerBytes is how much is gathered in memory before it goes to Pebble.
const layerBytes = 6 << 20

// pending is what was committed and is not in Pebble: what is being gathered, and what is on its way.
type pending struct {
	mu      sync.RWMutex // guards the rest; not held while Pebble works
	settled *sync.Cond   // leaving is nil again
	active  *layer
	leaving *layer // on its way to Pebble, nil when nothing is
	err     error  // why what was leaving is not in Pebble: nothing can be committed any more
}

func newPending() *pending {
	p := &pending{active: newLayer()}
	p.settled = sync.NewCond(&p.mu)
	return p
}

// commit takes a batch that drops nothing. When enough has gathered it goes to Pebble meanwhile.
func (x *Index) commit(b *Batch) error {
	p := x.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && p.active.bytes > layerBytes {
		if p.leaving == nil {
			leaving := p.leave()
			x.writing.Go(func() { _ = x.send(leaving) }) // ends by itself; the error is kept
			break
		}
		p.settled.Wait()
	}
	if p.err != nil {
		return p.err
	}
	b.add(p.active)
	return nil
}

// leave makes the gathered layer the leaving one. p.mu is held, and nothing leaves.
func (p *pending) leave() *layer {
	p.leaving, p.active = p.active, newLayer()
	return p.leaving
}

// send writes the leaving layer to Pebble.
func (x *Index) send(l *layer) error {
	err := x.put(l)
	p := x.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaving = nil
	if err != nil && p.err == nil {
		p.err = err
	}
	p.settled.Broadcast()
	return err
}

func (x *Index) put(l *layer) error {
	rows := x.db.NewBatch()
	defer func() { _ = rows.Close() }() // it frees memory
	err := l.write(rows)
	if err == nil {
		err = rows.Commit(pebble.NoSync)
	}
	if err != nil {
		return fmt.Errorf("commit index batch: %w", err)
	}
	return nil
}

// settle has everything that was committed before in Pebble when it returns.
func (x *Index) settle() error {
	p := x.pending
	p.mu.Lock()
	for p.leaving != nil {
		p.settled.Wait()
	}
	if p.err != nil || p.active.isEmpty() {
		defer p.mu.Unlock()
		return p.err
	}
	leaving := p.leave()
	p.mu.Unlock()
	return x.send(leaving)
}

// row looks a row up: found tells that it is known here, gone that it was deleted.
func (p *pending) row(key []byte) (value []byte, found, gone bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, l := range [...]*layer{p.active, p.leaving} {
		if l == nil {
			continue
		}
		if row := l.rows[string(key)]; row != nil {
			return slices.Clone(row.value), true, row.gone
		}
	}
	return nil, false, false
}

// runs returns a partition's runs that are not in Pebble, or may not be, oldest first.
func (p *pending) runs(partition record.Partition) [2][]Run {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var both [2][]Run
	if p.leaving != nil {
		both[0] = p.leaving.runs[partition]
	}
	both[1] = p.active.runs[partition]
	return both
}

// stream returns a stream's versions that are not in Pebble, or may not be, oldest first; first is the first one's, -1 without any.
func (p *pending) stream(prefix []byte) (first int64, both [2][]layerVersion) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	first = -1
	for i, l := range [...]*layer{p.leaving, p.active} {
		if l == nil {
			continue
		}
		if stream := l.versions[string(prefix)]; stream != nil {
			both[i] = stream.versions
			if first < 0 {
				first = stream.first
			}
		}
	}
	return first, both
}

// direct applies a batch that drops ranges of rows, once everything before it is in Pebble.
func (x *Index) direct(b *Batch) error {
	if err := x.settle(); err != nil {
		return err
	}
	rows := x.db.NewBatch()
	defer func() { _ = rows.Close() }() // it frees memory
	var err error
	for _, c := range b.changes {
		key, value := b.bytes[c.key:c.value], b.bytes[c.value:c.end]
		switch c.kind {
		case changeSet:
			err = errors.Join(err, rows.Set(key, value, nil))
		case changeDelete:
			err = errors.Join(err, rows.Delete(key, nil))
		case changeRange:
			err = errors.Join(err, rows.DeleteRange(key, value, nil))
		}
	}
	l := newLayer()
	b.addPlaces(l)
	err = errors.Join(err, l.write(rows))
	if err == nil {
		err = rows.Commit(pebble.NoSync)
	}
	if err != nil {
		return fmt.Errorf("commit index batch: %w", err)
	}
	return nil
}
