package group

import (
	"encoding/binary"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/rows"
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

func appendGroup(dst []byte, s *storedGroup) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.generation))
	dst = rows.AppendString(dst, s.protocolType)
	dst = rows.AppendString(dst, s.protocol)
	dst = rows.AppendString(dst, s.leader)
	dst = binary.AppendVarint(dst, s.sinceMs)
	dst = binary.AppendUvarint(dst, uint64(len(s.members)))
	for i := range s.members {
		member := &s.members[i]
		for _, text := range []string{member.id, member.instanceID, member.clientID, member.clientHost} {
			dst = rows.AppendString(dst, text)
		}
		dst = binary.AppendUvarint(dst, uint64(member.sessionTimeout.Milliseconds()))
		dst = binary.AppendUvarint(dst, uint64(max(member.rebalanceTimeout, 0).Milliseconds()))
		dst = binary.AppendUvarint(dst, uint64(len(member.protocols)))
		for _, p := range member.protocols {
			dst = rows.AppendString(rows.AppendString(dst, p.Name), p.Metadata)
		}
		dst = rows.AppendString(dst, member.assignment)
	}
	return dst
}

// storedMemberBytes is the least that a member takes.
const storedMemberBytes = 8

func (d *decoder) group() *storedGroup {
	s := &storedGroup{generation: int32(d.Number(1<<31 - 1))}
	s.protocolType, s.protocol, s.leader = d.String(), d.String(), d.String()
	s.sinceMs = d.Int()
	count := d.Count(storedMemberBytes)
	if count > 0 {
		s.members = make([]storedMember, 0, min(count, 1024))
	}
	for range count {
		if d.Err() != nil {
			return s
		}
		member := storedMember{id: d.String(), instanceID: d.String(), clientID: d.String(), clientHost: d.String()}
		member.sessionTimeout = d.duration()
		member.rebalanceTimeout = d.duration()
		protocols := d.Count(2)
		for range protocols {
			if d.Err() != nil {
				return s
			}
			member.protocols = append(member.protocols, Protocol{Name: d.String(), Metadata: d.copied()})
		}
		member.assignment = d.copied()
		s.members = append(s.members, member)
	}
	return s
}

// duration reads milliseconds; a year is more than anybody waits.
func (d *decoder) duration() time.Duration {
	return time.Duration(d.Number(366*24*3600*1000)) * time.Millisecond
}

// copied reads bytes that are kept; nil for none.
func (d *decoder) copied() []byte {
	return append([]byte(nil), d.Bytes(d.Count(1))...)
}

func appendOffset(dst []byte, o *storedOffset) []byte {
	dst = binary.AppendUvarint(dst, uint64(o.number))
	dst = binary.AppendVarint(dst, int64(o.offset))
	dst = binary.AppendVarint(dst, int64(o.leaderEpoch))
	dst = rows.AppendString(dst, o.metadata)
	dst = binary.AppendVarint(dst, o.committedMs)
	return binary.AppendVarint(dst, o.expiresMs)
}

func (d *decoder) offset() *storedOffset {
	o := &storedOffset{number: record.Partition(d.Number(1<<32 - 1)), offset: record.Offset(d.Int())}
	o.leaderEpoch = d.int32()
	o.metadata = d.String()
	o.committedMs, o.expiresMs = d.Int(), d.Int()
	return o
}

func (d *decoder) int32() int32 {
	v := d.Int()
	if v != int64(int32(v)) {
		d.Fail("number of 32 bits")
		return 0
	}
	return int32(v)
}
