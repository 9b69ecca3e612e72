package kafka

import (
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestGroupsKeepNoBody: what a group keeps of a request is no part of the request's body, which may be much larger.
func TestGroupsKeepNoBody(t *testing.T) {
	client, server := net.Pipe()
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	const said = "what a member says"
	join := &kmsg.JoinGroupRequest{Version: 9, Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte(said)}}}
	kept := joinOf(&request{connection: &connection{conn: server}}, join)
	clear(join.Protocols[0].Metadata)
	if got := string(kept.Protocols[0].Metadata); got != said {
		t.Errorf("metadata %q after the body was used again", got)
	}
	sync := &kmsg.SyncGroupRequest{Version: 5, GroupAssignment: []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: []byte(said)}}}
	assigned := syncOf(sync)
	clear(sync.GroupAssignment[0].MemberAssignment)
	if got := string(assigned.Assignments[0].Data); got != said {
		t.Errorf("assignment %q after the body was used again", got)
	}
}
