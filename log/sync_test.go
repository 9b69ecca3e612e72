package log

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/stela-db/stela/log/record"
)

// failingLog returns a log on a disk that refuses once what fault says, after arm was called, and where it tells Fatal.
func failingLog(t *testing.T, fault func(errorfs.Op) error) (l *Log, arm func(), fatal chan error) {
	t.Helper()
	fs, faults := faulty()
	config := testConfig(fs)
	fatal = make(chan error, 8)
	config.Fatal = func(err error) { fatal <- err }
	l = open(t, config)
	once := func(op errorfs.Op) error {
		err := fault(op)
		if err != nil {
			faults.Store(nil) // it would be well the next time
		}
		return err
	}
	return l, func() {
		synctest.Wait()
		faults.Store(&once)
	}, fatal
}

// A sync of a new segment or of the folder that failed is not tried again: what it was about may be gone, and
// the next one says that all is well.
func TestFailedSyncOfNewSegmentEndsTheLog(t *testing.T) {
	for name, suffix := range map[string]string{"file": ".segment", "folder": "log"} {
		for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
			t.Run(name+" "+cause.Error(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l, arm, fatal := failingLog(t, func(op errorfs.Op) error {
						if op.Kind == errorfs.OpFileSync && strings.HasSuffix(op.Path, suffix) {
							return cause
						}
						return nil
					})
					arm()
					if err := l.Shard(1).Append([]Entry{entry(1, 1, 10)}); err != nil { // the segment after this one is prepared
						t.Fatal(err)
					}
					time.Sleep(2 * prepareRetry)
					if err := l.Shard(1).Append([]Entry{entry(2, 1, 10)}); !errors.Is(err, cause) {
						t.Errorf("append after a failed sync: %v", err)
					}
					if len(fatal) != 1 {
						t.Errorf("fatal was called %d times", len(fatal))
					}
				})
			})
		}
	}
}

// The removal of a file whose folder could not be synced may be undone, so nobody goes on as if it were done.
func TestFailedSyncOfRemovalEndsTheLog(t *testing.T) {
	for name, kind := range map[string]errorfs.OpKind{"folder": errorfs.OpFileSync, "list": errorfs.OpFileSyncData} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, arm, fatal := failingLog(t, func(op errorfs.Op) error {
					if op.Kind == kind && (op.Path == "log" || strings.Contains(op.Path, removedName)) {
						return syscall.EIO
					}
					return nil
				})
				s := l.Shard(1)
				for i := record.Index(1); i <= 20; i++ {
					appendAll(t, s, entry(i, 1, 9000))
				}
				s.SetApplied(20)
				if err := s.Forget(18); err != nil {
					t.Fatal(err)
				}
				arm()
				if err := l.Remove(1); !errors.Is(err, syscall.EIO) {
					t.Errorf("remove: %v", err)
				}
				synctest.Wait()
				if len(fatal) != 1 {
					t.Errorf("fatal was called %d times", len(fatal))
				}
			})
		})
	}
}

// A full disk is no failure of what was done: the next segment is asked for again until there is room.
func TestFullDiskIsTriedAgain(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		synctest.Test(t, func(t *testing.T) {
			l, arm, fatal := failingLog(t, func(op errorfs.Op) error {
				if op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, ".segment") {
					return full
				}
				return nil
			})
			arm()
			appendAll(t, l.Shard(1), entry(1, 1, 10))
			synctest.Wait()
			if err := l.Writable(); !errors.Is(err, full) {
				t.Errorf("writable: %v", err)
			}
			time.Sleep(2 * prepareRetry)
			if err := l.Writable(); err != nil || len(fatal) != 0 {
				t.Errorf("writable again: %v, fatal %d times", err, len(fatal))
			}
		})
	}
}

// A disk that is nearly full takes no new data, while there is room for what must be written, and again when there is more.
func TestNearlyFullDiskIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		const total = 1 << 30
		l := open(t, testConfig(disk)) // of segments of 64 KiB
		for _, free := range []uint64{total / 2, 200 << 10, 0, 256 << 10} {
			disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: free, TotalBytes: total, UsedBytes: total - free})
			time.Sleep(reservePause)
			err := l.Writable()
			if full := free < 256<<10; full != errors.Is(err, syscall.ENOSPC) || !full && err != nil {
				t.Errorf("with %d bytes free: %v", free, err)
			}
			s := l.Shard(1)
			appendAll(t, s, entry(s.Last()+1, 1, 100)) // what is not new data is written anyway
		}
	})
}
