package group

import (
	"math"
	"time"
)

// prepareOrComplete begins a rebalance, or ends one that everybody waits for.
func (m *Machine) prepareOrComplete(now time.Time, l *live) {
	switch l.state {
	case StateEmpty, StateStable, StateCompletingRebalance:
		m.prepareRebalance(now, l)
	case StatePreparingRebalance:
		m.completeIfAllJoined(now, l)
	case StateDead:
	}
}

// prepareRebalance asks all members to join again.
func (m *Machine) prepareRebalance(now time.Time, l *live) {
	if l.state == StateCompletingRebalance {
		m.propagate(now, l, nil, ErrRebalanceInProgress)
	}
	clear(l.pendingSync)
	m.alarms.off(l.sync)
	initial := l.state == StateEmpty
	l.transition(StatePreparingRebalance, now)
	switch {
	case !initial:
		if l.hasAllJoined() {
			m.completeJoin(now, l)
		} else {
			m.alarms.set(l.join, now.Add(l.rebalanceTimeout()))
		}
	case m.config.InitialRebalanceDelay == 0:
		m.completeJoin(now, l)
	default:
		step := m.config.InitialRebalanceDelay
		l.delay = initialDelay{step: step, remaining: max(l.rebalanceTimeout()-step, 0)}
		m.alarms.set(l.join, now.Add(step))
	}
}

// endJoin is called when the time to join is over.
func (m *Machine) endJoin(now time.Time, l *live) {
	if l.state != StatePreparingRebalance {
		return
	}
	d := &l.delay
	if l.previous == StateEmpty && d.extended && d.remaining > 0 {
		d.extended = false
		step := min(m.config.InitialRebalanceDelay, d.remaining)
		d.remaining = max(d.remaining-d.step, 0)
		d.step = step
		m.alarms.set(l.join, now.Add(step))
		return
	}
	m.completeJoin(now, l)
}

// completeIfAllJoined ends a rebalance when nobody is missing. The first rebalance of a group always takes its time.
func (m *Machine) completeIfAllJoined(now time.Time, l *live) {
	if l.state == StatePreparingRebalance && l.previous != StateEmpty && l.hasAllJoined() {
		m.completeJoin(now, l)
	}
}

// completeJoin begins the next generation with those who joined.
func (m *Machine) completeJoin(now time.Time, l *live) {
	m.alarms.off(l.join)
	l.delay = initialDelay{}
	for _, member := range l.all() {
		if member.joinToken == 0 && member.instanceID == "" {
			m.remove(l, member)
		}
	}
	if len(l.members) > 0 && !l.electLeader() {
		// Only static members are left and none came back: they stay until their sessions end.
		m.alarms.set(l.join, now.Add(l.rebalanceTimeout()))
		return
	}
	if l.generation == math.MaxInt32 {
		l.generation = 0
	}
	l.generation++
	clear(l.pendingSync)
	if len(l.members) == 0 {
		l.protocol, l.leader = "", ""
		l.transition(StateEmpty, now)
		m.store(l)
		return
	}
	l.protocol = l.choose()
	l.transition(StateCompletingRebalance, now)
	for _, member := range l.all() {
		m.answerJoin(l, member, l.joinResult(member), nil)
		m.alarms.set(member.session, now.Add(member.sessionTimeout))
		member.isNew = false
		l.pendingSync[member.id] = true
	}
	m.alarms.set(l.sync, now.Add(l.rebalanceTimeout()))
}

// remove takes a member out of the group. Whatever it has parked is answered: if it is still there it will join again.
func (m *Machine) remove(l *live, member *member) {
	m.answerJoin(l, member, &JoinResult{Generation: NoGeneration}, ErrUnknownMember)
	m.answerSync(member, &SyncResult{}, ErrUnknownMember)
	m.alarms.off(member.session)
	delete(l.members, member.id)
	delete(l.pendingSync, member.id)
	if member.instanceID != "" {
		delete(l.static, member.instanceID)
	}
	l.count(member, -1)
	l.bytes -= member.bytes()
	if l.isLeader(member.id) {
		l.leader = ""
		if rest := l.all(); len(rest) > 0 {
			l.leader = rest[0].id
		}
	}
}

// afterRemoval goes on with a group that lost members.
func (m *Machine) afterRemoval(now time.Time, l *live) {
	switch l.state {
	case StateStable, StateCompletingRebalance:
		m.prepareRebalance(now, l)
	case StatePreparingRebalance:
		m.completeIfAllJoined(now, l)
	case StateEmpty, StateDead:
	}
}

// expireMember is called when a member's session timeout, counted from its last sign, is over.
func (m *Machine) expireMember(now time.Time, l *live, id string) {
	member := l.members[id]
	if member == nil {
		return
	}
	parked := member.joinToken != 0 || member.syncToken != 0
	if parked && !member.isNew {
		return // it waits for us; its session begins anew when it is answered
	}
	m.remove(l, member)
	m.afterRemoval(now, l)
}

// store emits the group as it is now.
func (m *Machine) store(l *live) {
	m.emit(appendGroupRecord(nil, l.id, l.stored()))
	l.unstored++
}

// stored returns the replicated form of the group.
func (l *live) stored() *storedGroup {
	s := &storedGroup{
		generation: l.generation, protocolType: l.protocolType, protocol: l.protocol, leader: l.leader, sinceMs: l.since.UnixMilli(),
	}
	for _, member := range l.all() {
		s.members = append(s.members, storedMember{
			id: member.id, instanceID: member.instanceID, clientID: member.clientID, clientHost: member.clientHost,
			sessionTimeout: member.sessionTimeout, rebalanceTimeout: member.rebalanceTimeout,
			protocols: member.protocols, assignment: member.assignment,
		})
	}
	return s
}

func (m *Machine) emit(entry []byte) { m.out.Records = append(m.out.Records, entry) }
