package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication/transport"
)

const (
	incomingSuffix = ".incoming"
	// checkpointBytes of fetched entries are at most lost to an interruption.
	checkpointBytes = 4 << 20
	partPatience    = 10 * time.Second
)

// catchup is how a follower that is too far behind for its leader's log comes back:
//
//  1. the snapshot's file is fetched beside the folder's own, piece by piece;
//  2. the retained entries up to the snapshot that are not here are fetched, verified
//     and backfilled; how far that came is remembered, so that an interruption costs little;
//  3. when the leader says that its log still reaches back to the snapshot (else it
//     offers a newer one, and little is left to fetch), raft ends; the snapshot gets its name, which is the point of no return;
//  4. the window drops what contradicts the snapshot, the machine is restored from the
//     state and the entries, and raft begins anew on the snapshot.
//
// Until 3 the node keeps every entry that it has acknowledged, and raft runs and votes
// with them. A crash after 3 ends in the same state, by Group.start.
type catchup struct {
	group *Group
	busy  chan struct{} // a lock that time can pass under; it guards all below
	job   *job
	ended bool
}

// job is one catch-up, for one snapshot of one leader.
type job struct {
	group   *Group
	leader  int32
	request installRequest
	ctx     context.Context // ends when another job replaces this one, or with the group
	cancel  context.CancelFunc
	source  int32         // whom entries are fetched from: the leader, or who could answer what it could not
	fetched atomic.Bool   // all is here
	proceed chan struct{} // closed when the leader wants it installed
	once    sync.Once     // of proceed
	done    chan struct{}
	err     error // of the job; set before done is closed
}

// state tells a leader how far the job is, and takes its word to go on.
func (j *job) state(proceed bool) installState {
	switch {
	case !j.fetched.Load():
		return installWorking
	case !proceed:
		return installFetched
	}
	j.once.Do(func() { close(j.proceed) })
	return installWorking
}

func newCatchup(g *Group) *catchup { return &catchup{group: g, busy: make(chan struct{}, 1)} }

func (c *catchup) lock()   { c.busy <- struct{}{} }
func (c *catchup) unlock() { <-c.busy }

// ask is what a leader asks for, again and again. It starts the work and tells how it stands.
func (c *catchup) ask(from transport.Peer, r *installRequest) (installState, uint64, error) {
	c.lock()
	defer c.unlock()
	if c.ended {
		return 0, 0, ErrClosed
	}
	if j := c.job; j != nil && j.leader == from.Node && j.request.index == r.index && j.request.indexTerm == r.indexTerm {
		select {
		case <-j.done:
		default:
			return j.state(r.proceed), 0, nil
		}
		if j.err != nil {
			c.job = nil // the next question starts again
			return 0, 0, fmt.Errorf("catch up: %w", j.err)
		}
	}
	in := c.group.current()
	if in == nil {
		return 0, 0, c.group.Ready()
	}
	if term := in.raft.CurrentTerm(); term > r.term {
		return installRefused, term, nil
	}
	if in.store.has(r.index, r.indexTerm) {
		if !in.store.isDurable(record.Index(r.index)) { // the leader would count it
			return installWorking, 0, nil
		}
		return installDone, r.term, nil
	}
	c.stop()
	j := &job{group: c.group, leader: from.Node, source: from.Node, request: *r, proceed: make(chan struct{}), done: make(chan struct{})}
	j.ctx, j.cancel = context.WithCancel(c.group.node.ctx)
	c.job = j
	if !c.group.node.spawn(func() {
		defer close(j.done)
		defer j.cancel()
		j.err = j.run()
	}) {
		return 0, 0, ErrClosed
	}
	return installWorking, 0, nil
}

// stop ends the present job, if any, and waits for it. The lock is held.
func (c *catchup) stop() {
	if c.job != nil {
		c.job.cancel()
		<-c.job.done
		c.job = nil
	}
}

func (c *catchup) close() {
	c.lock()
	defer c.unlock()
	c.ended = true
	c.stop()
}

// has tells whether this node needs nothing of the snapshot: it has a newer one, or its
// log holds the very entry that the snapshot ends with.
func (s *store) has(index, term uint64) bool {
	if meta := s.snapshots.newest(); meta != nil && meta.Index >= index {
		return true
	}
	_, same := s.agrees(index, term)
	return same
}

// isDurable tells whether what has knows of is durable.
func (s *store) isDurable(index record.Index) bool {
	meta := s.snapshots.newest()
	return meta != nil && record.Index(meta.Index) >= index || s.shard.Durable() >= index
}

func (j *job) run() error {
	g := j.group
	in := g.current()
	if in == nil {
		return g.Ready()
	}
	g.logger.Info("catch up with a snapshot", "leader", j.leader, "index", j.request.index, "applied", in.fsm.applied.Load())
	file, err := j.fetchFile()
	if err == nil {
		err = j.verify(file)
	}
	if err == nil {
		err = j.fetchEntries(in)
	}
	if err == nil {
		err = j.waitForLeader()
	}
	if err == nil {
		err = j.install(file)
	}
	if err != nil && j.ctx.Err() == nil {
		g.logger.Warn("catch up with a snapshot", "leader", j.leader, "error", err)
	}
	return err
}

// waitForLeader waits until the leader wants what was fetched to be installed. A leader
// that is gone does not ask any more; the next one begins another job.
func (j *job) waitForLeader() error {
	j.fetched.Store(true)
	timer := time.NewTimer(partPatience)
	defer timer.Stop()
	select {
	case <-j.proceed:
		return nil
	case <-timer.C:
		return fmt.Errorf("node %d does not ask any more: %w", j.leader, transport.ErrOverdue)
	case <-j.ctx.Done():
		return j.ctx.Err()
	}
}

// fetchFile fetches the snapshot's file and returns its path.
func (j *job) fetchFile() (path string, err error) {
	fs, dir := j.group.snapshots.fs, j.group.snapshots.dir
	path = fs.PathJoin(dir, j.request.id()+incomingSuffix)
	names, err := fs.List(dir)
	if err != nil {
		return "", fmt.Errorf("list %s: %w", dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, incomingSuffix) && fs.PathJoin(dir, name) != path {
			if err := fs.Remove(fs.PathJoin(dir, name)); err != nil {
				return "", fmt.Errorf("remove an earlier transfer: %w", err)
			}
		}
	}
	f, err := fs.OpenReadWrite(path, "stela-raft")
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("stat %s: %w", path, err)
	}
	for at := info.Size(); at < int64(j.request.fileBytes); {
		b, err := j.fetchPart(at)
		if err != nil {
			return "", err
		}
		n := int64(len(b))
		if _, err := f.WriteAt(b, at); err != nil {
			return "", fmt.Errorf("write %s: %w", path, err)
		}
		at += n
	}
	if err := f.Sync(); err != nil {
		err = fmt.Errorf("sync %s: %w", path, err)
		j.group.node.fatal(err)
		return "", err
	}
	return path, nil
}

func (j *job) fetchPart(at int64) ([]byte, error) {
	request := []byte{byte(j.request.shard)}
	for _, v := range []uint64{j.request.index, j.request.indexTerm, uint64(at)} {
		request = binary.LittleEndian.AppendUint64(request, v)
	}
	ctx, cancel := context.WithTimeout(j.ctx, partPatience)
	defer cancel()
	b, err := j.group.node.endpoint.Call(ctx, j.leader, kindSnapshotPart, request)
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("the snapshot of node %d ends at %d of %d bytes: %w", j.leader, at, j.request.fileBytes, record.ErrCorrupt)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch a snapshot from node %d: %w", j.leader, err)
	}
	return b, nil
}

// fetchEntries fetches the retained entries up to the snapshot that are not here yet.
func (j *job) fetchEntries(in *instance) error {
	have, err := j.have(in)
	if err != nil {
		return err
	}
	first := have + 1
	stored := 0
	for have < j.request.index {
		n, last, err := j.fetchSome(record.Index(have+1), record.Index(j.request.index))
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		have = uint64(last)
		if stored += n; stored >= checkpointBytes {
			stored = 0
			if err := j.checkpoint(in, first, have); err != nil {
				return err
			}
		}
	}
	return j.checkpoint(in, first, j.request.index)
}

// have returns the index up to which everything that the leader retains is here and
// final: what was applied, and what an interrupted catch-up has brought.
func (j *job) have(in *instance) (uint64, error) {
	have := max(in.fsm.applied.Load(), j.request.first-min(j.request.first, 1))
	from, through, err := in.store.stable.backfill()
	if err == nil && from <= have+1 {
		have = max(have, through)
	}
	return have, err
}

// checkpoint makes what was fetched durable and remembers it, together with what was before.
func (j *job) checkpoint(in *instance, first, through uint64) error {
	if first > through {
		return nil
	}
	if err := j.group.log.WaitBackfill(); err != nil {
		return fmt.Errorf("store fetched entries: %w", err)
	}
	from, until, err := in.store.stable.backfill()
	if err != nil {
		return err
	}
	if from != 0 && from <= first && until+1 >= first {
		first = from
	}
	return in.store.stable.setBackfill(first, through)
}

// ask asks for one piece. What the leader has and cannot read, another node may have whole: everything up to the
// snapshot is committed, and who has applied it has the same.
func (j *job) ask(from, through record.Index) (*transport.Fetched, error) {
	sources := append([]int32{j.source, j.leader}, j.group.node.others()...)
	var first error
	for i, source := range sources {
		if slices.Contains(sources[:i], source) {
			continue
		}
		ctx, cancel := context.WithTimeout(j.ctx, partPatience)
		fetched, err := j.group.node.endpoint.Fetch(ctx, source, j.group.number, from, through)
		cancel()
		if err == nil {
			j.source = source
			return fetched, nil
		}
		if first == nil {
			first = fmt.Errorf("fetch entries %d to %d from node %d: %w", from, through, source, err)
		}
		if _, refused := errors.AsType[*transport.RemoteError](err); !refused && source == j.leader {
			break // it cannot be reached: this is no matter of what it has
		}
	}
	return nil, first
}

// fetchSome fetches one piece and returns its bytes and last index, or 0 when nothing
// is retained from there on.
func (j *job) fetchSome(from, through record.Index) (int, record.Index, error) {
	fetched, err := j.ask(from, through)
	if err != nil {
		return 0, 0, err
	}
	defer fetched.Release()
	if len(fetched.Entries) == 0 {
		return 0, 0, nil
	}
	entries := make([]log.Entry, len(fetched.Entries))
	bytes := 0
	for i := range fetched.Entries {
		e := &fetched.Entries[i]
		if index := record.Index(e.Index); index < from || index > through {
			return 0, 0, fmt.Errorf("node %d sent entry %d, wanted %d to %d: %w", j.source, index, from, through, record.ErrCorrupt)
		}
		from = record.Index(e.Index) + 1
		entries[i] = log.Entry{Index: record.Index(e.Index), Term: record.Term(e.Term), Kind: uint8(e.Kind), Payload: e.Payload, Frame: e.Frame}
		bytes += transport.EntryHeaderBytes + len(e.Payload)
	}
	if err := j.group.log.Backfill(entries); err != nil {
		return 0, 0, fmt.Errorf("store fetched entries: %w", err)
	}
	return bytes, from - 1, nil
}

// errBrokenTransfer says that a snapshot arrived broken and that nothing was changed.
var errBrokenTransfer = errors.New("the transfer arrived broken")

// verify reads the file that was fetched, while raft runs on. A broken one is removed: it is a transfer, not somebody's data.
func (j *job) verify(path string) error {
	s := j.group.snapshots
	err := s.verify(path)
	if errors.Is(err, record.ErrCorrupt) {
		err = errors.Join(fmt.Errorf("%w: %w", errBrokenTransfer, err), s.fs.Remove(path))
	}
	return err
}

// install replaces the group's raft by one that begins on the snapshot.
func (j *job) install(path string) error {
	g := j.group
	g.lock()
	defer g.unlock()
	in := g.current()
	if in == nil || j.ctx.Err() != nil {
		return ErrClosed
	}
	g.running.Store(nil)
	in.close()
	err := j.replace(in, path)
	if err == nil {
		err = g.run(raft.Configuration{})
	}
	if err != nil {
		g.node.fatal(err)
	}
	return err
}

// replace makes the folder what the snapshot says, while raft does not run.
func (j *job) replace(in *instance, path string) error {
	g := j.group
	if in.store.has(j.request.index, j.request.indexTerm) { // meanwhile raft was faster
		return nil
	}
	applied := record.Index(in.fsm.applied.Load())
	if err := in.store.stable.setInstall(j.request.index, j.request.indexTerm, applied); err != nil {
		return fmt.Errorf("store that a snapshot is being installed: %w", err)
	}
	meta, err := g.snapshots.adopt(path)
	if err != nil {
		return err
	}
	if err := in.store.reconcile(meta, applied); err != nil {
		return err
	}
	g.logger.Info("caught up with a snapshot", "index", meta.Index)
	return g.restore()
}
