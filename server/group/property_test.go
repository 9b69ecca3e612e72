package group

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stela-db/stela/log/record"
)

// A world is a leader, a follower, the rows that both say they have, clients, and what was promised to them.
type world struct {
	t        *rapid.T
	now      time.Time
	config   Config
	leader   *Machine
	follower *Machine
	rows     map[string]string // as the leader's Replay told it
	wake     time.Time
	token    uint64
	waiting  map[uint64]Request
	flight   []Effects // decided, not committed
	ids      int

	members     []joined
	generations map[string]int32 // newest stored one of a group
	assigned    map[string]string
	committed   map[string]record.Offset // acknowledged or not, last one that was committed
}

// joined is what a client knows of its membership.
type joined struct {
	group, id, instance string
	generation          int32
	leader              bool
	others              []JoinMember
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), rows: map[string]string{}, waiting: map[uint64]Request{},
		generations: map[string]int32{}, assigned: map[string]string{}, committed: map[string]record.Offset{},
	}
	w.config = Config{
		NewMemberID: func() string { w.ids++; return fmt.Sprint(w.ids) }, MaxMembers: 4, MaxGroups: 4,
		InitialRebalanceDelay: rapid.SampledFrom([]time.Duration{0, 3 * time.Second}).Draw(t, "delay"),
		OffsetsRetention:      10 * time.Minute, RetentionCheckInterval: time.Minute,
	}
	w.leader, w.follower = New(w.config), New(w.config)
	w.take(w.leader.Lead(w.now))
	return w
}

func (w *world) take(e Effects) {
	w.wake = e.Wake
	w.flight = append(w.flight, e)
}

// commit lets the first n decisions that are under way be committed and answered.
func (w *world) commit(n int) {
	for _, e := range w.flight[:n] {
		for _, entry := range e.Records {
			w.replay(entry)
		}
		for _, a := range e.Answers {
			w.answer(a)
		}
	}
	w.flight = w.flight[n:]
}

func (w *world) replay(entry []byte) {
	if err := w.leader.Replay(entry, func(key, value []byte) {
		if value == nil {
			delete(w.rows, string(key))
		} else {
			w.rows[string(key)] = string(value)
		}
	}); err != nil {
		w.t.Fatalf("leader: %v", err)
	}
	if err := w.follower.Replay(entry, nil); err != nil {
		w.t.Fatalf("follower: %v", err)
	}
	for id := range w.generations {
		if e := w.follower.groups[id]; e == nil || e.stored == nil {
			delete(w.generations, id)
		}
	}
	for id, e := range w.follower.groups {
		if e.stored == nil {
			continue
		}
		if e.stored.generation < w.generations[id] {
			w.t.Fatalf("group %s went from generation %d back to %d", id, w.generations[id], e.stored.generation)
		}
		w.generations[id] = e.stored.generation
	}
}

func (w *world) answer(a Answer) {
	request, ok := w.waiting[a.Token]
	if !ok {
		w.t.Fatalf("token %d is answered, which waits for nothing", a.Token)
	}
	delete(w.waiting, a.Token)
	switch r := request.(type) {
	case *Join:
		result := a.Response.(*JoinResult)
		if a.Err != nil && !errors.Is(a.Err, ErrMemberIDRequired) || result.MemberID == "" {
			return
		}
		w.members = slices.DeleteFunc(w.members, func(j joined) bool { return j.id == result.MemberID && j.group == r.Group })
		w.members = append(w.members, joined{
			group: r.Group, id: result.MemberID, instance: r.InstanceID, generation: result.Generation,
			leader: result.Leader == result.MemberID, others: result.Members,
		})
	case *Sync:
		if a.Err != nil {
			return
		}
		key := fmt.Sprint(r.Group, "/", r.MemberID, "/", r.Generation)
		data := string(a.Response.(*SyncResult).Assignment)
		if before, ok := w.assigned[key]; ok && before != data {
			w.t.Fatalf("%s was assigned %q, then %q", key, before, data)
		}
		w.assigned[key] = data
	}
}

func (w *world) handle(r Request) {
	w.token++
	w.waiting[w.token] = r
	w.take(w.leader.Handle(w.now, w.token, r))
}

func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for ticks := 0; !w.wake.IsZero() && !w.wake.After(end); ticks++ {
		if ticks > 10_000 {
			w.t.Fatalf("time does not pass: wake is %v", w.wake)
		}
		if w.wake.After(w.now) {
			w.now = w.wake
		}
		w.take(w.leader.Tick(w.now))
	}
	w.now = end
}

// failover makes the follower lead; what was not committed is lost.
func (w *world) failover(lost int) {
	w.commit(len(w.flight) - lost)
	w.flight = nil
	for _, a := range w.leader.Follow().Answers {
		if !errors.Is(a.Err, ErrReset) {
			w.t.Fatalf("Follow answers %v", a.Err)
		}
		delete(w.waiting, a.Token)
	}
	// Whoever had an answer that was not given yet is told that its coordinator is gone.
	clear(w.waiting)
	clear(w.assigned) // of generations that were never stored
	w.leader, w.follower = w.follower, New(w.config)
	if err := w.leader.Rows(w.follower.Load); err != nil {
		w.t.Fatal(err)
	}
	w.take(w.leader.Lead(w.now))
}

// check compares the replicated state of all who have it, and looks for contradictions in what is volatile.
func (w *world) check() {
	if diff := cmp.Diff(rowsOf(w.t, w.leader), rowsOf(w.t, w.follower)); diff != "" {
		w.t.Fatalf("leader and follower differ: %s", diff)
	}
	if diff := cmp.Diff(w.rows, rowsOf(w.t, w.leader)); diff != "" {
		w.t.Fatalf("rows that changed do not come to the state: %s", diff)
	}
	var exported bytes.Buffer
	if err := w.leader.Export(&exported); err != nil {
		w.t.Fatal(err)
	}
	imported := New(w.config)
	if err := imported.Import(&exported); err != nil {
		w.t.Fatal(err)
	}
	if diff := cmp.Diff(w.rows, rowsOf(w.t, imported)); diff != "" {
		w.t.Fatalf("export and import: %s", diff)
	}
	parked, bytes := 0, 0
	for id, e := range w.leader.groups {
		if e.stored == nil && e.live == nil && len(e.offsets) == 0 {
			w.t.Fatalf("nothing is left of group %s but its name", id)
		}
		if e.live != nil {
			parked += w.checkLive(e.live)
			bytes += e.live.bytes.members + e.live.bytes.others
		}
	}
	if bytes != w.leader.bytes {
		w.t.Fatalf("%d bytes of all groups, counted as %d", bytes, w.leader.bytes)
	}
	answers := 0
	for _, e := range w.flight {
		answers += len(e.Answers)
	}
	if len(w.waiting) != parked+answers {
		w.t.Fatalf("%d requests wait, %d are parked, %d answers are on their way", len(w.waiting), parked, answers)
	}
	for i, a := range w.leader.alarms {
		if a.index != i || i > 0 && a.queued.Before(w.leader.alarms[(i-1)/2].queued) {
			w.t.Fatalf("alarm %d is out of place", i)
		}
	}
}

func (w *world) checkLive(l *live) (parked int) {
	awaiting, size := 0, 0
	counts := map[string]int{}
	static := map[string]string{}
	for id, m := range l.members {
		if m.id != id {
			w.t.Fatalf("member %s is filed under %s", m.id, id)
		}
		if m.joinToken != 0 {
			awaiting++
			parked++
		}
		if m.syncToken != 0 {
			parked++
			if l.state != StateCompletingRebalance {
				w.t.Fatalf("a sync is parked in state %v", l.state)
			}
		}
		if m.session.index < 0 && m.joinToken == 0 && m.syncToken == 0 {
			w.t.Fatalf("nobody will miss member %s of group %s in state %v", id, l.id, l.state)
		}
		size += m.bytes()
		for _, p := range m.protocols {
			counts[p.Name]++
		}
		if m.instanceID != "" {
			static[m.instanceID] = id
		}
	}
	if awaiting != l.awaitingJoin || size != l.bytes.members || !maps.Equal(counts, l.protocolCount) || !maps.Equal(static, l.static) {
		w.t.Fatalf("group %s: %d joins, %d bytes, protocols %v, static %v; it says %d, %d, %v, %v",
			l.id, awaiting, size, counts, static, l.awaitingJoin, l.bytes.members, l.protocolCount, l.static)
	}
	others := liveOverhead + len(l.id) + l.assigned()
	for id := range l.pendingJoin {
		others += pendingOverhead + len(id)
	}
	if others != l.bytes.others {
		w.t.Fatalf("group %s holds %d bytes beside its members', counted as %d", l.id, others, l.bytes.others)
	}
	if len(l.members) > w.config.MaxMembers+1 {
		w.t.Fatalf("%d members", len(l.members))
	}
	switch {
	case len(l.members) == 0 && l.state != StateEmpty && l.state != StatePreparingRebalance,
		len(l.members) > 0 && (l.state == StateEmpty || l.members[l.leader] == nil),
		awaiting > 0 && l.state != StatePreparingRebalance,
		l.state == StatePreparingRebalance && l.join.index < 0,
		l.state == StateCompletingRebalance && len(l.pendingSync) > 0 && l.sync.index < 0,
		l.state == StateStable && l.protocol == "":
		w.t.Fatalf("group %s in state %v: %d members, leader %q, %d joins parked", l.id, l.state, len(l.members), l.leader, awaiting)
	}
	return parked
}

func rowsOf(t *rapid.T, m *Machine) map[string]string {
	rows := map[string]string{}
	if err := m.Rows(func(key, value []byte) error {
		rows[string(key)] = string(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestProperties lets clients do what they like, right or wrong, while time passes and leaders change.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		someGroup := rapid.SampledFrom([]string{"g", "h", "i", "j", "k"})
		someTime := rapid.SampledFrom([]time.Duration{time.Second, 5 * time.Second, 10 * time.Second, time.Minute, 6 * time.Minute})
		member := func() joined {
			if len(w.members) == 0 || rapid.IntRange(0, 9).Draw(t, "stranger") == 0 {
				return joined{group: someGroup.Draw(t, "group"), id: rapid.SampledFrom([]string{"", "x"}).Draw(t, "id"), generation: 1}
			}
			return w.members[rapid.IntRange(0, len(w.members)-1).Draw(t, "member")]
		}
		join := func(group, id, instance string) {
			protocols := rapid.SampledFrom([]string{"range", "range,sticky", "sticky,range", "sticky"}).Draw(t, "protocols")
			r := &Join{
				Group: group, MemberID: id, InstanceID: instance, ClientID: "c", ProtocolType: "consumer",
				SessionTimeout:     rapid.SampledFrom([]time.Duration{10 * time.Second, 30 * time.Second}).Draw(t, "session"),
				RebalanceTimeout:   rapid.SampledFrom([]time.Duration{5 * time.Second, time.Minute}).Draw(t, "rebalance"),
				RequireKnownMember: rapid.Bool().Draw(t, "known"), CanSkipAssignment: rapid.Bool().Draw(t, "skip"),
			}
			for p := range strings.SplitSeq(protocols, ",") {
				r.Protocols = append(r.Protocols, Protocol{Name: p, Metadata: subscriptionOf("t")})
			}
			w.handle(r)
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.check() },
			"join": func(t *rapid.T) {
				join(someGroup.Draw(t, "group"), "", rapid.SampledFrom([]string{"", "", "one", "two"}).Draw(t, "instance"))
			},
			"rejoin": func(*rapid.T) { m := member(); join(m.group, m.id, m.instance) },
			"sync": func(*rapid.T) {
				m := member()
				r := &Sync{Group: m.group, MemberID: m.id, InstanceID: m.instance, Generation: m.generation}
				for _, o := range m.others {
					r.Assignments = append(r.Assignments, Assignment{MemberID: o.ID, Data: fmt.Appendf(nil, "%s in %d, %d", o.ID, m.generation, w.token)})
				}
				w.handle(r)
			},
			"heartbeat": func(*rapid.T) {
				m := member()
				w.handle(&Heartbeat{Group: m.group, MemberID: m.id, InstanceID: m.instance, Generation: m.generation})
			},
			"leave": func(t *rapid.T) {
				m := member()
				w.handle(&Leave{Group: m.group, Members: []LeaveMember{{MemberID: m.id, InstanceID: m.instance}}})
			},
			"commitOffsets": func(t *rapid.T) {
				m := member()
				generation := m.generation
				if rapid.Bool().Draw(t, "simple") {
					m, generation = joined{group: m.group}, -1
				}
				w.handle(&OffsetCommit{
					Group: m.group, MemberID: m.id, InstanceID: m.instance, Generation: generation, Retention: -1,
					Topics: []CommitTopic{{Name: rapid.SampledFrom([]string{"t", "u"}).Draw(t, "topic"), Partitions: []CommitPartition{{
						Index: int32(rapid.IntRange(0, 2).Draw(t, "partition")), Number: record.Partition(rapid.IntRange(0, 5).Draw(t, "number")),
						Offset: record.Offset(w.token),
					}}}},
				})
			},
			"fetch":    func(*rapid.T) { w.handle(&OffsetFetch{Group: member().group, All: true}) },
			"describe": func(*rapid.T) { w.handle(&Describe{Group: member().group}) },
			"list":     func(*rapid.T) { w.handle(&List{}) },
			"delete":   func(*rapid.T) { w.handle(&Delete{Group: member().group}) },
			"deleteOffsets": func(*rapid.T) {
				w.handle(&OffsetDelete{Group: member().group, Topics: []FetchTopic{{Name: "t", Partitions: []int32{0, 1}}, {Name: "u", Partitions: []int32{0}}}})
			},
			"gone": func(t *rapid.T) {
				number := record.Partition(rapid.IntRange(0, 5).Draw(t, "number"))
				w.handle(&ForgetPartitions{Gone: func(p record.Partition) bool { return p == number }})
			},
			"advance":  func(t *rapid.T) { w.advance(someTime.Draw(t, "time")) },
			"commit":   func(t *rapid.T) { w.commit(rapid.IntRange(0, len(w.flight)).Draw(t, "commits")) },
			"commits":  func(*rapid.T) { w.commit(len(w.flight)) },
			"failover": func(t *rapid.T) { w.failover(rapid.IntRange(0, len(w.flight)).Draw(t, "lost")) },
		})
		// When nobody says anything any more, everybody is answered and every member is missed.
		w.commit(len(w.flight))
		w.advance(time.Hour)
		w.commit(len(w.flight))
		w.check()
		if len(w.waiting) > 0 {
			t.Fatalf("%d requests are never answered", len(w.waiting))
		}
		w.advance(time.Hour)
		w.commit(len(w.flight))
		if len(w.leader.groups) > 0 {
			t.Fatalf("groups that nobody uses stay: %v", slices.Sorted(maps.Keys(w.leader.groups)))
		}
	})
}

// TestOffsetsAreLastCommit checks that what is fetched is what was committed last, whatever happens in between.
func TestOffsetsAreLastCommit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		want := map[string]record.Offset{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			topic := rapid.SampledFrom([]string{"t", "u"}).Draw(t, "topic")
			index := int32(rapid.IntRange(0, 2).Draw(t, "partition"))
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1, 2:
				offset := record.Offset(rapid.Int64Range(0, 1<<40).Draw(t, "offset"))
				w.handle(&OffsetCommit{Group: "g", Generation: -1, Retention: -1, Topics: []CommitTopic{{
					Name: topic, Partitions: []CommitPartition{{Index: index, Offset: offset, Number: record.Partition(index)}},
				}}})
				want[fmt.Sprint(topic, index)] = offset
			case 3:
				w.commit(len(w.flight))
				w.handle(&OffsetDelete{Group: "g", Topics: []FetchTopic{{Name: topic, Partitions: []int32{index}}}})
				delete(want, fmt.Sprint(topic, index))
			case 4:
				w.commit(len(w.flight))
				w.failover(0)
			case 5:
				w.advance(time.Second)
			}
		}
		w.commit(len(w.flight))
		got := map[string]record.Offset{}
		result := w.leader.fetchOffsets(&OffsetFetch{Group: "g", All: true})
		for _, topic := range result.Topics {
			for _, p := range topic.Partitions {
				got[fmt.Sprint(topic.Name, p.Index)] = p.Offset
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
