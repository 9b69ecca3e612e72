package transport

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/stela-db/stela/log/record"
)

const (
	helloBytes   = 64
	helloMagic   = "STELARPC"
	wireVersion  = 1 // both first and last
	helloTimeout = 3 * time.Second
)

// Peer is one life of a node: the number that its operator gave it and the folder it runs on.
type Peer struct {
	Node        int32
	Incarnation [16]byte
}

// ServerID returns the name by which raft knows the peer.
func (p Peer) ServerID() raft.ServerID {
	return raft.ServerID(strconv.Itoa(int(p.Node)) + "-" + hex.EncodeToString(p.Incarnation[:]))
}

// ParseServerID undoes ServerID.
func ParseServerID(id raft.ServerID) (Peer, error) {
	number, incarnation, _ := strings.Cut(string(id), "-")
	node, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return Peer{}, fmt.Errorf("server id %q: %w", id, err)
	}
	b, err := hex.DecodeString(incarnation)
	if err != nil || len(b) != 16 {
		return Peer{}, fmt.Errorf("server id %q: an incarnation has 32 hexadecimal digits: %w", id, errProtocol)
	}
	return Peer{Node: int32(node), Incarnation: [16]byte(b)}, nil
}

// class is what a connection is for.
type class uint8

const (
	classBulk class = iota
	classControl
	classes
)

func (c class) String() string {
	if c == classBulk {
		return "bulk"
	}
	return "control"
}

// refusal is why a node does not want to talk.
type refusal uint8

const (
	welcome refusal = iota
	otherVersion
	otherCluster
	otherNode
	unknownNode
	sameFolder
)

func (r refusal) String() string {
	switch r {
	case otherVersion:
		return "it speaks another version of the protocol"
	case otherCluster:
		return "it belongs to another cluster"
	case otherNode:
		return "it is another node than was dialed"
	case unknownNode:
		return "its node number is not among the peers"
	case sameFolder:
		return "it runs on the same data folder"
	default:
		return fmt.Sprintf("refusal %d", uint8(r))
	}
}

// RefusedError says that a peer was reached that may not be talked to.
type RefusedError struct {
	Node    int32
	ByPeer  bool // the peer refused us
	Cluster [16]byte
	reason  refusal
}

func (e *RefusedError) Error() string {
	if e.ByPeer {
		return fmt.Sprintf("node %d of cluster %x refused this node: to it, %s", e.Node, e.Cluster, e.reason)
	}
	return fmt.Sprintf("refused node %d of cluster %x: %s", e.Node, e.Cluster, e.reason)
}

// hello is what each side says first.
type hello struct {
	class       class
	refusal     refusal
	cluster     [16]byte
	incarnation [16]byte
	node        int32
	to          int32
}

func (h *hello) peer() Peer { return Peer{h.node, h.incarnation} }

func (h *hello) bytes() []byte {
	b := make([]byte, helloBytes)
	copy(b, helloMagic)
	binary.LittleEndian.PutUint16(b[8:], wireVersion)
	binary.LittleEndian.PutUint16(b[10:], wireVersion)
	b[12], b[13] = byte(h.class), byte(h.refusal)
	copy(b[16:], h.cluster[:])
	copy(b[32:], h.incarnation[:])
	binary.LittleEndian.PutUint32(b[48:], uint32(h.node))
	binary.LittleEndian.PutUint32(b[52:], uint32(h.to))
	binary.LittleEndian.PutUint32(b[60:], record.Castagnoli(0, b[:60]))
	return b
}

// parseHello parses 64 bytes. Another version is no error: it is a refusal.
func parseHello(b []byte) (hello, error) {
	if string(b[:8]) != helloMagic {
		return hello{}, fmt.Errorf("greeting begins with %x: %w", b[:8], errProtocol)
	}
	if got := record.Castagnoli(0, b[:60]); got != binary.LittleEndian.Uint32(b[60:]) {
		return hello{}, fmt.Errorf("greeting crc %08x, computed %08x: %w", binary.LittleEndian.Uint32(b[60:]), got, errProtocol)
	}
	h := hello{
		class:       class(b[12]),
		refusal:     refusal(b[13]),
		cluster:     [16]byte(b[16:32]),
		incarnation: [16]byte(b[32:48]),
		node:        int32(binary.LittleEndian.Uint32(b[48:])),
		to:          int32(binary.LittleEndian.Uint32(b[52:])),
	}
	first, last := binary.LittleEndian.Uint16(b[8:]), binary.LittleEndian.Uint16(b[10:])
	if h.refusal == welcome && (first > wireVersion || last < wireVersion) {
		h.refusal = otherVersion
	}
	if h.class >= classes {
		return hello{}, fmt.Errorf("greeting for connection class %d: %w", h.class, errProtocol)
	}
	return h, nil
}

func readHello(conn net.Conn) (hello, error) {
	var b [helloBytes]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return hello{}, fmt.Errorf("read greeting: %w", err)
	}
	return parseHello(b[:])
}

// judge says whether the other side's greeting is welcome to a node that is self, and
// whether only open calls may pass because one of the two belongs to no cluster yet.
func judge(self, other *hello) (limited bool, why refusal) {
	var none [16]byte
	switch {
	case other.refusal != welcome:
		return false, other.refusal
	case other.to != self.node:
		return false, otherNode
	case other.incarnation == self.incarnation:
		return false, sameFolder
	case self.cluster == none || other.cluster == none:
		return true, welcome
	case self.cluster != other.cluster:
		return false, otherCluster
	}
	return false, welcome
}

// greet is the dialer's half of the handshake.
func greet(conn net.Conn, self hello) (peer hello, limited bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return hello{}, false, err
	}
	if _, err := conn.Write(self.bytes()); err != nil {
		return hello{}, false, fmt.Errorf("send greeting: %w", err)
	}
	peer, err = readHello(conn)
	if err != nil {
		return hello{}, false, err
	}
	if peer.refusal != welcome {
		return peer, false, &RefusedError{Node: self.to, ByPeer: true, Cluster: peer.cluster, reason: peer.refusal}
	}
	limited, why := judge(&self, &peer)
	if why == welcome && peer.node != self.to {
		why = otherNode
	}
	if why != welcome {
		return peer, false, &RefusedError{Node: self.to, Cluster: peer.cluster, reason: why}
	}
	return peer, limited, conn.SetDeadline(time.Time{})
}

// welcomeOrRefuse is the listener's half.
func welcomeOrRefuse(conn net.Conn, self hello, known func(int32) bool) (peer hello, limited bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return hello{}, false, err
	}
	peer, err = readHello(conn)
	if err != nil {
		return hello{}, false, err
	}
	limited, why := judge(&self, &peer)
	if why == welcome && !known(peer.node) {
		why = unknownNode
	}
	self.class, self.refusal, self.to = peer.class, why, peer.node
	if _, err := conn.Write(self.bytes()); err != nil {
		return hello{}, false, fmt.Errorf("send greeting: %w", err)
	}
	if why != welcome {
		return peer, false, &RefusedError{Node: peer.node, Cluster: peer.cluster, reason: why}
	}
	return peer, limited, conn.SetDeadline(time.Time{})
}
