package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stela-db/stela/internal/process"
)

const (
	host      = "127.0.0.1"
	firstPort = 24500 // free ports are looked for from here on

	startTimeout = time.Minute
	stopTimeout  = 20 * time.Second
	tryTimeout   = 5 * time.Second // of one of the calls until the peer serves
	retryAfter   = 50 * time.Millisecond
)

// servers are the processes of one peer. They print to one file.
type servers struct {
	log *os.File
	all []*process.Process
}

func (s *servers) open(dir string) error {
	log, err := os.Create(filepath.Join(dir, "servers.log"))
	if err != nil {
		return fmt.Errorf("create the servers' log: %w", err)
	}
	s.log = log
	return nil
}

func (s *servers) start(config process.Config) error {
	config.Output = s.log
	p, err := process.Start(config)
	if err != nil {
		return err
	}
	s.all = append(s.all, p)
	return nil
}

func (s *servers) processes() []int {
	var ids []int
	for _, p := range s.all {
		ids = append(ids, p.ID())
	}
	return ids
}

// stop asks all to end with this signal and waits until they have.
func (s *servers) stop(signal syscall.Signal) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	for _, p := range s.all {
		p.Signal(signal)
	}
	for _, p := range s.all {
		select {
		case <-p.Done():
		case <-ctx.Done():
			p.Kill()
		}
	}
	if s.log != nil {
		s.log.Close()
	}
}

// await calls try until it succeeds, a server ends, or the time to start is over: a server
// that has just started may leave a call without an answer.
func (s *servers) await(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(retryAfter)
	defer ticker.Stop()
	for {
		trying, cancel := context.WithTimeout(ctx, tryTimeout)
		err := try(trying)
		cancel()
		if err == nil {
			return nil
		}
		for _, p := range s.all {
			if !p.Running() {
				return fmt.Errorf("%s: a server ended, see %s: %w", what, s.log.Name(), errors.Join(p.Err(), err))
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s, see %s: %w", what, s.log.Name(), errors.Join(ctx.Err(), err))
		}
	}
}
