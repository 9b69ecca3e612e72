package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/group"
	"github.com/stela-db/stela/server/meta"
)

// coordinator waits for the node that coordinates a group and is ready to.
func (c *testCluster) coordinator(groupID string) *testNode {
	c.t.Helper()
	var found *testNode
	c.until("coordinator of "+groupID, func() error {
		for _, n := range c.nodes {
			if n.Broker == nil {
				continue
			}
			if _, err := n.Group(c.t.Context(), groupID, &group.Describe{Group: groupID}); err == nil {
				found = n
				return nil
			}
		}
		return errors.New("nobody coordinates")
	})
	return found
}

// A testMember is one member of one group, as a client would be: it looks for the coordinator again when it has to.
type testMember struct {
	cluster    *testCluster
	group      string
	id         string
	generation int32
	leader     bool
	members    []group.JoinMember
	assignment string
}

func ask[R any](n *testNode, groupID string, request group.Request) (*R, error) {
	response, err := n.Group(context.Background(), groupID, request)
	typed, _ := response.(*R)
	if err == nil && typed == nil {
		return nil, fmt.Errorf("%T is answered with %T", request, response)
	}
	return typed, err
}

// joinOnce joins and syncs; the leader gives everybody its own id.
func (m *testMember) joinOnce(n *testNode) error {
	request := &group.Join{
		Group: m.group, MemberID: m.id, ClientID: "c", ClientHost: "/h", ProtocolType: "consumer",
		Protocols: []group.Protocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0}}}, SessionTimeout: 10 * time.Second, RebalanceTimeout: 10 * time.Second,
		RequireKnownMember: true,
	}
	joined, err := ask[group.JoinResult](n, m.group, request)
	if errors.Is(err, group.ErrMemberIDRequired) {
		m.id, request.MemberID = joined.MemberID, joined.MemberID
		joined, err = ask[group.JoinResult](n, m.group, request)
	}
	if err != nil {
		return err
	}
	m.generation, m.leader, m.members = joined.Generation, joined.Leader == m.id, joined.Members
	sync := &group.Sync{Group: m.group, MemberID: m.id, Generation: m.generation, ProtocolType: "consumer", Protocol: "range"}
	for _, o := range joined.Members {
		sync.Assignments = append(sync.Assignments, group.Assignment{MemberID: o.ID, Data: []byte(o.ID)})
	}
	synced, err := ask[group.SyncResult](n, m.group, sync)
	if err != nil {
		return err
	}
	m.assignment = string(synced.Assignment)
	return nil
}

// join joins until it is a member, as clients do.
func (m *testMember) join() {
	m.cluster.t.Helper()
	m.cluster.until("member of "+m.group, func() error {
		err := m.joinOnce(m.cluster.coordinator(m.group))
		if errors.Is(err, group.ErrUnknownMember) {
			m.id = ""
		}
		return err
	})
	if m.assignment != m.id {
		m.cluster.t.Fatalf("member %s was assigned %q", m.id, m.assignment)
	}
}

func (m *testMember) heartbeat(n *testNode) error {
	_, err := n.Group(context.Background(), m.group, &group.Heartbeat{Group: m.group, MemberID: m.id, Generation: m.generation})
	return err
}

func offsetCommit(groupID, topic string, offset record.Offset) *group.OffsetCommit {
	return &group.OffsetCommit{Group: groupID, Generation: -1, Retention: -1, Topics: []group.CommitTopic{{
		Name: topic, Partitions: []group.CommitPartition{{Index: 0, Offset: offset, LeaderEpoch: 1, Metadata: "m"}},
	}}}
}

func commitOffset(n *testNode, groupID, topic string, offset record.Offset) error {
	result, err := ask[group.CommitResult](n, groupID, offsetCommit(groupID, topic, offset))
	if err != nil {
		return err
	}
	return result.Topics[0].Partitions[0].Err
}

func fetchOffset(n *testNode, groupID, topic string) (record.Offset, error) {
	result, err := ask[group.FetchResult](n, groupID, &group.OffsetFetch{Group: groupID, Topics: []group.FetchTopic{{Name: topic, Partitions: []int32{0}}}})
	if err != nil {
		return 0, err
	}
	return result.Topics[0].Partitions[0].Offset, nil
}

func TestGroupOnOneNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 2)
		m := &testMember{cluster: c, group: "g"}
		m.join()
		n := c.any()
		commit := offsetCommit("g", "t", 5)
		commit.MemberID, commit.Generation = m.id, m.generation
		commit.Topics = append(commit.Topics, group.CommitTopic{Name: "nope", Partitions: []group.CommitPartition{{Index: 0}}})
		commit.Topics[0].Partitions = append(commit.Topics[0].Partitions, group.CommitPartition{Index: 7}, group.CommitPartition{Index: 1, Offset: 9})
		result, err := ask[group.CommitResult](n, "g", commit)
		if err != nil {
			t.Fatal(err)
		}
		want := []error{nil, ErrUnknownTopicOrPartition, nil, ErrUnknownTopicOrPartition}
		i := 0
		for _, topic := range result.Topics {
			for _, p := range topic.Partitions {
				if !errors.Is(p.Err, want[i]) {
					t.Errorf("%s %d: error %v, wanted %v", topic.Name, p.Index, p.Err, want[i])
				}
				i++
			}
		}
		n.stop()
		n.start()
		c.ready()
		if err := m.heartbeat(c.coordinator("g")); err != nil {
			t.Errorf("after a restart of the node: %v", err)
		}
		fetched, err := ask[group.FetchResult](n, "g", &group.OffsetFetch{Group: "g", All: true})
		if err != nil || len(fetched.Topics) != 1 || len(fetched.Topics[0].Partitions) != 2 {
			t.Fatalf("offsets %v, error %v", fetched, err)
		}
		if p := fetched.Topics[0].Partitions[0]; p.Offset != 5 || p.LeaderEpoch != 1 || p.Metadata != "m" {
			t.Errorf("offset %v", p)
		}
		time.Sleep(11 * time.Second)
		described, err := ask[group.Description](n, "g", &group.Describe{Group: "g"})
		if err != nil || described.State != group.StateEmpty {
			t.Errorf("after its session: %v, %v", described, err)
		}
		if _, err := n.Group(t.Context(), "g", &group.Delete{Group: "g"}); err != nil {
			t.Error(err)
		}
		if _, err := n.Group(t.Context(), "g", &group.Delete{Group: "g"}); !errors.Is(err, group.ErrGroupNotFound) {
			t.Errorf("deleted again: %v", err)
		}
	})
}

// TestMembersOutliveTheirCoordinator kills the node that coordinates a group: the members go on with their generation.
func TestMembersOutliveTheirCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(config *testConfig) { config.shards = 2 })
		c.create("t", 1)
		members := []*testMember{{cluster: c, group: "g"}, {cluster: c, group: "g"}, {cluster: c, group: "g"}}
		var wait sync.WaitGroup
		for _, m := range members {
			wait.Go(func() {
				for {
					m.join()
					time.Sleep(time.Second)
					if m.heartbeat(c.coordinator("g")) == nil {
						return // the rebalance is over
					}
				}
			})
		}
		wait.Wait()
		generation := members[0].generation
		for _, m := range members {
			if m.generation != generation {
				t.Fatalf("generations %d and %d", generation, m.generation)
			}
		}
		for round := range 3 {
			first := c.coordinator("g")
			offset := record.Offset(100 + round)
			commit := offsetCommit("g", "t", offset)
			commit.MemberID, commit.Generation = members[0].id, generation
			if result, err := ask[group.CommitResult](first, "g", commit); err != nil || result.Topics[0].Partitions[0].Err != nil {
				t.Fatalf("commit: %v, %v", result, err)
			}
			first.crash()
			second := c.coordinator("g")
			for _, m := range members {
				if err := m.heartbeat(second); err != nil {
					t.Errorf("round %d, member %s: %v", round, m.id, err)
				}
			}
			if got, err := fetchOffset(second, "g", "t"); err != nil || got != offset {
				t.Errorf("round %d: offset %d, error %v, wanted %d", round, got, err, offset)
			}
			first.start()
			c.ready()
		}
	})
}

func TestEveryNodeKnowsTheCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(config *testConfig) { config.shards = 3 })
		c.create("t", 1)
		listed := map[string]int{}
		for i := range 12 {
			name := fmt.Sprint("group", i)
			n := c.coordinator(name)
			if err := commitOffset(n, name, "t", 1); err != nil {
				t.Error(err)
			}
			for _, o := range c.nodes {
				if id, ok := o.Coordinator(name); !ok || id != n.id {
					t.Errorf("node %d says that %d coordinates %s, not %d", o.id, id, name, n.id)
				}
				if _, err := o.Group(t.Context(), name, &group.Heartbeat{Group: name}); o != n && !errors.Is(err, ErrNotCoordinator) {
					t.Errorf("node %d: error %v", o.id, err)
				}
			}
		}
		for _, n := range c.nodes {
			listing, err := ask[group.Listing](n, "", &group.List{States: []string{"empty"}})
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range listing.Groups {
				listed[g.Group]++
			}
		}
		if len(listed) != 12 {
			t.Errorf("%d groups are listed: %v", len(listed), listed)
		}
		for name, count := range listed {
			if count != 1 {
				t.Errorf("%s is listed by %d nodes", name, count)
			}
		}
	})
}

// TestDeletedTopicsOffsets checks that a topic never sees the offsets of a deleted one of its name.
func TestDeletedTopicsOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		c.create("u", 1)
		n := c.coordinator("g")
		for _, topic := range []string{"t", "u"} {
			if err := commitOffset(n, "g", topic, 5); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.DeleteTopics(t.Context(), &meta.DeleteTopics{Topics: []meta.TopicRef{{Name: "t"}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := n.CreateTopics(t.Context(), &meta.CreateTopics{Topics: []meta.CreateTopic{plainTopic("t", 1)}}); err != nil {
			t.Fatal(err)
		}
		if offset, err := fetchOffset(n, "g", "t"); err != nil || offset != -1 {
			t.Errorf("at once: offset %d, error %v", offset, err)
		}
		if err := commitOffset(n, "g", "t", 7); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for topic, want := range map[string]record.Offset{"t": 7, "u": 5} {
			if offset, err := fetchOffset(n, "g", topic); err != nil || offset != want {
				t.Errorf("%s: offset %d, error %v, wanted %d", topic, offset, err, want)
			}
		}
		if _, err := n.DeleteTopics(t.Context(), &meta.DeleteTopics{Topics: []meta.TopicRef{{Name: "t"}, {Name: "u"}}}); err != nil {
			t.Fatal(err)
		}
		if all, err := ask[group.FetchResult](n, "g", &group.OffsetFetch{Group: "g", All: true}); err != nil || len(all.Topics) != 0 {
			t.Errorf("all offsets: %v, %v", all, err)
		}
		time.Sleep(time.Second)
		if listing, err := ask[group.Listing](n, "", &group.List{}); err != nil || len(listing.Groups) != 0 {
			t.Errorf("a group without offsets and members stays: %v, %v", listing, err)
		}
	})
}

// TestCutOffCoordinator isolates the coordinator: it must not answer with what others may have changed, and nobody waits for ever.
func TestCutOffCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		old := c.coordinator("g")
		if err := commitOffset(old, "g", "t", 5); err != nil {
			t.Fatal(err)
		}
		first := &testMember{cluster: c, group: "g"}
		first.join()
		// A second member's join is parked until the first one comes, which it does not.
		parked := make(chan error, 1)
		go func() { parked <- (&testMember{cluster: c, group: "g"}).joinOnce(old) }()
		synctest.Wait()
		for _, n := range c.nodes {
			if n != old {
				c.pipes.Block(fmt.Sprintf("n%d", old.id), fmt.Sprintf("n%d", n.id))
				c.pipes.Block(fmt.Sprintf("n%d", n.id), fmt.Sprintf("n%d", old.id))
			}
		}
		if err := commitOffset(old, "g", "t", 6); err == nil {
			t.Error("a commit without a majority is acknowledged")
		} else if !errors.Is(err, ErrCoordinatorNotAvailable) && !errors.Is(err, ErrNotCoordinator) && !errors.Is(err, group.ErrUnknownMember) {
			t.Errorf("commit: %v", err)
		}
		if offset, err := fetchOffset(old, "g", "t"); err == nil {
			t.Errorf("a coordinator that is cut off says that the offset is %d", offset)
		}
		if err := <-parked; !errors.Is(err, ErrNotCoordinator) {
			t.Errorf("parked join: %v", err)
		}
		var next *testNode
		c.until("another coordinator", func() error {
			for _, n := range c.nodes {
				if n == old {
					continue
				}
				if _, err := n.Group(t.Context(), "g", &group.Describe{Group: "g"}); err == nil {
					next = n
					return nil
				}
			}
			return errors.New("none")
		})
		if offset, err := fetchOffset(next, "g", "t"); err != nil || offset != 5 {
			t.Errorf("offset %d, error %v", offset, err)
		}
		c.pipes.Heal()
		c.ready()
	})
}

// TestOffsetsNeverGoBack commits ascending offsets of a few groups while nodes die and links fail. What was acknowledged is what every
// later fetch sees, or something newer.
func TestOffsetsNeverGoBack(t *testing.T) {
	const groups = 4
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(config *testConfig) {
			config.shards = 2
			config.replication = func(rc *replication.Config) { rc.SnapshotEntries, rc.TrailingEntries = 40, 10 }
		})
		c.create("t", 1)
		lock := make(chan struct{}, 1) // held over crashes and starts, and while a client picks a node; time passes meanwhile
		nodes := func() (list []*Broker) {
			lock <- struct{}{}
			defer func() { <-lock }()
			for _, n := range c.nodes {
				if n.Broker != nil {
					list = append(list, n.Broker)
				}
			}
			return list
		}
		end := time.Now().Add(time.Minute)
		var wait sync.WaitGroup
		acknowledged := make([]record.Offset, groups)
		for i := range groups {
			name := fmt.Sprint("group", i)
			pick := rand.New(rand.NewPCG(seed, uint64(i+2)))
			wait.Go(func() {
				for offset := record.Offset(1); time.Now().Before(end); offset++ {
					list := nodes()
					b := list[pick.IntN(len(list))]
					response, err := b.Group(context.Background(), name, offsetCommit(name, "t", offset))
					if err == nil && response.(*group.CommitResult).Topics[0].Partitions[0].Err == nil {
						acknowledged[i] = offset
					}
					fetch := &group.OffsetFetch{Group: name, Topics: []group.FetchTopic{{Name: "t", Partitions: []int32{0}}}}
					if response, err = b.Group(context.Background(), name, fetch); err == nil {
						got := response.(*group.FetchResult).Topics[0].Partitions[0].Offset
						if got < acknowledged[i] || got > offset {
							t.Errorf("%s: offset %d after %d was acknowledged and %d tried", name, got, acknowledged[i], offset)
						}
					}
					time.Sleep(time.Duration(pick.IntN(20)) * time.Millisecond)
				}
			})
		}
		crashes := 0
		for time.Now().Before(end) {
			time.Sleep(time.Duration(500+random.IntN(3000)) * time.Millisecond)
			n := c.nodes[int32(random.IntN(3)+1)]
			if random.IntN(3) == 0 {
				o := c.nodes[n.id%3+1]
				c.pipes.Block(fmt.Sprintf("n%d", n.id), fmt.Sprintf("n%d", o.id))
				time.Sleep(time.Duration(random.IntN(2000)) * time.Millisecond)
				c.pipes.Heal()
				continue
			}
			lock <- struct{}{}
			n.crash()
			<-lock
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			lock <- struct{}{}
			n.start()
			<-lock
			crashes++
		}
		wait.Wait()
		c.ready()
		for i := range groups {
			name := fmt.Sprint("group", i)
			if got, err := fetchOffset(c.coordinator(name), name, "t"); err != nil || got < acknowledged[i] {
				t.Errorf("%s: offset %d, error %v, but %d was acknowledged", name, got, err, acknowledged[i])
			}
			if acknowledged[i] < 100 {
				t.Errorf("%s: only offset %d was acknowledged in a minute", name, acknowledged[i])
			}
		}
		t.Logf("%d crashes, offsets %v", crashes, acknowledged)
	})
}

// TestRefusedRecord lets a proposal fail on a node that goes on leading: the coordinator begins anew from what is committed.
func TestRefusedRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 1)
		m := &testMember{cluster: c, group: "g"}
		m.join()
		n := c.coordinator("g")
		co := n.groupShard("g").coordinator
		parked := make(chan error, 1)
		go func() { parked <- (&testMember{cluster: c, group: "g"}).joinOnce(n) }()
		synctest.Wait()
		co.mu.Lock()
		r := co.reign
		lost := r.wait(nil, 1)
		co.mu.Unlock()
		late := make(chan error, 1)
		go func() { late <- m.heartbeat(n) }() // held back by the record before it
		synctest.Wait()
		co.settled(r, lost, ErrNotLeader)
		for name, answer := range map[string]chan error{"parked join": parked, "held heartbeat": late} {
			if err := <-answer; !errors.Is(err, ErrNotCoordinator) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if again := c.coordinator("g"); again != n {
			t.Errorf("node %d took over from %d", again.id, n.id)
		}
		if err := m.heartbeat(n); err != nil {
			t.Errorf("member goes on: %v", err)
		}
		if err := commitOffset(n, "h", "t", 3); err != nil {
			t.Errorf("commit: %v", err)
		}
	})
}

func TestReignHoldsAnswersBack(t *testing.T) {
	r := newReign()
	answers := map[uint64]chan group.Answer{}
	for token := range uint64(5) {
		answers[token] = make(chan group.Answer, 1)
		r.expect(token, answers[token])
	}
	given := func() (list []uint64) {
		for token := range uint64(5) {
			select {
			case a := <-answers[token]:
				list = append(list, a.Token)
			default:
			}
		}
		return list
	}
	expect := func(step string, want ...uint64) {
		t.Helper()
		if got := given(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v are answered, wanted %v", step, got, want)
		}
	}
	r.wait([]group.Answer{{Token: 0}}, 0)
	expect("nothing to wait for", 0)
	first := r.wait([]group.Answer{{Token: 1}}, 2)
	second := r.wait([]group.Answer{{Token: 2}}, 1)
	r.wait([]group.Answer{{Token: 3}}, 0)
	r.settle(second, nil)
	r.settle(first, nil)
	expect("the first is not committed")
	r.settle(first, nil)
	expect("all are", 1, 2, 3)
	third := r.wait([]group.Answer{{Token: 4}}, 1)
	if !r.settle(third, ErrTimedOut) || r.settle(third, ErrTimedOut) {
		t.Error("a reign fails once")
	}
	if a := <-answers[4]; !errors.Is(a.Err, ErrCoordinatorNotAvailable) {
		t.Errorf("error %v", a.Err)
	}
	r.forget(4)
	r.fail(ErrShuttingDown)
}

func TestGroupConfig(t *testing.T) {
	got := groupConfig(map[string]string{
		meta.KeyGroupMinSessionMs: "1", meta.KeyGroupMaxSessionMs: "2", meta.KeyGroupInitialDelayMs: " 3 ", meta.KeyOffsetsRetentionMinutes: "4",
		meta.KeyOffsetsRetentionCheckMs: "5", meta.KeyOffsetMetadataMaxBytes: "6", meta.KeyGroupMaxSize: "7",
	})
	if got.MinSessionTimeout != time.Millisecond || got.MaxSessionTimeout != 2*time.Millisecond || got.InitialRebalanceDelay != 3*time.Millisecond ||
		got.OffsetsRetention != 4*time.Minute || got.RetentionCheckInterval != 5*time.Millisecond || got.MaxOffsetMetadataBytes != 6 || got.MaxMembers != 7 {
		t.Errorf("%+v", got)
	}
}
