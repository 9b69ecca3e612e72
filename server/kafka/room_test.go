package kafka

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAnswersTakeRoom: an answer has memory of the budget before it is made, and none that is larger than all of it.
func TestAnswersTakeRoom(t *testing.T) {
	r, s := heldRequest(t, 0, 0)
	if !r.room(freeAnswer/2-structBytes) || r.answer.held != 0 {
		t.Errorf("a small answer holds %d bytes", r.answer.held)
	}
	parts := 0
	for r.room(1 << 20) {
		if parts++; r.answer.held < r.answer.bytes || s.limits.TotalAnswers-s.answers.left != r.answer.held {
			t.Fatalf("an answer of %d bytes has %d, the budget says %d", r.answer.bytes, r.answer.held, s.limits.TotalAnswers-s.answers.left)
		}
	}
	if wanted := int(s.limits.TotalAnswers >> 21); parts < wanted-2 || parts > wanted || !errors.Is(r.answer.refusal, errBudget) {
		t.Errorf("%d parts of 1 MiB, then %v", parts, r.answer.refusal)
	}
}

// TestNoRoomForAnswer: a connection whose answer finds no memory is closed, and what it had is given back.
func TestNoRoomForAnswer(t *testing.T) {
	s := idle(t, Limits{})
	const listGroups = 16
	s.find(listGroups).handle = func(r *request, _ kmsg.Request) kmsg.Response {
		for r.room(1 << 20) {
			continue
		}
		return nil
	}
	ours, theirs := net.Pipe()
	c := newConnection(s, &s.config.Listeners[0], theirs)
	ended := make(chan struct{})
	go func() {
		c.run()
		close(ended)
	}()
	send(t, ours, listGroups, 0, 1, nil)
	wantClosed(t, "an answer without bounds", ours)
	<-ended
	if s.answers.left != s.limits.TotalAnswers {
		t.Errorf("%d bytes of %d are left", s.answers.left, s.limits.TotalAnswers)
	}
}

// TestLongTextsAreCut: a length of 16 bits does not wrap, and a text ends with a whole character.
func TestLongTextsAreCut(t *testing.T) {
	long := strings.Repeat("ü", 20_000)
	w := answerWriter{}
	w.text(long)
	if n := int(int16(binary.BigEndian.Uint16(w.bytes))); n != maxStringBytes-1 || len(w.bytes) != 2+n || !utf8.Valid(w.bytes[2:]) {
		t.Errorf("a text of %d bytes is told as one of %d in %d", len(long), n, len(w.bytes)-2)
	}
	if got := *message(errors.New("x" + long)); len(got) > maxMessageBytes || len(got) < maxMessageBytes-1 || !utf8.ValidString(got) {
		t.Errorf("an error's text of %d bytes", len(got))
	}
}

// TestScanBoundsElements: no request names more than 10,000 topics, groups or resources.
func TestScanBoundsElements(t *testing.T) {
	for _, c := range []struct {
		groups int
		fails  bool
	}{{maxNames, false}, {maxNames + 1, true}} {
		in := &kmsg.DescribeGroupsRequest{Groups: make([]string, c.groups)}
		if _, err := scan(describeGroupsLayout(), in.AppendTo(nil), 0, false); (err != nil) != c.fails {
			t.Errorf("%d groups: %v", c.groups, err)
		}
	}
	sync := &kmsg.SyncGroupRequest{GroupAssignment: make([]kmsg.SyncGroupRequestGroupAssignment, maxNames+1)}
	if _, err := scan(syncGroupLayout(), sync.AppendTo(nil), 0, false); err != nil {
		t.Errorf("assignments of %d members: %v", maxNames+1, err)
	}
	offsets := &kmsg.ListOffsetsRequest{Version: 1, Topics: make([]kmsg.ListOffsetsRequestTopic, 2)}
	for i := range offsets.Topics {
		offsets.Topics[i].Partitions = make([]kmsg.ListOffsetsRequestTopicPartition, maxPartitions/2)
	}
	if _, err := scan(listOffsetsLayout(), offsets.AppendTo(nil), 1, false); !errors.Is(err, errMalformed) {
		t.Errorf("%d partitions and topics: %v", maxPartitions+2, err)
	}
}
