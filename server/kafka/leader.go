package kafka

import (
	"encoding/binary"
	"net"
	"slices"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/meta"
)

// endpoint is one broker as a client may reach it.
type endpoint struct {
	node int32
	host string
	port int32
	rack string
}

// endpoints returns the brokers that have a listener of the name through which the client came, sorted by number.
// This node is always among them, even before it registered.
func (c *connection) endpoints() []endpoint {
	b := c.server.config.Broker
	view := b.View().Brokers()
	out := make([]endpoint, 0, len(view)+1)
	self := false
	for _, registered := range view {
		e := endpoint{node: registered.Node, rack: registered.Rack}
		found := false
		for _, l := range registered.Listeners {
			if l.Name == c.listener.Advertised.Name {
				e.host, e.port, found = l.Host, l.Port, true
			}
		}
		if registered.Node == b.Node() {
			e, found, self = c.self(e.rack), true, true
		}
		if found && e.host != "" {
			out = append(out, e)
		}
	}
	if !self {
		at := 0
		for at < len(out) && out[at].node < b.Node() {
			at++
		}
		out = append(out, endpoint{})
		copy(out[at+1:], out[at:])
		out[at] = c.self("")
	}
	return out
}

// present returns the endpoints of the brokers that are there, as Kafka does: tools ask every broker that they are told of
// and fail when one does not answer.
func (c *connection) present(replicas *broker.Replicas) []endpoint {
	absent := replicas.Absent()
	return slices.DeleteFunc(c.endpoints(), func(e endpoint) bool { return slices.Contains(absent, e.node) })
}

// self returns this node's endpoint: what the listener advertises, else the address that the client reached.
func (c *connection) self(rack string) endpoint {
	l := c.listener.Advertised
	if l.Host == "" {
		if host, _, err := net.SplitHostPort(c.conn.LocalAddr().String()); err == nil {
			l.Host = host
		}
	}
	return endpoint{node: c.server.config.Broker.Node(), host: l.Host, port: l.Port, rack: rack}
}

// endpoint returns the endpoint of a node; ok is false when the client cannot reach it.
func (c *connection) endpoint(node int32) (e endpoint, ok bool) {
	for _, e := range c.endpoints() {
		if e.node == node {
			return e, true
		}
	}
	return endpoint{node: -1, port: -1}, false
}

// controller returns a broker that takes administrative requests: the metadata's leader when the client can
// reach it, else this node, which passes them on. kafkajs refuses a controller that is not among the brokers.
func (c *connection) controller(brokers []endpoint) int32 {
	controller := c.server.config.Broker.Controller()
	for _, e := range brokers {
		if e.node == controller {
			return controller
		}
	}
	return c.server.config.Broker.Node()
}

// partitionNumber returns the cluster-wide number of a topic's partition.
func partitionNumber(topic *meta.Topic, index int32) (record.Partition, bool) {
	if topic == nil || index < 0 || int(index) >= len(topic.Partitions) {
		return 0, false
	}
	return topic.Partitions[index].Partition, true
}

// leaderHints tells clients the present leaders of partitions that this node does not lead (KIP-951), so that they need
// not ask for metadata first.
type leaderHints struct {
	nodes []int32
}

// appendLeader ends a partition of an answer with the tag that holds its leader, or with no tags when none is known.
func (l *leaderHints) appendLeader(out *answerWriter, c *connection, tag byte, topic string, index int32) {
	b := c.server.config.Broker
	number, ok := partitionNumber(b.View().TopicByName(topic), index)
	if !ok {
		out.noTags()
		return
	}
	node, epoch := b.Leader(number)
	if node < 0 || node == b.Node() {
		out.noTags()
		return
	}
	const size = 4 + 4 + 1
	out.bytes = append(out.bytes, 1, tag, size)
	out.int32(node)
	out.int32(epoch)
	out.noTags()
	if slices.Contains(l.nodes, node) {
		return
	}
	l.nodes = append(l.nodes, node)
}

// appendBrokers ends an answer with the tag that holds the endpoints of the leaders told, or with no tags.
func (l *leaderHints) appendBrokers(out *answerWriter, c *connection, tag byte) {
	if !out.flexible || len(l.nodes) == 0 {
		out.noTags()
		return
	}
	brokers := answerWriter{flexible: true}
	told := 0
	for _, node := range l.nodes {
		e, ok := c.endpoint(node)
		if !ok {
			continue
		}
		told++
		brokers.int32(e.node)
		brokers.text(e.host)
		brokers.int32(e.port)
		if e.rack == "" {
			brokers.nullableText(nil)
		} else {
			brokers.text(e.rack)
		}
		brokers.noTags()
	}
	length := answerWriter{flexible: true}
	length.arrayLength(told)
	out.bytes = append(out.bytes, 1, tag)
	out.bytes = binary.AppendUvarint(out.bytes, uint64(len(length.bytes)+len(brokers.bytes)))
	out.bytes = append(out.bytes, length.bytes...)
	out.bytes = append(out.bytes, brokers.bytes...)
}
