package group

import (
	"time"
)

// answerJoin answers a member's parked join, if there is one.
func (m *Machine) answerJoin(l *live, member *member, result *JoinResult, err error) bool {
	if member.joinToken == 0 {
		return false
	}
	m.answer(member.joinToken, result, err)
	member.joinToken = 0
	l.awaitingJoin--
	return true
}

// parkJoin parks a join; one that was parked before (its connection is probably gone) is told to come again.
func (m *Machine) parkJoin(l *live, member *member, token uint64) {
	m.answerJoin(l, member, &JoinResult{MemberID: member.id, Generation: NoGeneration}, ErrRebalanceInProgress)
	member.joinToken = token
	l.awaitingJoin++
}

func (m *Machine) handleJoin(now time.Time, token uint64, r *Join) {
	refuse := func(memberID string, err error) {
		m.answer(token, &JoinResult{MemberID: memberID, Generation: NoGeneration}, err)
	}
	switch {
	case r.Group == "":
		refuse(r.MemberID, ErrInvalidGroupID)
		return
	case r.SessionTimeout < m.config.MinSessionTimeout || r.SessionTimeout > m.config.MaxSessionTimeout:
		refuse(r.MemberID, ErrInvalidSessionTimeout)
		return
	case len(r.Protocols) > maxProtocols || protocolBytes(r.Protocols) > m.config.MaxMemberBytes:
		refuse(r.MemberID, ErrGroupTooLarge)
		return
	}
	var l *live
	var err error
	if r.MemberID == "" {
		l, err = m.findOrCreate(r.Group, now)
	} else if l = m.find(r.Group, now); l == nil {
		err = ErrUnknownMember
	}
	if err != nil {
		refuse(r.MemberID, err)
		return
	}
	defer m.retire(l)
	switch {
	case !m.accepts(l, r):
		if member := l.members[r.MemberID]; member != nil {
			m.remove(l, member)
			m.completeIfAllJoined(now, l)
		}
		refuse("", ErrGroupMaxSize)
	case !l.supports(r.ProtocolType, r.Protocols):
		refuse(r.MemberID, ErrInconsistentProtocol)
	case r.MemberID == "":
		m.joinNew(now, token, l, r)
	default:
		m.joinAgain(now, token, l, r)
	}
}

// accepts reports whether the group has room for whoever joins.
func (m *Machine) accepts(l *live, r *Join) bool {
	existing := l.members[r.MemberID]
	size := l.bytes + protocolBytes(r.Protocols)
	if existing != nil {
		size -= protocolBytes(existing.protocols)
	}
	if size > m.config.MaxGroupBytes/2 {
		return false // the other half is for assignments
	}
	switch l.state {
	case StatePreparingRebalance:
		// Those who are parked count, not the members: when the limit was lowered the last to come back are left out.
		return existing != nil && existing.joinToken != 0 || l.awaitingJoin < m.config.MaxMembers
	case StateCompletingRebalance, StateStable:
		return existing != nil || len(l.members) < m.config.MaxMembers
	case StateEmpty, StateDead:
	}
	return true
}

// joinNew is the join of one who has no member id yet.
func (m *Machine) joinNew(now time.Time, token uint64, l *live, r *Join) {
	if r.InstanceID != "" {
		id := r.InstanceID + "-" + m.config.NewMemberID()
		if old := l.members[l.static[r.InstanceID]]; old != nil {
			m.replaceStatic(now, token, l, r, old, id)
			return
		}
		m.addMember(now, token, l, r, id)
		return
	}
	id := r.ClientID + "-" + m.config.NewMemberID()
	if !r.RequireKnownMember {
		m.addMember(now, token, l, r, id)
		return
	}
	if len(l.members)+len(l.pendingJoin) >= m.config.MaxMembers {
		m.answer(token, &JoinResult{Generation: NoGeneration}, ErrGroupMaxSize)
		return
	}
	pending := newAlarm(alarmPending, l, id)
	l.pendingJoin[id] = pending
	m.alarms.set(pending, now.Add(r.SessionTimeout))
	m.answer(token, &JoinResult{MemberID: id, Generation: NoGeneration}, ErrMemberIDRequired)
}

// joinAgain is the join of one who says that it has a member id.
func (m *Machine) joinAgain(now time.Time, token uint64, l *live, r *Join) {
	if l.pendingJoin[r.MemberID] != nil && r.InstanceID == "" {
		m.addMember(now, token, l, r, r.MemberID)
		return
	}
	if err := l.check(r.MemberID, r.InstanceID); err != nil {
		m.answer(token, &JoinResult{MemberID: r.MemberID, Generation: NoGeneration}, err)
		return
	}
	member := l.members[r.MemberID]
	protocols := distinct(r.Protocols)
	current := false
	switch l.state {
	case StateCompletingRebalance:
		// With the same metadata it probably did not get its first answer.
		current = member.matches(protocols)
	case StateStable:
		// The leader's join asks for a new assignment though nothing that is seen here changed.
		current = !l.isLeader(member.id) && member.matches(protocols)
	case StatePreparingRebalance, StateEmpty, StateDead:
	}
	if current {
		m.answer(token, l.joinResult(member), nil)
		return
	}
	m.updateMember(l, member, r)
	m.parkJoin(l, member, token)
	m.prepareOrComplete(now, l)
}

// joinResult returns what a member is told of the current generation.
func (l *live) joinResult(member *member) *JoinResult {
	result := &JoinResult{
		MemberID: member.id, Generation: l.generation, ProtocolType: l.protocolType, Protocol: l.protocol, Leader: l.leader,
	}
	if l.isLeader(member.id) {
		result.Members = l.joinMembers()
	}
	return result
}

// addMember adds a member and parks its join.
func (m *Machine) addMember(now time.Time, token uint64, l *live, r *Join, id string) {
	if pending := l.pendingJoin[id]; pending != nil {
		m.alarms.off(pending)
		delete(l.pendingJoin, id)
	}
	if len(l.members) == 0 {
		l.protocolType = r.ProtocolType
	}
	member := &member{
		id: id, instanceID: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
		sessionTimeout: r.SessionTimeout, rebalanceTimeout: r.RebalanceTimeout, protocols: distinct(r.Protocols), isNew: true,
	}
	if l.state == StatePreparingRebalance && l.previous == StateEmpty {
		l.delay.extended = true
	}
	l.insert(member)
	m.parkJoin(l, member, token)
	// It cannot send heartbeats before it knows its id, and a connection that breaks is not seen here: whoever gave up
	// and came again with another id must not be waited for as long as it likes.
	m.alarms.set(member.session, now.Add(m.config.NewMemberJoinTimeout))
	m.prepareOrComplete(now, l)
}

// updateMember takes over what a member says in a new join.
func (m *Machine) updateMember(l *live, member *member, r *Join) {
	l.bytes -= member.bytes()
	l.count(member, -1)
	member.protocols = distinct(r.Protocols)
	member.sessionTimeout, member.rebalanceTimeout = r.SessionTimeout, r.RebalanceTimeout
	l.count(member, 1)
	l.bytes += member.bytes()
}

// replaceStatic gives the place of a static member to a new member id: its client was started anew.
func (m *Machine) replaceStatic(now time.Time, token uint64, l *live, r *Join, old *member, id string) {
	leader := l.leader
	m.answerJoin(l, old, &JoinResult{MemberID: old.id, Generation: NoGeneration}, ErrFencedInstance)
	m.answerSync(old, &SyncResult{}, ErrFencedInstance)
	m.alarms.off(old.session)
	renewed := *old
	renewed.id = id
	renewed.session = newAlarm(alarmSession, l, id)
	delete(l.members, old.id)
	l.members[id] = &renewed
	l.static[r.InstanceID] = id
	l.bytes += len(id) - len(old.id)
	if l.isLeader(old.id) {
		l.leader = id
	}
	if l.pendingSync[old.id] {
		delete(l.pendingSync, old.id)
		l.pendingSync[id] = true
	}
	m.alarms.set(renewed.session, now.Add(r.SessionTimeout))
	m.updateMember(l, &renewed, r)
	switch l.state {
	case StateStable:
		if l.choose() != l.protocol {
			m.parkJoin(l, &renewed, token)
			m.prepareOrComplete(now, l)
			return
		}
		// Nothing changes for the others: the member goes on with its predecessor's assignment.
		m.store(l)
		result := l.joinResult(&renewed)
		switch {
		case !r.CanSkipAssignment:
			// An older client that leads would assign anew: it is told of its predecessor as the leader.
			result.Leader, result.Members = leader, nil
		case l.isLeader(id):
			result.SkipAssignment = true
		}
		m.answer(token, result, nil)
	case StateCompletingRebalance:
		// The leader may be about to assign to the old id.
		m.parkJoin(l, &renewed, token)
		m.prepareRebalance(now, l)
	case StatePreparingRebalance, StateEmpty, StateDead:
		m.parkJoin(l, &renewed, token)
		m.completeIfAllJoined(now, l)
	}
}

// maxProtocols bounds the protocols of one join.
const maxProtocols = 1000
