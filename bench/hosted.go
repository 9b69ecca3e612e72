package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// hosted is a cluster that runs on this machine, with its folder and its log.
type hosted struct {
	*Cluster
	system string
	dir    string
	log    *os.File
	idle   int64 // resident bytes of the largest node before any load

	warmBytes int64            // of values that it has taken so far to get warm
	warmPeers map[string]int64 // the same by peer, whose topics differ
}

// prepare makes a cluster of a peer's system in a folder of its own; nothing runs yet.
func (b *bench) prepare(ctx context.Context, peer *Peer, nodes int) (*hosted, error) {
	b.serial++
	name := fmt.Sprintf("%s-%d-%d", peer.System.Name(), os.Getpid(), b.serial)
	h := &hosted{system: peer.System.Name(), dir: filepath.Join(b.Data, name), warmPeers: map[string]int64{}}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for %s: %w", peer.Name, err)
	}
	var err error
	if h.log, err = os.Create(filepath.Join(b.Out, logsFolder, name+".log")); err != nil {
		return nil, fmt.Errorf("make a log for %s: %w", peer.Name, err)
	}
	if h.Cluster, err = peer.System.Prepare(ctx, Layout{Dir: h.dir, Nodes: nodes, Port: b.Port}); err != nil {
		h.close()
		return nil, fmt.Errorf("prepare %s: %w", peer.Name, err)
	}
	return h, nil
}

// close ends the nodes and removes their data. The log stays.
func (h *hosted) close() {
	if h.Cluster != nil {
		h.Stop()
	}
	_ = h.log.Close()       // Whoever reads it sees what is missing.
	_ = os.RemoveAll(h.dir) // What is left is below Settings.Data.
}

// startAll starts all nodes and waits until the cluster takes records. It returns how long
// that took from before the first start.
func (h *hosted) startAll(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := h.Start(h.log); err != nil {
		return 0, err
	}
	if err := firstAck(ctx, h.Cluster, fmt.Sprintf("first-%d", began.UnixNano())); err != nil {
		return 0, fmt.Errorf("%w; see %s", err, h.log.Name())
	}
	return time.Since(began), nil
}

// cluster returns the long-lived, warm cluster of three of the peer's system.
func (r *run) cluster(ctx context.Context) (*hosted, error) {
	h := r.shared[r.peer.System.Name()]
	if h == nil {
		r.tell("start", 0)
		var err error
		if h, err = r.prepare(ctx, r.peer, r.config.Nodes); err != nil {
			return nil, err
		}
		r.shared[h.system] = h
		if _, err := h.startAll(ctx); err != nil {
			return nil, err
		}
		h.idle = r.kernel.LargestMemory(h.processes())
	}
	return h, r.warm(ctx, h)
}

const (
	// What a system has taken before its first figure counts, and what of that
	// with the topic configs of the peer in question: a JVM needs it, the others get it as well.
	warmBytes     = 8_000_000_000
	warmPeerBytes = 1_000_000_000
	// warmSlice is how much goes to one topic, which is then removed.
	warmSlice = 1_000_000_000
	// quickWarmBytes is for quick runs, which are no measurement.
	quickWarmBytes = 128_000_000
)

// warm produces until the cluster has seen enough.
func (r *run) warm(ctx context.Context, h *hosted) error {
	total, ofPeer, slice := int64(warmBytes), int64(warmPeerBytes), int64(warmSlice)
	if r.Quick {
		total, ofPeer, slice = quickWarmBytes, quickWarmBytes/2, quickWarmBytes/2
	}
	config := Config{Partitions: 12, RecordBytes: kilobyteRecord, Linger: 5 * time.Millisecond}
	for h.warmBytes < total || h.warmPeers[r.peer.Name] < ofPeer {
		r.tell("warm up", float64(h.warmBytes)/float64(total))
		config.Records = slice / kilobyteRecord
		if err := r.warmSlice(ctx, h, config); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		h.warmBytes += slice
		h.warmPeers[r.peer.Name] += slice
	}
	return nil
}

func (r *run) warmSlice(ctx context.Context, h *hosted, config Config) error {
	if err := r.checkSpace(config); err != nil {
		return err
	}
	topic := r.topicName("warm")
	if _, err := createTopic(ctx, h.Cluster, r.spec(topic, config, len(h.Nodes))); err != nil {
		return err
	}
	p, err := newProducer(h.Cluster, topic, config)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Warm(ctx, config.Records); err != nil {
		return err
	}
	return deleteTopic(ctx, h.Cluster, topic)
}

// retire ends the long-lived cluster of a system.
func (b *bench) retire(system string) {
	if h := b.shared[system]; h != nil {
		h.close()
		delete(b.shared, system)
	}
}

func (b *bench) closeShared() {
	for system := range b.shared {
		b.retire(system)
	}
}
