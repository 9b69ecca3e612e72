package meta

import (
	"cmp"
	"iter"
	"slices"
)

// chunkPairs is how many pairs a chunk of a tree may hold. A change copies one chunk and the list of
// chunks, so the cost of changing n pairs is about chunkPairs + n/chunkPairs.
const chunkPairs = 128

// A tree is an immutable sorted map in two levels: a list of chunks of pairs. Readers share it
// with editors, who copy the chunks that they touch.
type tree[K cmp.Ordered, V any] struct {
	chunks [][]pair[K, V] // none is empty
	count  int
}

type pair[K cmp.Ordered, V any] struct {
	key   K
	value V
}

// chunk returns the number of the last chunk that begins at or below key, or 0.
func (t *tree[K, V]) chunk(key K) int {
	n, found := slices.BinarySearchFunc(t.chunks, key, func(c []pair[K, V], key K) int { return cmp.Compare(c[0].key, key) })
	if found || n == 0 {
		return n
	}
	return n - 1
}

func search[K cmp.Ordered, V any](chunk []pair[K, V], key K) (int, bool) {
	return slices.BinarySearchFunc(chunk, key, func(p pair[K, V], key K) int { return cmp.Compare(p.key, key) })
}

// get returns the value of key.
func (t *tree[K, V]) get(key K) (value V, ok bool) {
	if len(t.chunks) == 0 {
		return value, false
	}
	chunk := t.chunks[t.chunk(key)]
	i, found := search(chunk, key)
	if !found {
		return value, false
	}
	return chunk[i].value, true
}

// floor returns the pair with the largest key that is at most key.
func (t *tree[K, V]) floor(key K) (found pair[K, V], ok bool) {
	if len(t.chunks) == 0 {
		return found, false
	}
	chunk := t.chunks[t.chunk(key)]
	i, exact := search(chunk, key)
	if exact {
		return chunk[i], true
	}
	if i == 0 {
		return found, false
	}
	return chunk[i-1], true
}

// from yields the pairs whose key is at least key, in order.
func (t *tree[K, V]) from(key K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if len(t.chunks) == 0 {
			return
		}
		n := t.chunk(key)
		i, _ := search(t.chunks[n], key)
		for ; n < len(t.chunks); n, i = n+1, 0 {
			for ; i < len(t.chunks[n]); i++ {
				if !yield(t.chunks[n][i].key, t.chunks[n][i].value) {
					return
				}
			}
		}
	}
}

// all yields every pair in order.
func (t *tree[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, chunk := range t.chunks {
			for _, p := range chunk {
				if !yield(p.key, p.value) {
					return
				}
			}
		}
	}
}

// put returns a tree in which key has the value.
func (t tree[K, V]) put(key K, value V) tree[K, V] {
	if len(t.chunks) == 0 {
		return tree[K, V]{chunks: [][]pair[K, V]{{{key, value}}}, count: 1}
	}
	n := t.chunk(key)
	i, found := search(t.chunks[n], key)
	chunks := make([][]pair[K, V], len(t.chunks), len(t.chunks)+1)
	copy(chunks, t.chunks)
	if found {
		chunks[n] = slices.Clone(chunks[n])
		chunks[n][i].value = value
		return tree[K, V]{chunks: chunks, count: t.count}
	}
	grown := make([]pair[K, V], 0, len(chunks[n])+1)
	grown = append(append(append(grown, chunks[n][:i]...), pair[K, V]{key, value}), chunks[n][i:]...)
	chunks[n] = grown
	if len(grown) > chunkPairs {
		half := len(grown) / 2
		if i == len(grown)-1 && n == len(chunks)-1 {
			half = len(grown) - 1 // keys in ascending order fill their chunks
		}
		chunks[n] = grown[:half:half]
		chunks = slices.Insert(chunks, n+1, slices.Clone(grown[half:]))
	}
	return tree[K, V]{chunks: chunks, count: t.count + 1}
}

// remove returns a tree without key.
func (t tree[K, V]) remove(key K) tree[K, V] {
	if len(t.chunks) == 0 {
		return t
	}
	n := t.chunk(key)
	i, found := search(t.chunks[n], key)
	if !found {
		return t
	}
	chunks := slices.Clone(t.chunks)
	shrunk := slices.Concat(chunks[n][:i], chunks[n][i+1:])
	switch {
	case len(shrunk) == 0:
		chunks = slices.Delete(chunks, n, n+1)
	case n+1 < len(chunks) && len(shrunk)+len(chunks[n+1]) <= chunkPairs/2:
		chunks[n] = slices.Concat(shrunk, chunks[n+1])
		chunks = slices.Delete(chunks, n+1, n+2)
	default:
		chunks[n] = shrunk
	}
	return tree[K, V]{chunks: chunks, count: t.count - 1}
}
