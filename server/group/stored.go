package group

import (
	"encoding/binary"
	"time"

	"github.com/stela-db/stela/log/record"
)

// A storedGroup is the replicated form of a group's members: those of the last generation whose assignment the
// leader brought. It is never changed, only replaced.
type storedGroup struct {
	generation   int32
	protocolType string
	protocol     string
	leader       string
	sinceMs      int64 // when the group came into its state, milliseconds since 1970
	members      []storedMember
}

// A storedMember is one member of a storedGroup.
type storedMember struct {
	id               string
	instanceID       string
	clientID         string
	clientHost       string
	sessionTimeout   time.Duration
	rebalanceTimeout time.Duration
	protocols        []Protocol
	assignment       []byte
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendGroup(dst []byte, s *storedGroup) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.generation))
	dst = appendString(dst, s.protocolType)
	dst = appendString(dst, s.protocol)
	dst = appendString(dst, s.leader)
	dst = binary.AppendVarint(dst, s.sinceMs)
	dst = binary.AppendUvarint(dst, uint64(len(s.members)))
	for i := range s.members {
		member := &s.members[i]
		for _, text := range []string{member.id, member.instanceID, member.clientID, member.clientHost} {
			dst = appendString(dst, text)
		}
		dst = binary.AppendUvarint(dst, uint64(member.sessionTimeout.Milliseconds()))
		dst = binary.AppendUvarint(dst, uint64(max(member.rebalanceTimeout, 0).Milliseconds()))
		dst = binary.AppendUvarint(dst, uint64(len(member.protocols)))
		for _, p := range member.protocols {
			dst = appendString(appendString(dst, p.Name), p.Metadata)
		}
		dst = appendString(dst, member.assignment)
	}
	return dst
}

// storedMemberBytes is the least that a member takes.
const storedMemberBytes = 8

func (d *decoder) group() *storedGroup {
	s := &storedGroup{generation: int32(d.number(1<<31 - 1))}
	s.protocolType, s.protocol, s.leader = d.string(), d.string(), d.string()
	s.sinceMs = d.int()
	count := d.count(storedMemberBytes)
	if count > 0 {
		s.members = make([]storedMember, 0, min(count, 1024))
	}
	for range count {
		if d.err != nil {
			return s
		}
		member := storedMember{id: d.string(), instanceID: d.string(), clientID: d.string(), clientHost: d.string()}
		member.sessionTimeout = d.duration()
		member.rebalanceTimeout = d.duration()
		protocols := d.count(2)
		for range protocols {
			if d.err != nil {
				return s
			}
			member.protocols = append(member.protocols, Protocol{Name: d.string(), Metadata: d.copied()})
		}
		member.assignment = d.copied()
		s.members = append(s.members, member)
	}
	return s
}

// duration reads milliseconds; a year is more than anybody waits.
func (d *decoder) duration() time.Duration {
	return time.Duration(d.number(366*24*3600*1000)) * time.Millisecond
}

// copied reads bytes that are kept; nil for none.
func (d *decoder) copied() []byte {
	return append([]byte(nil), d.bytes(d.count(1))...)
}

func appendOffset(dst []byte, o *storedOffset) []byte {
	dst = binary.AppendUvarint(dst, uint64(o.number))
	dst = binary.AppendVarint(dst, int64(o.offset))
	dst = binary.AppendVarint(dst, int64(o.leaderEpoch))
	dst = appendString(dst, o.metadata)
	dst = binary.AppendVarint(dst, o.committedMs)
	return binary.AppendVarint(dst, o.expiresMs)
}

func (d *decoder) offset() *storedOffset {
	o := &storedOffset{number: record.Partition(d.number(1<<32 - 1)), offset: record.Offset(d.int())}
	o.leaderEpoch = d.int32()
	o.metadata = d.string()
	o.committedMs, o.expiresMs = d.int(), d.int()
	return o
}

func (d *decoder) int32() int32 {
	v := d.int()
	if v != int64(int32(v)) {
		d.fail("number of 32 bits")
		return 0
	}
	return int32(v)
}
