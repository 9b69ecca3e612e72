package state

import (
	"encoding/json"
	"fmt"
	"iter"
)

// A Table is a named set of rows of type V; a row's key is a list of strings. V's JSON
// must have one encoding: structs and slices, no floats.
type Table[V any] struct{ name string }

// NewTable names a table. Names must differ within a service.
func NewTable[V any](name string) Table[V] { return Table[V]{name: name} }

// Get returns the row at key. A row that cannot be read makes t void.
func (table Table[V]) Get(t *Tx, key ...string) (V, bool) {
	var row V
	value, found := t.get(domainKey(table.name, key...))
	if !found {
		return row, false
	}
	if err := json.Unmarshal(value, &row); err != nil {
		t.fail(fmt.Errorf("read row %q of table %s: %w", key, table.name, err))
		return row, false
	}
	return row, true
}

// Put writes the row at key.
func (table Table[V]) Put(t *Tx, row V, key ...string) {
	value, err := json.Marshal(row)
	if err != nil {
		t.fail(fmt.Errorf("write row %q of table %s: %w", key, table.name, err))
		return
	}
	t.set(domainKey(table.name, key...), value)
}

// Delete removes the row at key, if there is one.
func (table Table[V]) Delete(t *Tx, key ...string) { t.delete(domainKey(table.name, key...)) }

// Scan yields the rows whose keys begin with prefix, in key order.
func (table Table[V]) Scan(t *Tx, prefix ...string) iter.Seq2[[]string, V] {
	start := domainKey(table.name, prefix...)
	return table.between(t, start, prefixEnd(start))
}

// ScanAfter yields the rows whose keys begin with prefix and come after the row at
// prefix + after, in key order.
func (table Table[V]) ScanAfter(t *Tx, prefix, after []string) iter.Seq2[[]string, V] {
	start := domainKey(table.name, append(append([]string{}, prefix...), after...)...)
	return table.between(t, prefixEnd(start), prefixEnd(domainKey(table.name, prefix...)))
}

func (table Table[V]) between(t *Tx, start, end []byte) iter.Seq2[[]string, V] {
	return func(yield func([]string, V) bool) {
		for key, value := range t.scan(start, end) {
			parts, err := domainParts(key)
			var row V
			if err == nil {
				err = json.Unmarshal(value, &row)
			}
			if err != nil {
				t.fail(fmt.Errorf("scan table %s: %w", table.name, err))
				return
			}
			if !yield(parts, row) {
				return
			}
		}
	}
}
