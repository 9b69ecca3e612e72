package broker

import (
	"time"

	"github.com/stela-db/stela/server/meta"
)

// Settings are the broker's own limits and defaults. The zero value is usable: each field then has its default.
type Settings struct {
	// AutoCreate makes topics when a client first names them.
	AutoCreate bool
	// UnansweredBytes bounds what one shard may hold of batches that are not committed yet. Default 32 MiB.
	UnansweredBytes int64
	// EntryBytes is how large an entry may grow before the next is begun; one batch may exceed it. Default 511 KiB, so
	// that entry and frame fit into 512 KiB.
	EntryBytes int
	// MaxBatchBytes bounds a batch, whatever max.message.bytes says: an entry must fit into a segment of every node's
	// log. Default and largest: meta.MaxMessageBytes.
	MaxBatchBytes int
	// RecordBytes bounds what one batch may hold when decompressed; twice as many batches as there are processors are so at
	// a time. Default 64 MiB.
	RecordBytes int
	// ProducerExpiry is how long an idempotent producer may be silent before it is forgotten. Default 24 h.
	ProducerExpiry time.Duration
	// RetentionInterval is how often retention looks for what is too old or too much. Default 1 min.
	RetentionInterval time.Duration
	// MetaConfigs are broker configs that this node was started with, under Kafka's names, see meta.Config.BrokerConfigs.
	MetaConfigs map[string]string
}

func (s Settings) withDefaults() Settings {
	if s.UnansweredBytes <= 0 {
		s.UnansweredBytes = 32 << 20
	}
	if s.EntryBytes <= 0 {
		s.EntryBytes = 511 << 10
	}
	if s.MaxBatchBytes <= 0 || s.MaxBatchBytes > meta.MaxMessageBytes {
		s.MaxBatchBytes = meta.MaxMessageBytes
	}
	if s.RecordBytes <= 0 {
		s.RecordBytes = 64 << 20
	}
	if s.ProducerExpiry <= 0 {
		s.ProducerExpiry = 24 * time.Hour
	}
	if s.RetentionInterval <= 0 {
		s.RetentionInterval = time.Minute
	}
	return s
}
