package broker

// An lru keeps the most recently used values of a map, at most limit (above 0) of them except
// for those that pinned says must stay. One goroutine at a time.
type lru[K comparable, V any] struct {
	limit  int
	pinned func(*V) bool // nil: none is
	items  map[K]*lruItem[K, V]
	root   lruItem[K, V] // next is the newest, previous the oldest
}

type lruItem[K comparable, V any] struct {
	key            K
	value          V
	next, previous *lruItem[K, V]
}

func newLRU[K comparable, V any](limit int, pinned func(*V) bool) *lru[K, V] {
	l := &lru[K, V]{limit: limit, pinned: pinned, items: map[K]*lruItem[K, V]{}}
	l.clear()
	return l
}

// clear forgets everything.
func (l *lru[K, V]) clear() {
	clear(l.items)
	l.root.next, l.root.previous = &l.root, &l.root
}

// get returns the value and makes it the newest, or nil. The pointer stays good; a value that had to go is merely not found any more.
func (l *lru[K, V]) get(key K) *V {
	item := l.items[key]
	if item == nil {
		return nil
	}
	item.unlink()
	item.link(&l.root)
	return &item.value
}

// add puts a value that is not there yet and returns where it lies; the oldest ones make room. What is pinned was used
// later than what is not, so that the first pinned one ends the search.
func (l *lru[K, V]) add(key K, value V) *V {
	for len(l.items) >= l.limit {
		oldest := l.root.previous
		if l.pinned != nil && l.pinned(&oldest.value) {
			break
		}
		oldest.unlink()
		delete(l.items, oldest.key)
	}
	item := &lruItem[K, V]{key: key, value: value}
	item.link(&l.root)
	l.items[key] = item
	return &item.value
}

// remove forgets one key.
func (l *lru[K, V]) remove(key K) {
	if item := l.items[key]; item != nil {
		item.unlink()
		delete(l.items, key)
	}
}

func (i *lruItem[K, V]) link(after *lruItem[K, V]) {
	i.previous, i.next = after, after.next
	after.next.previous, after.next = i, i
}

func (i *lruItem[K, V]) unlink() {
	i.previous.next, i.next.previous = i.next, i.previous
}
