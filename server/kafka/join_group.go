package kafka

import (
	"bytes"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/group"
)

// JoinGroup (key 11), versions 0 to 9.
//
// Behaviour: answers when the next generation begins. The protocols' metadata is opaque: Connect and Streams speak
// their own.
//
// Versions: 1 adds the rebalance timeout; from 4 on a new member asks twice; 5 adds static members; 6 is flexible; 9
// can tell the leader to skip the assignment.

func joinGroup(r *request, in *kmsg.JoinGroupRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.JoinGroupResponse)
	response, err := r.broker().Group(r.ctx, in.Group, joinOf(r, in))
	out.Generation = group.NoGeneration
	out.ErrorCode = r.groupCode(err)
	out.MemberID = in.MemberID
	out.Members = []kmsg.JoinGroupResponseMember{}
	result, ok := response.(*group.JoinResult)
	if !ok || result == nil {
		return out
	}
	if err != nil {
		if result.MemberID != "" {
			out.MemberID = result.MemberID
		}
		return out
	}
	out.MemberID, out.Generation, out.LeaderID, out.SkipAssignment = result.MemberID, result.Generation, result.Leader, result.SkipAssignment
	out.Protocol, out.ProtocolType = new(result.Protocol), new(result.ProtocolType)
	for _, m := range result.Members {
		member := kmsg.NewJoinGroupResponseMember()
		member.MemberID, member.InstanceID, member.ProtocolMetadata = m.ID, optional(m.InstanceID), m.Metadata
		out.Members = append(out.Members, member)
	}
	return out
}

// joinOf makes the broker's request. The metadata is copied: kmsg leaves it in the request's body, all of which would
// stay in memory for as long as the group keeps a few bytes of it. The request lets go of it, since the answer may take minutes.
func joinOf(r *request, in *kmsg.JoinGroupRequest) *group.Join {
	join := &group.Join{
		Group:              in.Group,
		MemberID:           in.MemberID,
		InstanceID:         value(in.InstanceID),
		ClientID:           r.clientID,
		ClientHost:         r.connection.remoteHost(),
		ProtocolType:       in.ProtocolType,
		SessionTimeout:     milliseconds(in.SessionTimeoutMillis),
		RebalanceTimeout:   milliseconds(in.RebalanceTimeoutMillis),
		RequireKnownMember: in.Version >= 4,
		CanSkipAssignment:  in.Version >= 9,
		Reason:             value(in.Reason),
	}
	if in.Version < 1 {
		join.RebalanceTimeout = join.SessionTimeout
	}
	for _, p := range in.Protocols {
		join.Protocols = append(join.Protocols, group.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	in.Protocols = nil
	r.release()
	return join
}

func milliseconds(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

// value returns the string that s points to, empty for nil.
func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional returns a pointer to s, nil when it is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// remoteHost returns the client's host as Kafka writes it.
func (c *connection) remoteHost() string {
	address := c.conn.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	return "/" + address
}
