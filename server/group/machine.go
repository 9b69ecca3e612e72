package group

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// A Machine holds all groups of one shard. Its methods must not be called concurrently.
type Machine struct {
	config Config
	groups map[string]*entry
	bytes  int // of all live groups

	// The fields below are volatile and of use only while this machine leads.
	leading bool
	alarms  alarms
	check   retentionCheck
	out     Effects // of the call that is under way
}

// An entry is all that is known of one group.
type entry struct {
	stored  *storedGroup                       // replicated; nil before the first generation
	offsets map[string]map[int32]*storedOffset // replicated; by topic and partition
	live    *live                              // volatile; nil when stored says all
}

// Effects is what a request or the passing of time leads to.
type Effects struct {
	// Records are to be replicated in this order and to be replayed once committed.
	Records [][]byte
	// Answers must not be given before all records of this and of earlier Effects are committed: they may depend on any of
	// them. When a record is refused or its outcome is unknown, its leadership has to end (see Follow).
	Answers []Answer
	// Wake is when Tick is due at the latest; zero for never.
	Wake time.Time
}

// An Answer belongs to the request that was handled with its Token.
type Answer struct {
	Token    uint64
	Response Response // may be there beside Err, as the request's documentation says
	Err      error
}

// New returns a machine without groups that does not lead.
func New(config Config) *Machine {
	return &Machine{config: config.withDefaults(), groups: map[string]*entry{}}
}

// Lead begins a leadership: everything that was committed before must have been replayed. Members of all
// groups go on with their generation; each has a full session timeout from now on.
func (m *Machine) Lead(now time.Time) Effects {
	m.forget()
	m.leading = true
	m.check = retentionCheck{next: now.Add(m.config.RetentionCheckInterval)}
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		if e := m.groups[id]; e.stored != nil && len(e.stored.members) > 0 {
			m.enliven(id, e, now)
		}
	}
	return m.effects()
}

// Follow ends a leadership: parked requests are answered with ErrReset.
func (m *Machine) Follow() Effects {
	m.forget()
	m.leading = false
	effects := m.effects()
	effects.Wake = time.Time{}
	return effects
}

// forget drops all that is volatile.
func (m *Machine) forget() {
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		e := m.groups[id]
		if e.live == nil {
			continue
		}
		t := m.at(time.Time{}, e.live)
		for _, member := range e.live.all() {
			t.answerJoin(member, &JoinResult{MemberID: member.id, Generation: NoGeneration}, ErrReset)
			t.answerSync(member, &SyncResult{}, ErrReset)
		}
		e.live.bytes.clear()
		e.live = nil
		m.sweep(id, e)
	}
	m.alarms = nil
}

// Handle decides a request of a client while this machine leads. token names it in the answer, which may come
// with a later call; it must not be 0 and not be that of another parked request.
func (m *Machine) Handle(now time.Time, token uint64, request Request) Effects {
	if !m.leading {
		return Effects{Answers: []Answer{{Token: token, Err: ErrReset}}}
	}
	switch r := request.(type) {
	case *Join:
		m.handleJoin(now, token, r)
	case *Sync:
		m.handleSync(now, token, r)
	case *Heartbeat:
		m.answer(token, nil, m.heartbeat(now, r))
	case *Leave:
		result, err := m.leave(now, r)
		reply(m, token, result, err)
	case *OffsetCommit:
		result, err := m.commitOffsets(now, r)
		reply(m, token, result, err)
	case *OffsetFetch:
		m.answer(token, m.fetchOffsets(r), nil)
	case *OffsetDelete:
		result, err := m.deleteOffsets(r)
		reply(m, token, result, err)
	case *Describe:
		m.answer(token, m.describe(r), nil)
	case *List:
		m.answer(token, m.list(r), nil)
	case *Delete:
		m.answer(token, nil, m.deleteGroup(r))
	case *ForgetPartitions:
		m.forgetPartitions(r)
		m.answer(token, nil, nil)
	default:
		panic(fmt.Sprintf("BUG: group request %T", request))
	}
	return m.effects()
}

// Tick lets time pass while this machine leads: sessions end, rebalances go on without those that are late, offsets
// expire.
func (m *Machine) Tick(now time.Time) Effects {
	if !m.leading {
		return Effects{}
	}
	for a := m.alarms.next(now); a != nil; a = m.alarms.next(now) {
		m.ring(now, a)
	}
	m.expireOffsets(now)
	return m.effects()
}

func (m *Machine) ring(now time.Time, a *alarm) {
	t := m.at(now, a.live)
	switch a.kind {
	case alarmSession:
		t.expireMember(a.member)
	case alarmPending:
		t.dropPending(a.member)
		t.completeIfAllJoined()
		m.retire(a.live)
	case alarmJoin:
		t.endJoin()
		m.retire(a.live)
	case alarmSync:
		t.endSync()
	}
}

func (m *Machine) answer(token uint64, response Response, err error) {
	m.out.Answers = append(m.out.Answers, Answer{Token: token, Response: response, Err: err})
}

// reply answers with a response, or with an error and no response.
func reply[R any](m *Machine, token uint64, response *R, err error) {
	if err != nil {
		m.answer(token, nil, err)
		return
	}
	m.answer(token, response, nil)
}

func (m *Machine) effects() Effects {
	effects := m.out
	m.out = Effects{}
	effects.Wake = m.alarms.wake()
	if due := m.check.due(); effects.Wake.IsZero() || due.Before(effects.Wake) {
		effects.Wake = due
	}
	return effects
}

// find returns the live form of a group, making it from the stored one; nil when there is no such group. A group
// that has only offsets is empty.
func (m *Machine) find(id string, now time.Time) *live {
	e := m.groups[id]
	if e == nil {
		return nil
	}
	if e.live == nil {
		m.enliven(id, e, now)
	}
	return e.live
}

// findOrCreate is find for a request that may begin a group.
func (m *Machine) findOrCreate(id string, now time.Time) (*live, error) {
	if l := m.find(id, now); l != nil {
		return l, nil
	}
	if len(m.groups) >= m.config.MaxGroups {
		return nil, ErrTooManyGroups
	}
	e := &entry{live: newLive(id, now, &m.bytes)}
	m.groups[id] = e
	return e.live, nil
}

// enliven makes the live form of a group.
func (m *Machine) enliven(id string, e *entry, now time.Time) {
	l := newLive(id, now, &m.bytes)
	e.live = l
	if e.stored == nil {
		return
	}
	s := e.stored
	l.generation, l.protocolType, l.protocol, l.since = s.generation, s.protocolType, s.protocol, time.UnixMilli(s.sinceMs).UTC()
	if len(s.members) == 0 {
		return
	}
	l.state = StateStable
	for i := range s.members {
		stored := &s.members[i]
		member := &member{
			id: stored.id, instanceID: stored.instanceID, clientID: stored.clientID, clientHost: stored.clientHost,
			sessionTimeout: stored.sessionTimeout, rebalanceTimeout: stored.rebalanceTimeout,
			protocols: stored.protocols, assignment: stored.assignment,
		}
		l.insert(member)
		m.alarms.set(member.session, now.Add(member.sessionTimeout))
	}
	l.leader = s.leader
}

// retire drops the live form of an empty group that says no more than the stored one.
func (m *Machine) retire(l *live) {
	if l.state != StateEmpty || len(l.pendingJoin) > 0 || l.unstored > 0 {
		return
	}
	if e := m.groups[l.id]; e != nil && e.live == l {
		l.bytes.clear()
		e.live = nil
		m.sweep(l.id, e)
	}
}

// sweep forgets a group of which nothing is left.
func (m *Machine) sweep(id string, e *entry) {
	if e.stored == nil && e.live == nil && len(e.offsets) == 0 {
		delete(m.groups, id)
	}
}
