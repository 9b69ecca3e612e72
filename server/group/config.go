package group

import (
	"crypto/rand"
	"fmt"
	"time"
)

// Config holds the limits and times of a Machine. The zero value is usable: each field then has its default.
type Config struct {
	MinSessionTimeout      time.Duration // group.min.session.timeout.ms, default 6 s
	MaxSessionTimeout      time.Duration // group.max.session.timeout.ms, default 30 min
	InitialRebalanceDelay  time.Duration // group.initial.rebalance.delay.ms, default 0: the first member starts at once
	NewMemberJoinTimeout   time.Duration // how long a new member may wait for its first generation, default 5 min
	OffsetsRetention       time.Duration // offsets.retention.minutes, default 7 days
	RetentionCheckInterval time.Duration // offsets.retention.check.interval.ms, default 10 min
	MaxOffsetMetadataBytes int           // offset.metadata.max.bytes, default 4096
	MaxMembers             int           // group.max.size, default 10,000
	MaxGroups              int           // of one shard, default 100,000
	MaxMemberBytes         int           // protocols and their metadata of one member, default 1 MiB
	MaxGroupBytes          int           // all that is stored of one group's members, and the offsets of one commit; default 8 MiB
	MaxBytes               int           // all that is known of groups that have members or wait for some, in one shard; default 64 MiB
	// NewMemberID returns the random part of a member's id. Default: 128 random bits as a UUID.
	NewMemberID func() string
}

func (c Config) withDefaults() Config {
	setDuration := func(field *time.Duration, value time.Duration) {
		if *field <= 0 {
			*field = value
		}
	}
	setCount := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	setDuration(&c.MinSessionTimeout, 6*time.Second)
	setDuration(&c.MaxSessionTimeout, 30*time.Minute)
	setDuration(&c.NewMemberJoinTimeout, 5*time.Minute)
	setDuration(&c.OffsetsRetention, 7*24*time.Hour)
	setDuration(&c.RetentionCheckInterval, 10*time.Minute)
	c.InitialRebalanceDelay = max(c.InitialRebalanceDelay, 0)
	setCount(&c.MaxOffsetMetadataBytes, 4096)
	setCount(&c.MaxMembers, 10_000)
	setCount(&c.MaxGroups, 100_000)
	setCount(&c.MaxMemberBytes, 1<<20)
	setCount(&c.MaxGroupBytes, 8<<20)
	setCount(&c.MaxBytes, 64<<20)
	if c.NewMemberID == nil {
		c.NewMemberID = newUUID
	}
	return c
}

// newUUID returns a random UUID of version 4.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
