package broker

import "sync/atomic"

// A waiter is a request that waits until partitions have grown.
type waiter struct {
	missing atomic.Int64  // bytes that must still arrive
	signal  chan struct{} // of capacity 1: enough arrived, or something changed
	nodes   []waiterNode
}

func newWaiter(partitions int, bytes int) *waiter {
	w := &waiter{signal: make(chan struct{}, 1), nodes: make([]waiterNode, 0, partitions)}
	w.missing.Store(int64(max(bytes, 1)))
	return w
}

// wake ends the wait.
func (w *waiter) wake() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

// A waiterNode is a waiter's place in the list of one partition.
type waiterNode struct {
	waiter         *waiter
	state          *partitionState
	next, previous *waiterNode
}

// A waiterList is the requests that wait for one partition. The partition's mu guards it.
type waiterList struct {
	root waiterNode
}

func (l *waiterList) init() { l.root.next, l.root.previous = &l.root, &l.root }

// arrived tells all waiters that the partition has grown by so many bytes.
func (l *waiterList) arrived(bytes int64) {
	for n := l.root.next; n != &l.root; n = n.next {
		if n.waiter.missing.Add(-bytes) <= 0 {
			n.waiter.wake()
		}
	}
}

// wakeAll wakes all waiters because the partition is not what it was.
func (l *waiterList) wakeAll() {
	for n := l.root.next; n != &l.root; n = n.next {
		n.waiter.wake()
	}
}

// join adds w to the partition's waiters. The caller holds the partition's mu. There must be room in w.nodes.
func (w *waiter) join(p *partitionState) {
	w.nodes = append(w.nodes, waiterNode{waiter: w, state: p})
	n := &w.nodes[len(w.nodes)-1]
	l := &p.waiters
	n.previous, n.next = &l.root, l.root.next
	l.root.next.previous, l.root.next = n, n
}

// leave removes w from all partitions.
func (w *waiter) leave() {
	for i := range w.nodes {
		n := &w.nodes[i]
		n.state.mu.Lock()
		n.previous.next, n.next.previous = n.next, n.previous
		n.state.mu.Unlock()
	}
	w.nodes = w.nodes[:0]
}

// watch makes w hear of the end of a shard's leadership; it reports whether there is one now.
func (w *waiter) watch(s *shard) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetchers[w] = struct{}{}
	return s.leading && !s.closed
}

// unwatch removes w from the shard and from all partitions.
func (w *waiter) unwatch(s *shard) {
	w.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fetchers, w)
}
