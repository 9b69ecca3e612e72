package gateway

import (
	"context"
	"runtime"
	"strconv"
	"time"

	"github.com/stela-db/stela/internal/metrics"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/meta"
)

// counts are the front's own counters beside those of its routes.
type counts struct {
	unrouted   *metrics.Counter
	unreadable *metrics.Counter
	panics     *metrics.Counter
}

func newCounts(registry *metrics.Registry) counts {
	return counts{
		unrouted: registry.Counter("stela_http_unrouted_requests_total",
			"HTTP requests whose path or method leads nowhere."),
		unreadable: registry.Counter("stela_http_unreadable_requests_total",
			"Connections closed because what came could not be read as an HTTP request."),
		panics: registry.Counter("stela_http_panics_total",
			"HTTP requests that ended in a bug of the server."),
	}
}

// scrapeTimeout bounds what one scrape waits for the coordinators of groups.
const scrapeTimeout = 2 * time.Second

// observe registers what is read from the broker at each scrape.
//
// A thing of the cluster is told by one node only, so that sums over all nodes are
// right: a partition by its leader, a group by its coordinator, topics and brokers by
// the leader of the metadata.
func (s *Server) observe() {
	o := newObserver(s.config.Broker, s.config.Version)
	s.config.Metrics.Observe(o.node)
	s.config.Metrics.Observe(o.cluster)
	s.config.Metrics.Observe(o.partitions)
	s.config.Metrics.Observe(o.groups)
}

// An observer tells samples of what the broker knows.
type observer struct {
	broker  *broker.Broker
	started time.Time
	version string
	desc    descs
}

// partition is what is told of one partition.
type partition struct {
	topic, number string
	first, next   record.Offset
	replicas      []int32
	inSync        int
}

func newObserver(b *broker.Broker, version string) *observer {
	return &observer{broker: b, started: time.Now(), version: version, desc: newDescs()}
}

// node tells of this process and its replicas.
func (o *observer) node(tell metrics.Tell) {
	tell(o.desc.build, 1, o.version, runtime.Version())
	tell(o.desc.uptime, time.Since(o.started).Seconds())
	ready := 0.0
	if o.broker.Ready() == nil {
		ready = 1
	}
	tell(o.desc.ready, ready)
	status := o.broker.Status()
	for _, peer := range status.Peers {
		connected := 0.0
		if peer.Connected {
			connected = 1
		}
		tell(o.desc.peerConnected, connected, number(peer.Node))
	}
	for i := range status.Shards {
		shard := &status.Shards[i]
		id := number(shard.Shard)
		leads := 0.0
		if shard.Leader == status.Node {
			leads = 1
		}
		tell(o.desc.raftLeader, leads, id)
		tell(o.desc.raftChanges, float64(shard.Changes), id)
		tell(o.desc.raftTerm, float64(shard.Term), id)
		tell(o.desc.raftCommit, float64(shard.Commit), id)
		tell(o.desc.raftApplied, float64(shard.Applied), id)
		for _, follower := range shard.Followers {
			tell(o.desc.raftLag, float64(follower.Lag), id, number(follower.Node))
		}
	}
}

// cluster tells of topics and brokers, on the node that leads the metadata.
func (o *observer) cluster(tell metrics.Tell) {
	if o.broker.Controller() != o.broker.Node() {
		return
	}
	view := o.broker.View()
	brokers := view.Brokers()
	tell(o.desc.brokers, float64(len(brokers)))
	tell(o.desc.exporterBrokers, float64(len(brokers)))
	for _, node := range brokers {
		address := ""
		if len(node.Listeners) > 0 {
			address = node.Listeners[0].Host + ":" + number(node.Listeners[0].Port)
		}
		tell(o.desc.exporterBrokerInfo, 1, number(node.Node), address)
	}
	tell(o.desc.topics, float64(view.TopicCount()))
	tell(o.desc.partitionCount, float64(view.PartitionCount()))
	unavailable := 0
	for topic := range view.Topics() {
		tell(o.desc.exporterPartitions, float64(len(topic.Partitions)), topic.Name)
		for _, info := range topic.Partitions {
			if leader, _ := o.broker.Leader(info.Partition); leader < 0 {
				unavailable++
			}
		}
	}
	tell(o.desc.unavailable, float64(unavailable))
}

// partitions tells of the partitions that this node leads.
func (o *observer) partitions(tell metrics.Tell) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	replicas := o.broker.Replicas(ctx)
	node := o.broker.Node()
	for topic := range o.broker.View().Topics() {
		for i, info := range topic.Partitions {
			if leader, _ := o.broker.Leader(info.Partition); leader != node {
				continue
			}
			p := partition{topic: topic.Name, number: strconv.Itoa(i), replicas: replicas.Nodes()}
			p.inSync = len(replicas.InSync(info.Shard))
			var ok bool
			if p.first, p.next, ok = o.offsets(topic, int32(i)); ok {
				o.partition(tell, &p, node)
			}
		}
	}
}

func (o *observer) offsets(topic *meta.Topic, number int32) (first, next record.Offset, ok bool) {
	p, err := o.broker.Partition(topic.Name, number)
	if err != nil {
		return 0, 0, false
	}
	first, err = p.LogStart()
	if err != nil {
		return 0, 0, false
	}
	next, err = p.HighWatermark()
	return first, next, err == nil
}

func (o *observer) partition(tell metrics.Tell, p *partition, leader int32) {
	missing := len(p.replicas) - p.inSync
	under := 0.0
	if missing > 0 {
		under = 1
	}
	tell(o.desc.maxOffset, float64(p.next), p.topic, p.number)
	tell(o.desc.underReplicated, float64(missing), p.topic, p.number)
	tell(o.desc.exporterCurrent, float64(p.next), p.topic, p.number)
	tell(o.desc.exporterOldest, float64(p.first), p.topic, p.number)
	tell(o.desc.exporterLeader, float64(leader), p.topic, p.number)
	tell(o.desc.exporterReplicas, float64(len(p.replicas)), p.topic, p.number)
	tell(o.desc.exporterInSync, float64(p.inSync), p.topic, p.number)
	tell(o.desc.exporterUnder, under, p.topic, p.number)
}

func number[N ~int32 | ~uint8](n N) string { return strconv.FormatInt(int64(n), 10) }
