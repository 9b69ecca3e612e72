package replication

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
)

// replayBatch is how many entries are handed to a state machine at a time.
const replayBatch = 256

// ReadIdentity reads the identity of a data folder, whichever node's it is.
func ReadIdentity(fs log.FS, dir string) (*Identity, error) {
	path := fs.PathJoin(dir, identityName)
	b, err := readFile(fs, path, identityHeadBytes+identityMaxMembers*identityEntryBytes+4)
	if err != nil {
		return nil, err
	}
	f, err := parseIdentity(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &f.Identity, nil
}

// Replay brings the state machines to what the data folder alone says for certain that
// was committed, without Raft, peers or network: the newest snapshot, and the entries that
// a state machine of this node had applied. Of a cluster of one node these are all that are
// stored. Entries after that may have been committed, or may have been replaced on other
// nodes since: they are left out. It takes the place of Start; after it only Close may be called.
func (n *Node) Replay(machines func(record.Shard) StateMachine) error {
	identity := n.who()
	if !identity.isFormed() {
		return fmt.Errorf("data folder %s belongs to a node that has not joined a cluster", n.config.Dir)
	}
	alone := len(identity.members) == 1 && slices.Contains(identity.members, identity.peer())
	for number := range record.Shard(identity.DataShards + 1) {
		if err := n.Group(number).replay(machines(number), alone); err != nil {
			return fmt.Errorf("replay shard %d: %w", number, err)
		}
	}
	return nil
}

func (g *Group) replay(machine StateMachine, alone bool) error {
	g.lock()
	defer g.unlock()
	config := &g.node.config
	g.machine = machine
	g.log = config.Log.Shard(g.number)
	certain := max(g.log.Applied(), machine.Applied())
	if alone {
		certain = max(certain, g.log.Last())
	}
	var err error
	if g.snapshots, err = openSnapshots(config.FS, config.FS.PathJoin(g.dir(), snapshotsName), g.logger, g.node.fatal); err != nil {
		return err
	}
	if err := g.restore(); err != nil {
		return err
	}
	var batch []Committed
	flush := func() error {
		for i, err := range machine.Apply(batch) {
			if err != nil && !errors.Is(err, ErrSkipped) {
				return fmt.Errorf("apply entry %d: %w", batch[i].Index, err)
			}
		}
		batch = batch[:0]
		return nil
	}
	next := machine.Applied() + 1
	err = g.log.Scan(next, certain, func(info log.EntryInfo, tail []byte) error {
		if info.Index != next {
			return fmt.Errorf("entry %d is missing: %w", next, log.ErrNotFound)
		}
		next++
		c := Committed{Index: info.Index, Term: info.Term, Position: info.Position}
		if raft.LogType(info.Kind) == raft.LogCommand {
			c.Bytes, c.Tail = info.Bytes, slices.Clone(tail)
		}
		if batch = append(batch, c); len(batch) < replayBatch {
			return nil
		}
		return flush()
	})
	if err == nil && len(batch) > 0 {
		err = flush()
	}
	return err
}
