package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/stela-db/stela/log/record"
)

// callReplicas is the kind of call by which a node asks another which replicas are in sync with the shards that it leads.
const callReplicas uint8 = 18

const (
	// replicasAge is how old an answer about replicas may be.
	replicasAge = time.Second
	// replicasTimeout bounds the wait for the leaders of shards: a client's metadata must not wait for a node that hangs.
	replicasTimeout = 300 * time.Millisecond
	// maxInSyncLag is how many entries a follower may be behind and still count as in sync.
	maxInSyncLag = 512
	// maxInSyncAge is how long ago a follower may have had all that its leader had. A follower that hangs is found so.
	maxInSyncAge = 10 * time.Second
)

// Replicas says which replicas follow their leaders and which cannot be reached. It is shared: nothing in it may be changed.
type Replicas struct {
	nodes   []int32   // of the cluster, sorted
	inSync  [][]int32 // by shard
	offline [][]int32 // by shard
	watch   *replicaWatch
}

// Nodes returns the nodes, sorted, that keep a replica: of each shard, all of the cluster.
func (r *Replicas) Nodes() []int32 { return r.nodes }

// InSync returns the nodes, sorted, whose replica of a shard is close behind its leader's. Of a shard
// whose leader is unknown, or did not answer, these are the nodes that are connected.
func (r *Replicas) InSync(id record.Shard) []int32 {
	if int(id) >= len(r.inSync) {
		return r.nodes
	}
	return r.inSync[id]
}

// Offline returns the nodes, sorted, that neither this node nor the leader of the shard reaches.
func (r *Replicas) Offline(id record.Shard) []int32 {
	if int(id) >= len(r.offline) {
		return nil
	}
	return r.offline[id]
}

// Absent returns the nodes that nobody reaches who would know: neither this node nor the leader of any shard. Never among
// them are this node, one that leads, and one that has just connected with this node again.
func (r *Replicas) Absent() []int32 {
	var absent []int32
	for _, node := range r.nodes {
		missing := len(r.offline) > 0
		for _, offline := range r.offline {
			missing = missing && slices.Contains(offline, node)
		}
		if missing {
			absent = append(absent, node)
		}
	}
	if len(absent) == 0 {
		return nil
	}
	present := append(r.watch.connected(), r.watch.leaders()...)
	return slices.DeleteFunc(absent, func(node int32) bool { return slices.Contains(present, node) })
}

// A replicaWatch knows the state of all replicas, as of a second ago at most.
type replicaWatch struct {
	broker *Broker

	mu      sync.Mutex // guards all below; it is not held while others are asked
	known   *Replicas
	at      time.Time                 // of known
	asking  chan struct{}             // closed when the one who asks has the answer; nil while nobody does
	reached map[followerKey]milestone // of the shards led here
}

// A followerKey names another node's replica of a shard in one leadership.
type followerKey struct {
	shard record.Shard
	node  int32
	term  record.Term
}

// A milestone is what a leader had at some time, which a follower has not reached yet.
type milestone struct {
	last record.Index
	at   time.Time
}

func newReplicaWatch(b *Broker) *replicaWatch {
	w := &replicaWatch{broker: b, reached: map[followerKey]milestone{}}
	b.config.Replication.Handle(callReplicas, w.answer)
	return w
}

// Replicas returns the state of all replicas; other nodes are asked about the shards that they lead, unless
// that was done less than a second ago. It takes 0.3 s at most.
func (b *Broker) Replicas(ctx context.Context) *Replicas { return b.replicas.get(ctx) }

func (w *replicaWatch) get(ctx context.Context) *Replicas {
	ctx, cancel := context.WithTimeout(ctx, replicasTimeout)
	defer cancel()
	for {
		w.mu.Lock()
		known, asking := w.known, w.asking
		if known != nil && time.Since(w.at) < replicasAge {
			w.mu.Unlock()
			return known
		}
		if asking == nil {
			done := make(chan struct{})
			w.asking = done
			w.mu.Unlock()
			return w.ask(ctx, done)
		}
		w.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
			return w.merge(nil)
		}
	}
}

// ask asks the leaders of shards, and keeps what they answer for those who come within a second.
func (w *replicaWatch) ask(ctx context.Context, done chan struct{}) *Replicas {
	var told [][]int32
	if leaders := w.leaders(); len(leaders) > 0 {
		answers := make([][][]int32, len(leaders))
		var waiting sync.WaitGroup
		for i, leader := range leaders {
			waiting.Go(func() { answers[i] = w.askOne(ctx, leader) }) // ends with ctx
		}
		waiting.Wait()
		told = make([][]int32, w.shards())
		for _, answer := range answers {
			for id, nodes := range answer {
				if nodes != nil {
					told[id] = nodes
				}
			}
		}
	}
	known := w.merge(told)
	w.mu.Lock()
	w.known, w.at, w.asking = known, time.Now(), nil
	w.mu.Unlock()
	close(done)
	return known
}

func (w *replicaWatch) shards() int { return w.broker.config.Replication.Shards() + 1 }

// leaders returns the other nodes that lead shards.
func (w *replicaWatch) leaders() []int32 {
	var leaders []int32
	for id := range w.shards() {
		leader := w.broker.config.Replication.Group(record.Shard(id)).Leader().Node
		if leader >= 0 && leader != w.broker.Node() && !slices.Contains(leaders, leader) {
			leaders = append(leaders, leader)
		}
	}
	return leaders
}

// askOne returns what a node knows of the shards that it leads; those of other shards are nil.
func (w *replicaWatch) askOne(ctx context.Context, node int32) [][]int32 {
	answer, err := w.broker.config.Replication.Call(ctx, node, callReplicas, nil)
	if err != nil {
		w.broker.logger.Debug("a leader does not say which replicas are in sync", "node", node, "error", err)
		return nil
	}
	inSync := make([][]int32, w.shards())
	r := wireReader{rest: answer}
	for len(r.rest) > 0 {
		id, count := r.int(), r.int()
		if id < 0 || id >= int64(len(inSync)) || count < 0 || count > int64(len(w.broker.nodes)) {
			return nil
		}
		inSync[id] = make([]int32, 0, count)
		for range count {
			inSync[id] = append(inSync[id], int32(r.int()))
		}
	}
	if r.bad {
		return nil
	}
	return inSync
}

// answer tells another node which replicas are in sync with the shards that are led here.
func (w *replicaWatch) answer(context.Context, int32, []byte) ([]byte, error) {
	var out wire
	for id, nodes := range w.led() {
		if nodes == nil {
			continue
		}
		out.int(int64(id))
		out.int(int64(len(nodes)))
		for _, node := range nodes {
			out.int(int64(node))
		}
	}
	return out, nil
}

// merge puts together what leaders told, what this node knows as a leader and, where neither
// says anything, who is connected.
func (w *replicaWatch) merge(told [][]int32) *Replicas {
	connected := w.connected()
	led := w.led()
	r := &Replicas{watch: w, nodes: w.broker.nodes, inSync: make([][]int32, len(led)), offline: make([][]int32, len(led))}
	for id := range led {
		r.inSync[id] = led[id]
		if r.inSync[id] == nil && id < len(told) {
			r.inSync[id] = told[id]
		}
		if r.inSync[id] == nil {
			r.inSync[id] = connected
		}
		for _, node := range r.nodes {
			if !slices.Contains(connected, node) && !slices.Contains(r.inSync[id], node) {
				r.offline[id] = append(r.offline[id], node)
			}
		}
	}
	return r
}

// connected returns this node and those that it is connected with, sorted.
func (w *replicaWatch) connected() []int32 {
	nodes := []int32{w.broker.Node()}
	for _, peer := range w.broker.config.Replication.Peers() {
		if peer.Connected {
			nodes = append(nodes, peer.Node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// led returns the nodes in sync, sorted, by shard: nil for shards that other nodes lead.
func (w *replicaWatch) led() [][]int32 {
	status := w.broker.Status()
	connected := w.connected()
	now := time.Now()
	led := make([][]int32, len(status.Shards))
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range status.Shards {
		shard := &status.Shards[id]
		if shard.Leader != status.Node {
			continue
		}
		led[id] = []int32{status.Node}
		for _, f := range shard.Followers {
			follows := w.follows(shard, f, now)
			if follows && f.Voter && f.Lag <= maxInSyncLag && slices.Contains(connected, f.Node) {
				led[id] = append(led[id], f.Node)
			}
		}
		slices.Sort(led[id])
	}
	for key := range w.reached { // of leaderships that have ended
		if shard := &status.Shards[key.shard]; shard.Leader != status.Node || shard.Term != key.term {
			delete(w.reached, key)
		}
	}
	return led
}

// follows reports whether a follower has what this node had at some time in the last ten seconds. It is
// judged when somebody asks: nothing runs meanwhile. The caller holds mu.
func (w *replicaWatch) follows(shard *ShardStatus, f FollowerStatus, now time.Time) bool {
	key := followerKey{shard: shard.Shard, node: f.Node, term: shard.Term}
	goal, ok := w.reached[key]
	if !ok || f.Match >= goal.last {
		w.reached[key] = milestone{last: shard.Last, at: now}
		return true
	}
	return now.Sub(goal.at) < maxInSyncAge
}
