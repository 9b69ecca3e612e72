package kafka

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// heldRequest returns a request that holds so many bytes of a server's budget.
func heldRequest(t testing.TB, version int16, bytes int64) (*request, *Server) {
	t.Helper()
	s := idle(t, Limits{})
	ours, theirs := net.Pipe()
	t.Cleanup(func() {
		_ = ours.Close()
		_ = theirs.Close()
	})
	go func() { // reads answers until the pipe is closed
		for {
			if _, err := receiveAnswer(theirs); err != nil {
				return
			}
		}
	}()
	r := &request{header: header{version: version}, connection: &connection{server: s, conn: ours}, ctx: context.Background()}
	if err := r.hold(bytes); err != nil {
		t.Fatal(err)
	}
	return r, s
}

// TestGroupsKeepNoBody: what a group keeps of a request is no part of the request's body, which may be much larger,
// and neither the body nor the budget is held while the request waits for other members.
func TestGroupsKeepNoBody(t *testing.T) {
	const said = "what a member says"
	r, s := heldRequest(t, 9, 1000)
	metadata := []byte(said)
	join := &kmsg.JoinGroupRequest{Version: 9, Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: metadata}}}
	kept := joinOf(r, join)
	clear(metadata)
	if got := string(kept.Protocols[0].Metadata); got != said || join.Protocols != nil {
		t.Errorf("metadata %q after the body was used again", got)
	}
	if s.requests.left != s.limits.TotalBytes {
		t.Errorf("a join that waits holds %d bytes", s.limits.TotalBytes-s.requests.left)
	}
	r, s = heldRequest(t, 5, 1000)
	data := []byte(said)
	sync := &kmsg.SyncGroupRequest{Version: 5, GroupAssignment: []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: data}}}
	assigned := syncOf(r, sync)
	clear(data)
	if got := string(assigned.Assignments[0].Data); got != said || sync.GroupAssignment != nil {
		t.Errorf("assignment %q after the body was used again", got)
	}
	if s.requests.left != s.limits.TotalBytes {
		t.Errorf("a sync that waits holds %d bytes", s.limits.TotalBytes-s.requests.left)
	}
}

// TestFetchGivesBodyBack: a fetch that waits holds what its partitions take, not its body.
func TestFetchGivesBodyBack(t *testing.T) {
	r, s := heldRequest(t, 11, 1<<20)
	in := kmsg.NewPtrFetchRequest()
	in.SetVersion(11)
	in.ReplicaID = 1 // is refused, so that no broker is needed
	in.Topics = []kmsg.FetchRequestTopic{{Topic: "t"}}
	body := fields{rest: in.AppendTo(nil)}
	if err := fetch(r, &body); err != nil {
		t.Fatal(err)
	}
	if held := s.limits.TotalBytes - s.requests.left; held != r.held || held > 1000 || body.rest != nil {
		t.Errorf("a fetch of one topic holds %d bytes and %d of its body", held, len(body.rest))
	}
}

// TestRequestsAreAsLargeAsTheyNeed: what follows the last field is refused, and only few keys may be large.
func TestRequestsAreAsLargeAsTheyNeed(t *testing.T) {
	heartbeat := kmsg.NewPtrHeartbeatRequest()
	fetched := kmsg.NewPtrFetchRequest()
	fetched.SetVersion(11)
	for _, in := range []kmsg.Request{heartbeat, fetched} {
		body := in.AppendTo(nil)
		for extra, want := range map[int]bool{maxTrailing: true, maxTrailing + 1: false} {
			longer := append(slices.Clip(body), make([]byte, extra)...)
			var err error
			if in == kmsg.Request(fetched) {
				r, _ := heldRequest(t, 11, int64(len(longer)))
				err = fetch(r, &fields{rest: longer})
			} else {
				_, err = scan(heartbeatLayout(), longer, 0, false)
			}
			if (err == nil) != want {
				t.Errorf("%T with %d bytes after its end: %v", in, extra, err)
			}
		}
	}
	limits := Limits{}.withDefaults()
	for i := range table {
		a := &table[i]
		large := a.name == "create_topics" || a.name == "alter_configs" || a.name == "incremental_alter_configs"
		if got := limits.largest(a); (got > otherBytes) != large {
			t.Errorf("%s: requests of up to %d bytes", a.name, got)
		}
	}
}
