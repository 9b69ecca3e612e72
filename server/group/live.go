package group

import (
	"cmp"
	"slices"
	"time"
)

// A live group is what the leader of the shard knows of a group beyond what is replicated: who is parked, who has
// to be heard of until when, and the generation that is being made. It dies with the leadership.
type live struct {
	id            string
	state         State
	previous      State // before state
	since         time.Time
	generation    int32
	protocolType  string // empty before the first member
	protocol      string // chosen for this generation
	leader        string // member id
	members       map[string]*member
	static        map[string]string // member id by instance id
	pendingJoin   map[string]*alarm // by the member id that was given out
	pendingSync   map[string]bool   // members that have not asked for this generation's assignment
	protocolCount map[string]int    // how many members speak a protocol
	awaitingJoin  int               // members whose join is parked
	joinedAt      int               // counts members, for their order
	bytes         ledger
	unstored      int // own group records that are not replayed yet
	join, sync    *alarm
	delay         initialDelay
}

// initialDelay is how a new group waits for more members.
type initialDelay struct {
	step      time.Duration // of the current wait
	remaining time.Duration // that may be waited after it
	extended  bool          // a member came: wait once more
}

// A member is one member of a live group.
type member struct {
	order            int
	id               string
	instanceID       string
	clientID         string
	clientHost       string
	sessionTimeout   time.Duration
	rebalanceTimeout time.Duration
	protocols        []Protocol
	assignment       []byte
	joinToken        uint64 // of the parked Join; 0 for none
	syncToken        uint64 // of the parked Sync; 0 for none
	isNew            bool   // has not seen a generation yet
	session          *alarm
}

// newLive returns an empty group whose bytes are counted in all.
func newLive(id string, now time.Time, all *int) *live {
	l := &live{
		id: id, state: StateEmpty, previous: StateDead, since: now,
		members: map[string]*member{}, static: map[string]string{}, pendingJoin: map[string]*alarm{},
		pendingSync: map[string]bool{}, protocolCount: map[string]int{},
	}
	l.bytes.all = all
	l.bytes.more(liveOverhead + len(id))
	l.join, l.sync = newAlarm(alarmJoin, l, ""), newAlarm(alarmSync, l, "")
	return l
}

// all returns the members in the order in which they came.
func (l *live) all() []*member {
	members := make([]*member, 0, len(l.members))
	for _, m := range l.members {
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.order, b.order) })
	return members
}

func (l *live) isLeader(id string) bool { return id != "" && l.leader == id }

func (l *live) hasAllJoined() bool {
	return len(l.members) == l.awaitingJoin && len(l.pendingJoin) == 0
}

// rebalanceTimeout returns the longest that any member asks for.
func (l *live) rebalanceTimeout() time.Duration {
	var longest time.Duration
	for _, m := range l.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

func (l *live) transition(to State, now time.Time) {
	l.previous, l.state, l.since = l.state, to, now
}

// insert adds a member; its session alarm is made but off.
func (l *live) insert(m *member) {
	m.order = l.joinedAt
	l.joinedAt++
	m.session = newAlarm(alarmSession, l, m.id)
	l.members[m.id] = m
	l.bytes.said(m.bytes())
	l.bytes.more(len(m.assignment))
	if m.instanceID != "" {
		l.static[m.instanceID] = m.id
	}
	if l.leader == "" {
		l.leader = m.id
	}
	l.count(m, 1)
}

func (l *live) count(m *member, n int) {
	for _, p := range m.protocols {
		if l.protocolCount[p.Name] += n; l.protocolCount[p.Name] == 0 {
			delete(l.protocolCount, p.Name)
		}
	}
}

// supports reports whether a member that speaks these protocols may join: all members have one of them in common.
func (l *live) supports(protocolType string, protocols []Protocol) bool {
	if l.state == StateEmpty {
		return protocolType != "" && len(protocols) > 0
	}
	return l.protocolType == protocolType && slices.ContainsFunc(protocols, func(p Protocol) bool {
		return l.protocolCount[p.Name] == len(l.members)
	})
}

// choose returns the protocol that gets the most votes: each member votes for the first of its own that all
// speak. Of equals the one that was voted for first wins.
func (l *live) choose() string {
	votes := map[string]int{}
	best := ""
	for _, m := range l.all() {
		for _, p := range m.protocols {
			if l.protocolCount[p.Name] == len(l.members) {
				votes[p.Name]++
				if best == "" {
					best = p.Name
				}
				break
			}
		}
	}
	for _, m := range l.all() {
		for _, p := range m.protocols {
			if votes[p.Name] > votes[best] {
				best = p.Name
			}
		}
	}
	return best
}

// electLeader makes sure that the leader is one whose join is parked. It reports whether there is one.
func (l *live) electLeader() bool {
	if l.leader == "" {
		return false
	}
	if m := l.members[l.leader]; m != nil && m.joinToken != 0 {
		return true
	}
	for _, m := range l.all() {
		if m.joinToken != 0 {
			l.leader = m.id
			return true
		}
	}
	return false
}

// check returns why a member may not speak for itself, or nil.
func (l *live) check(memberID, instanceID string) error {
	if instanceID != "" {
		existing, ok := l.static[instanceID]
		if !ok {
			return ErrUnknownMember
		}
		if existing != memberID {
			return ErrFencedInstance
		}
	}
	if l.members[memberID] == nil {
		return ErrUnknownMember
	}
	return nil
}

// joinMembers returns what the leader of a generation is told.
func (l *live) joinMembers() []JoinMember {
	members := make([]JoinMember, 0, len(l.members))
	for _, m := range l.all() {
		members = append(members, JoinMember{ID: m.id, InstanceID: m.instanceID, Metadata: m.metadata(l.protocol)})
	}
	return members
}

// metadata returns what the member says in a protocol; nil when it does not speak it.
func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

// matches reports whether the member said the same before.
func (m *member) matches(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && string(a.Metadata) == string(b.Metadata)
	})
}

// assign gives a member its assignment, nil for none.
func (l *live) assign(m *member, assignment []byte) {
	l.bytes.more(len(assignment) - len(m.assignment))
	m.assignment = assignment
}

// assigned returns the bytes of all assignments.
func (l *live) assigned() int {
	n := 0
	for _, m := range l.members {
		n += len(m.assignment)
	}
	return n
}

// A ledger counts the bytes that a live group holds, and those of all groups of the machine.
type ledger struct {
	members int // what members say of themselves
	others  int // assignments, ids that were given out, the group itself
	all     *int
}

func (b *ledger) said(n int) { b.members += n; *b.all += n }
func (b *ledger) more(n int) { b.others += n; *b.all += n }

// clear takes the group out of the count of all.
func (b *ledger) clear() {
	*b.all -= b.members + b.others
	b.members, b.others = 0, 0
}

const (
	// liveOverhead is counted for each live group beside its bytes: maps and alarms.
	liveOverhead = 1024
	// pendingOverhead is counted for each id that was given out.
	pendingOverhead = 256
)

// memberOverhead is counted for each member beside its bytes, and for each of its protocols.
const memberOverhead = 64

func (m *member) bytes() int {
	return memberOverhead + len(m.id) + len(m.instanceID) + len(m.clientID) + len(m.clientHost) + protocolBytes(m.protocols)
}

func protocolBytes(protocols []Protocol) int {
	n := 0
	for _, p := range protocols {
		n += memberOverhead + len(p.Name) + len(p.Metadata)
	}
	return n
}

// distinct returns the protocols without those whose name came before.
func distinct(protocols []Protocol) []Protocol {
	kept := make([]Protocol, 0, len(protocols))
	seen := make(map[string]bool, len(protocols))
	for _, p := range protocols {
		if !seen[p.Name] {
			seen[p.Name] = true
			kept = append(kept, p)
		}
	}
	return kept
}
