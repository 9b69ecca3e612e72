package broker

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/meta"
)

// A Partition is a handle of one partition of a topic as it was known when the
// handle was asked for. Requests through the handle of a deleted topic answer
// ErrUnknownTopicOrPartition.
type Partition struct {
	state  *partitionState
	number int32
	topic  *meta.Topic
}

// ID returns the cluster-wide number.
func (p *Partition) ID() record.Partition { return p.state.id }

// Number returns the number within the topic.
func (p *Partition) Number() int32 { return p.number }

// Topic returns the topic as it was known when the handle was asked for.
func (p *Partition) Topic() *meta.Topic { return p.topic }

// HighWatermark returns the offset after the last record that is committed and applied here.
func (p *Partition) HighWatermark() (record.Offset, error) {
	_, next, err := p.state.bounds()
	return next, err
}

// LogStart returns the first offset that is still there.
func (p *Partition) LogStart() (record.Offset, error) {
	start, _, err := p.state.bounds()
	return start, err
}

// recentRuns is how many of a partition's newest runs are found without asking the index.
const recentRuns = 8

// A partitionState is what a node keeps in memory of a partition that somebody touched. It is
// filled from the index when it is first needed.
type partitionState struct {
	id     record.Partition
	shard  *shard
	handle atomic.Pointer[Partition] // the last one given out
	// dropped: as row.dropped, for those who do not hold mu.
	dropped atomic.Bool

	mu      sync.Mutex // guards the fields up to waiters: what is applied
	loaded  bool
	row     partitionRow
	next    record.Offset // the high watermark
	recent  []index.Run   // the newest runs, oldest first
	waiters waiterList

	applying applyingPartition // the state machine's alone
	sequence sequencePartition // the sequencer's alone
	cleaning cleaningPartition // retention's alone
}

// A partitionRow is what the index keeps of a partition beside its runs. It is written with the first record and when
// the begin moves.
type partitionRow struct {
	exists  bool          // the row is in the index
	dropped bool          // the topic was deleted; nothing is accepted any more
	start   record.Offset // first offset that is there
	next    record.Offset // high watermark when the row was written
	entry   record.Index  // that wrote it
	term    record.Term   // of the last run when the row was written
	// floor is the running maximum of timestamps (ms) at the first run that was left, or of all when none was.
	floor int64
}

const (
	partitionRowBytes = 41
	noTimestamp       = int64(-1)
)

func (r *partitionRow) append(dst []byte) []byte {
	dst = append(dst, boolByte(r.dropped))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.start))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.next))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.entry))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.term))
	return binary.LittleEndian.AppendUint64(dst, uint64(r.floor))
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func parsePartitionRow(b []byte) (partitionRow, error) {
	if len(b) != partitionRowBytes {
		return partitionRow{}, fmt.Errorf("partition row of %d bytes: %w", len(b), record.ErrCorrupt)
	}
	return partitionRow{
		exists:  true,
		dropped: b[0] != 0,
		start:   record.Offset(binary.LittleEndian.Uint64(b[1:])),
		next:    record.Offset(binary.LittleEndian.Uint64(b[9:])),
		entry:   record.Index(binary.LittleEndian.Uint64(b[17:])),
		term:    record.Term(binary.LittleEndian.Uint64(b[25:])),
		floor:   int64(binary.LittleEndian.Uint64(b[33:])),
	}, nil
}

// bounds returns where the partition's log begins and ends.
func (p *partitionState) bounds() (start, next record.Offset, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return -1, -1, err
	}
	return p.row.start, p.next, nil
}

// load fills the applied side from the index, once. The caller holds mu. A dropped partition is ErrUnknownTopicOrPartition.
func (p *partitionState) load() error {
	if !p.loaded {
		if err := p.read(); err != nil {
			return fmt.Errorf("partition %d: %w: %w", p.id, ErrStorage, err)
		}
		p.loaded = true
	}
	if p.row.dropped {
		return fmt.Errorf("partition %d was deleted: %w", p.id, ErrUnknownTopicOrPartition)
	}
	return nil
}

func (p *partitionState) read() error {
	db := p.shard.broker.config.Index
	p.row = partitionRow{floor: noTimestamp}
	row, ok, err := db.Get(p.shard.id, partitionKey(p.id))
	if err != nil {
		return err
	}
	if ok {
		if p.row, err = parsePartitionRow(row); err != nil {
			return err
		}
	}
	last, ok, err := db.LastRun(p.id)
	if err != nil {
		return err
	}
	p.dropped.Store(p.row.dropped)
	p.next = p.row.next
	p.recent = p.recent[:0]
	if ok && !p.row.dropped {
		p.next = max(p.next, last.Last+1)
		p.recent = append(p.recent, last)
	}
	return nil
}

// forget makes the next use read everything anew, because the index is replaced.
func (p *partitionState) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loaded, p.recent = false, nil
	p.applying = applyingPartition{}
	p.waiters.wakeAll()
}

// checkEpoch compares the leader epoch that a client knows with the real one; -1 is not compared.
func checkEpoch(known int32, term record.Term) error {
	switch {
	case known < 0 || known == term.Epoch():
		return nil
	case known < term.Epoch():
		return fmt.Errorf("epoch %d, now it is %d: %w", known, term.Epoch(), ErrFencedLeaderEpoch)
	}
	return fmt.Errorf("epoch %d, here it is %d: %w", known, term.Epoch(), ErrUnknownLeaderEpoch)
}

// states holds the partitions that were touched.
type states struct {
	mu    sync.RWMutex // guards table
	table map[record.Partition]*partitionState
}

// get returns the state of a partition, making it when it is not there.
func (t *states) get(id record.Partition, s *shard) *partitionState {
	t.mu.RLock()
	p := t.table[id]
	t.mu.RUnlock()
	if p != nil {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p = t.table[id]; p == nil {
		p = &partitionState{id: id, shard: s}
		p.waiters.init()
		t.table[id] = p
	}
	return p
}

// remove forgets a partition that was dropped: whoever asks for it again reads that from the index.
func (t *states) remove(id record.Partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.table, id)
}

// ofShard returns the touched partitions of one shard.
func (t *states) ofShard(s *shard) []*partitionState {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var list []*partitionState
	for _, p := range t.table {
		if p.shard == s {
			list = append(list, p)
		}
	}
	return list
}

// Partition returns a partition by its topic's name and its number there, or ErrUnknownTopicOrPartition;
// ErrLeaderNotAvailable while this node's metadata may be too old to know it.
func (b *Broker) Partition(topic string, partition int32) (*Partition, error) {
	t := b.View().TopicByName(topic)
	if t == nil {
		return nil, b.cluster.unknown(ErrUnknownTopicOrPartition)
	}
	return b.PartitionOf(t, partition)
}

// PartitionByID returns a partition by its topic's id and its number there, or an
// error that wraps meta.ErrUnknownTopicID or ErrUnknownTopicOrPartition.
func (b *Broker) PartitionByID(topic record.TopicID, partition int32) (*Partition, error) {
	t := b.View().TopicByID(topic)
	if t == nil {
		return nil, b.cluster.unknown(meta.ErrUnknownTopicID)
	}
	return b.PartitionOf(t, partition)
}

// PartitionOf returns a partition of a topic of a view, or ErrUnknownTopicOrPartition.
func (b *Broker) PartitionOf(topic *meta.Topic, partition int32) (*Partition, error) {
	if partition < 0 || int(partition) >= len(topic.Partitions) {
		return nil, b.cluster.unknown(ErrUnknownTopicOrPartition)
	}
	info := topic.Partitions[partition]
	s := b.shard(info.Shard)
	if s == nil {
		return nil, ErrLeaderNotAvailable
	}
	state := b.states.get(info.Partition, s)
	if h := state.handle.Load(); h != nil && h.topic == topic {
		return h, nil
	}
	h := &Partition{state: state, number: partition, topic: topic}
	state.handle.Store(h)
	return h, nil
}

// Leader returns the node that leads a partition, or -1, and the epoch of its leadership.
func (b *Broker) Leader(partition record.Partition) (node int32, epoch int32) {
	topic, number := b.View().Partition(partition)
	if topic == nil {
		return -1, -1
	}
	return b.ShardLeader(topic.Partitions[number].Shard)
}

// ShardLeader returns the node that leads a data shard, or -1, and the epoch of its leadership.
func (b *Broker) ShardLeader(id record.Shard) (node int32, epoch int32) {
	s := b.shard(id)
	if s == nil {
		return -1, -1
	}
	leader := s.group.Leader()
	return leader.Node, leader.Term.Epoch()
}
