package group

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestBytesOfAllGroups: what members say and are assigned is bounded over all groups of a machine, and whoever leaves makes room.
func TestBytesOfAllGroups(t *testing.T) {
	const metadata = 20_000
	ids := 0
	m := New(Config{MaxBytes: 100_000, NewMemberID: func() string { ids++; return fmt.Sprint(ids) }})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.Lead(now)
	ask := func(request Request) Answer {
		t.Helper()
		e := m.Handle(now, 1, request)
		for _, entry := range e.Records {
			if err := m.Replay(entry, nil); err != nil {
				t.Fatal(err)
			}
		}
		if len(e.Answers) != 1 {
			t.Fatalf("%T: %d answers", request, len(e.Answers))
		}
		return e.Answers[0]
	}
	join := func(group, member string, size int) Answer {
		t.Helper()
		return ask(&Join{
			Group: group, MemberID: member, ClientID: "c", ProtocolType: "consumer", SessionTimeout: time.Minute, RebalanceTimeout: time.Minute,
			Protocols: []Protocol{{Name: "range", Metadata: make([]byte, size)}},
		})
	}
	sync := func(group, member string, size int) error {
		t.Helper()
		return ask(&Sync{Group: group, MemberID: member, Generation: 1, Assignments: []Assignment{{member, make([]byte, size)}}}).Err
	}
	for i := range 4 {
		if a := join(fmt.Sprint("g", i), "", metadata); a.Err != nil {
			t.Fatalf("group %d: %v", i, a.Err)
		}
	}
	if a := join("g4", "", metadata); !errors.Is(a.Err, ErrTooManyGroups) {
		t.Errorf("above the limit: %v", a.Err)
	}
	if a := ask(&Describe{Group: "g4"}); a.Response.(*Description).State != StateDead {
		t.Error("the refused group is there")
	}
	if err := sync("g0", "c-1", metadata); !errors.Is(err, ErrTooManyGroups) {
		t.Errorf("an assignment above the limit: %v", err)
	}
	if a := join("g0", "c-1", metadata); a.Err != nil {
		t.Errorf("a member that says no more than before: %v", a.Err)
	}
	ask(&Leave{Group: "g1", Members: []LeaveMember{{MemberID: "c-2"}}})
	if a := join("g4", "", metadata); a.Err != nil {
		t.Errorf("after another has left: %v", a.Err)
	}
	ask(&Leave{Group: "g2", Members: []LeaveMember{{MemberID: "c-3"}}})
	ask(&Leave{Group: "g3", Members: []LeaveMember{{MemberID: "c-4"}}})
	long := &Join{
		Group: "long", ClientID: strings.Repeat("ü", 16_000), ProtocolType: "consumer", SessionTimeout: time.Minute, RebalanceTimeout: time.Minute,
		RequireKnownMember: true, Protocols: []Protocol{{Name: "range"}},
	}
	if a := ask(long); !errors.Is(a.Err, ErrMemberIDRequired) || len(a.Response.(*JoinResult).MemberID) > 300 || !utf8.ValidString(a.Response.(*JoinResult).MemberID) {
		t.Errorf("a client id of %d bytes: %v", len(long.ClientID), a.Err)
	}
	long.InstanceID = strings.Repeat("i", 256)
	if a := ask(long); !errors.Is(a.Err, ErrGroupTooLarge) {
		t.Errorf("an instance id of %d bytes: %v", len(long.InstanceID), a.Err)
	}
	held := m.bytes
	if m.Follow(); m.bytes != 0 {
		t.Errorf("%d bytes after the leadership, %d before", m.bytes, held)
	}
}
