package log

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/stela-db/stela/log/segment"
)

const (
	// prepareRetry is how long the preparer waits after the disk was too full for a new segment.
	prepareRetry = time.Second
	// Zeros are written zeroStep bytes at a time, and zeroEarned bytes for each sync of the present segment.
	zeroStep   = 1 << 20
	zeroEarned = 64 << 10
	zeroBuffer = 64 << 10
)

// A preparer creates the next segment's file ahead of time, on a goroutine of its own
// that stop ends.
//
// Writes past the page cache into room that was only reserved change the file's metadata, which costs each sync a
// commit of the file system's journal; where zeros were written before they do not. Zeros cost a byte for a
// byte, so it pays where syncs are many and small: each sync of the present segment has zeroEarned bytes
// of the next one written. Large groups have little zeroed for them, small ones all.
type preparer struct {
	log  *Log
	zero []byte // aligned; nil until it is needed
	done chan struct{}

	mu      sync.Mutex // guards the rest
	changed *sync.Cond
	wanted  int64   // the segment to prepare
	ready   *output // of segment wanted, when it is there
	earned  int64   // bytes of it that are to be zeroed
	zeroed  int64   // bytes of it that are
	zeroing bool    // the goroutine is writing to it
	failure error   // of the last attempt
	retry   *time.Timer
	closed  bool
}

func newPreparer(l *Log, number int64) *preparer {
	p := &preparer{log: l, done: make(chan struct{}), wanted: number}
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
		for !p.closed && p.rests() {
			p.changed.Wait()
		}
		if p.closed {
			return
		}
		if p.ready != nil {
			p.zeroMore()
		} else {
			p.prepare()
		}
		p.changed.Broadcast()
	}
}

// rests reports whether there is nothing to do now. p.mu is held.
func (p *preparer) rests() bool {
	return (p.ready != nil || p.retry != nil || p.failure != nil && !isFull(p.failure)) && !p.due()
}

// prepare makes the file. p.mu is held, except while the disk works.
func (p *preparer) prepare() {
	config, number := &p.log.config, p.wanted
	p.mu.Unlock()
	file, err := segment.Prepare(config.FS, config.Dir, number, config.SegmentBytes)
	var ready *output
	if err == nil {
		if ready, err = p.log.output(file); err != nil {
			err = errors.Join(err, file.Close())
		}
	}
	p.judge(err)
	p.mu.Lock()
	p.zeroed = 0
	p.end(ready, err)
}

// judge ends the log unless the attempt went well, or the disk is full and may be asked again. p.mu is not held.
func (p *preparer) judge(err error) {
	if err != nil && !isFull(err) {
		p.log.fail(fmt.Errorf("prepare the next segment: %w", err))
	}
}

// isFull reports whether an error says that the disk has no room, and nothing else is in doubt.
func isFull(err error) bool {
	return !errors.Is(err, segment.ErrSync) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT))
}

// end keeps what came of an attempt. p.mu is held.
func (p *preparer) end(ready *output, err error) {
	if err != nil && p.failure == nil && isFull(err) {
		p.log.config.Logger.Error("next segment cannot be prepared: new data will be refused when the present one is full", "error", err)
	}
	p.ready, p.failure = ready, err
	if err != nil && !p.closed && isFull(err) {
		p.retry = time.AfterFunc(prepareRetry, p.again)
	}
}

// due reports whether more of the prepared file is to be zeroed. p.mu is held.
func (p *preparer) due() bool {
	return p.ready != nil && p.log.direct.Load() && p.step() > 0 && p.earned >= p.zeroed+p.step()
}

// step is how much is zeroed next.
func (p *preparer) step() int64 {
	return min(zeroStep, (p.log.config.SegmentBytes-p.zeroed)&^(maxAlignment-1))
}

// zeroMore zeroes the next step of the prepared file. p.mu is held, except while the disk works.
func (p *preparer) zeroMore() {
	if p.zero == nil {
		p.zero = aligned(zeroBuffer)
	}
	file, offset, size := p.ready, p.zeroed, p.step()
	var buffers [][]byte
	for left := size; left > 0; left -= zeroBuffer {
		buffers = append(buffers, p.zero[:min(left, zeroBuffer)])
	}
	p.zeroing = true
	p.mu.Unlock()
	err := file.write(p.log, buffers, offset)
	if err != nil {
		err = errors.Join(fmt.Errorf("zero %d bytes at %d of the next segment: %w", size, offset, err), file.Close())
		file = nil
	} else {
		p.log.stats.zeroed.Add(size)
	}
	p.judge(err)
	p.mu.Lock()
	p.zeroing = false
	p.zeroed += size
	p.end(file, err)
}

// earn says that there was a sync.
func (p *preparer) earn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.earned += zeroEarned; p.due() {
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
func (p *preparer) take() (*output, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (p.ready == nil || p.zeroing) && p.failure == nil && !p.closed {
		p.changed.Wait()
	}
	switch {
	case p.ready == nil && p.failure != nil:
		return nil, p.failure
	case p.ready == nil || p.zeroing:
		return nil, ErrClosed
	}
	file := p.ready
	p.ready, p.earned = nil, 0
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
