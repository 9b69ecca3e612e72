package clients

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestFranzStaticMember starts a client of a group anew under the same instance id: it goes on with its predecessor's
// partitions, and the other member is not asked to join again.
func TestFranzStaticMember(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), smokeTimeout)
	defer cancel()
	topic := unique("static")
	adm := kadm.NewClient(franz(t))
	if _, err := adm.CreateTopic(ctx, 4, -1, nil, topic); err != nil {
		t.Fatal(err)
	}
	member := func(instance string) (*kgo.Client, <-chan int) {
		assigned := make(chan int, 100)
		cl := franz(t, kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic), kgo.InstanceID(instance), kgo.SessionTimeout(20*time.Second),
			kgo.Balancers(kgo.RangeBalancer()),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
				assigned <- len(partitions[topic])
			}))
		return cl, assigned
	}
	next := func(who string, assigned <-chan int) int {
		select {
		case n := <-assigned:
			return n
		case <-ctx.Done():
			t.Fatalf("%s was assigned nothing", who)
			return 0
		}
	}
	_, other := member("a")
	for next("the first", other) != 4 {
	}
	restarted, mine := member("b")
	for next("the second", mine) != 2 {
	}
	for next("the first", other) != 2 {
	}
	before := describeStatic(ctx, t, adm, topic)
	restarted.Close() // a static member does not leave
	_, again := member("b")
	if n := next("the second, started anew", again); n != 2 {
		t.Errorf("started anew it has %d partitions", n)
	}
	after := describeStatic(ctx, t, adm, topic)
	if before["a"] != after["a"] || before["b"] == after["b"] || len(after) != 2 {
		t.Errorf("members by instance before %v, after %v", before, after)
	}
	select {
	case n := <-other:
		t.Errorf("the other member was asked to join again and has %d partitions", n)
	default:
	}
}

// describeStatic returns the member ids of a stable group by instance id.
func describeStatic(ctx context.Context, t *testing.T, adm *kadm.Client, group string) map[string]string {
	t.Helper()
	described, err := adm.DescribeGroups(ctx, group)
	if err != nil || described.Error() != nil {
		t.Fatal(err, described.Error())
	}
	members := map[string]string{}
	for _, m := range described[group].Members {
		if m.InstanceID == nil {
			t.Fatalf("member %s has no instance id", m.MemberID)
		}
		members[*m.InstanceID] = m.MemberID
	}
	return members
}
