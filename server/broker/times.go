package broker

import (
	"fmt"
	"time"

	"github.com/stela-db/stela/log/record"
)

// A timeCheck holds the times of a batch's records against what the topic allows and finds the latest of them. What the
// batch's header says is not relied upon, as Kafka's brokers do not either: old versions of sarama leave the maximum out.
type timeCheck struct {
	now    int64 // the broker's time, ms
	before int64 // how far a record's time may lie behind, ms
	after  int64 // how far it may lie ahead, ms
	latest int64 // of the records seen; noTimestamp while none has a time
	off    bool  // the broker's time will count
}

func (p *Partition) timeCheck(now time.Time) timeCheck {
	options := &p.topic.Options
	return timeCheck{
		now: now.UnixMilli(), before: options.TimestampBeforeMs, after: options.TimestampAfterMs, latest: noTimestamp,
		off: options.LogAppendTime,
	}
}

// see takes the time of record i. Times before 1970 are none.
func (c *timeCheck) see(i int, at int64) *rejection {
	if at < 0 || c.off {
		return nil
	}
	c.latest = max(c.latest, at)
	if ahead := at - c.now; ahead > c.after || -ahead > c.before {
		return rejectRecord(i, fmt.Sprintf("time %d is %d ms from the broker's", at, ahead), ErrInvalidTimestamp)
	}
	return nil
}

// correct writes the latest time into the header of a batch that says another.
func (c *timeCheck) correct(batch record.Batch) {
	if !c.off && batch.MaxTimestamp() != c.latest {
		batch.SetMaxTimestamp(c.latest)
	}
}
