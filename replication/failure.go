package replication

import (
	"sync"
)

// failure is how a raft instance ends when its disk does: Fatal is told, and the
// goroutine that met the error stays where it is until the instance is closed, so
// that nothing is answered that did not happen. (In a process Fatal does not return;
// in a simulation the node's goroutines must still be stopped.)
type failure struct {
	fatal    func(error)
	mu       sync.Mutex // guards err
	err      error
	released chan struct{} // closed when the instance takes no more messages in or out
	once     sync.Once
}

func newFailure(fatal func(error)) *failure {
	return &failure{fatal: fatal, released: make(chan struct{})}
}

// stop tells Fatal and waits for release.
func (f *failure) stop(err error) {
	f.mu.Lock()
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	f.fatal(err)
	<-f.released
}

// release lets all who wait in stop go on, to their end.
func (f *failure) release() { f.once.Do(func() { close(f.released) }) }

// reason returns the first error, or nil.
func (f *failure) reason() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
