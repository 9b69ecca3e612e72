package log

import (
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/log/segment"
)

// prepareRetry is how long the preparer waits after the disk refused a new segment.
const prepareRetry = time.Second

// A preparer creates the next segment's file ahead of time, on a goroutine of its own
// that stop ends.
type preparer struct {
	fs     FS
	dir    string
	bytes  int64
	logger *slog.Logger
	done   chan struct{}

	mu      sync.Mutex // guards the rest
	changed *sync.Cond
	wanted  int64    // the segment to prepare; 0 for none
	ready   vfs.File // of segment wanted, when it is there
	failure error    // of the last attempt
	retry   *time.Timer
	closed  bool
}

func newPreparer(config *Config, number int64) *preparer {
	p := &preparer{
		fs: config.FS, dir: config.Dir, bytes: config.SegmentBytes, logger: config.Logger,
		done: make(chan struct{}), wanted: number,
	}
	p.changed = sync.NewCond(&p.mu)
	go p.run() // until stop
	return p
}

func (p *preparer) run() {
	defer close(p.done)
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		if p.ready != nil {
			_ = p.ready.Close() // it was synced when it was prepared
			p.ready = nil       // a writer whose disk hung may come for it yet
		}
	}()
	for {
		for !p.closed && (p.wanted == 0 || p.ready != nil || p.retry != nil) {
			p.changed.Wait()
		}
		if p.closed {
			return
		}
		number := p.wanted
		p.mu.Unlock()
		file, err := segment.Prepare(p.fs, p.dir, number, p.bytes)
		p.mu.Lock()
		if err != nil && p.failure == nil {
			p.logger.Error("next segment cannot be prepared: new data will be refused when the present one is full", "error", err)
		}
		p.ready, p.failure = file, err
		if err != nil && !p.closed {
			p.retry = time.AfterFunc(prepareRetry, p.again)
		}
		p.changed.Broadcast()
	}
}

func (p *preparer) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retry = nil
	p.changed.Broadcast()
}

// take returns the prepared file of the wanted segment, waiting for it if need be, and
// has the one after it prepared. It returns the error of the last attempt when that failed.
func (p *preparer) take() (vfs.File, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.ready == nil && p.failure == nil && !p.closed {
		p.changed.Wait()
	}
	switch {
	case p.ready == nil && p.failure != nil:
		return nil, p.failure
	case p.ready == nil:
		return nil, ErrClosed
	}
	file := p.ready
	p.ready = nil
	p.wanted++
	p.changed.Broadcast()
	return file, nil
}

// err returns why the next segment cannot be prepared, nil when it can.
func (p *preparer) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// stop has the goroutine end as soon as the disk lets it. The prepared file stays for the next start.
func (p *preparer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.retry != nil {
		p.retry.Stop()
	}
	p.changed.Broadcast()
}
