package broker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestNearlyFullDisk: before the disk has no room, new records and offsets are refused, with errors after which clients try
// again, and what makes room is not.
func TestNearlyFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, small)
		c.create("t", 1)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		n.fill(p, 1<<20)
		free := func(bytes uint64) {
			n.fs.(*vfs.MemFS).TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes, TotalBytes: 1 << 30, UsedBytes: 1<<30 - bytes})
			time.Sleep(time.Second)
		}
		free(100 << 10) // and the log keeps 512 KiB
		wantError(t, "produce", n.produce(p, testBatch{values: []string{"x"}}).Err, ErrStorage)
		wantError(t, "commit", commitOffset(n, "g", "t", 5), ErrCoordinatorNotAvailable)
		before := len(n.log.Segments())
		_, next := bounds(t, p)
		if _, err := n.DeleteRecords(context.Background(), p, next); err != nil {
			t.Errorf("delete records: %v", err)
		}
		time.Sleep(30 * time.Second)
		if after := len(n.log.Segments()); after >= before {
			t.Errorf("of %d segments %d are left", before, after)
		}
		free(1 << 29)
		n.mustProduce(p, testBatch{values: []string{"x"}})
		if err := commitOffset(n, "g", "t", 5); err != nil {
			t.Errorf("commit: %v", err)
		}
	})
}
