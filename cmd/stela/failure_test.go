package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a file on a disk that hangs.
type stuck struct{ free chan struct{} }

func (s stuck) Write(b []byte) (int, error) {
	<-s.free
	return len(b), nil
}

func TestEndDoesNotWaitForTheReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stuck{free: make(chan struct{})}
		ended := make(chan int, 2)
		began := time.Now()
		go end(w, errors.New("the disk hangs"), func(status int) { ended <- status })
		if status := <-ended; status == 0 || time.Since(began) > reportPatience {
			t.Errorf("status %d after %v", status, time.Since(began))
		}
		close(w.free)
	})
}
