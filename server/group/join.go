package group

import (
	"time"
	"unicode/utf8"
)

// answerJoin answers a member's parked join, if there is one.
func (t turn) answerJoin(member *member, result *JoinResult, err error) bool {
	if member.joinToken == 0 {
		return false
	}
	t.answer(member.joinToken, result, err)
	member.joinToken = 0
	t.live.awaitingJoin--
	return true
}

// parkJoin parks a join; one that was parked before (its connection is probably gone) is told to come again.
func (t turn) parkJoin(member *member, token uint64) {
	t.answerJoin(member, &JoinResult{MemberID: member.id, Generation: NoGeneration}, ErrRebalanceInProgress)
	member.joinToken = token
	t.live.awaitingJoin++
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
	case len(r.InstanceID) > maxNameBytes || len(r.Protocols) > maxProtocols || protocolBytes(r.Protocols) > m.config.MaxMemberBytes:
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
	t := m.at(now, l)
	switch {
	case !t.hasRoom(r):
		refuse(r.MemberID, ErrTooManyGroups)
	case !t.accepts(r):
		if member := l.members[r.MemberID]; member != nil {
			t.remove(member)
			t.afterRemoval()
		}
		refuse("", ErrGroupMaxSize)
	case !l.supports(r.ProtocolType, r.Protocols):
		refuse(r.MemberID, ErrInconsistentProtocol)
	case r.MemberID == "":
		t.joinNew(token, r)
	default:
		t.joinAgain(token, r)
	}
}

// hasRoom reports whether what is held of all groups may grow by what a join brings.
func (t turn) hasRoom(r *Join) bool {
	existing := t.live.members[r.MemberID]
	if existing == nil && r.InstanceID != "" {
		existing = t.live.members[t.live.static[r.InstanceID]]
	}
	grows := protocolBytes(r.Protocols)
	if existing != nil {
		grows -= protocolBytes(existing.protocols)
	} else {
		grows += pendingOverhead + memberOverhead + len(r.InstanceID) + len(r.ClientID) + len(r.ClientHost)
	}
	return grows <= 0 || t.bytes+grows <= t.config.MaxBytes
}

// accepts reports whether the group has room for whoever joins.
func (t turn) accepts(r *Join) bool {
	existing := t.live.members[r.MemberID]
	size := t.live.bytes.members + protocolBytes(r.Protocols)
	if existing != nil {
		size -= protocolBytes(existing.protocols)
	}
	if size > t.config.MaxGroupBytes/2 {
		return false // the other half is for assignments
	}
	switch t.live.state {
	case StatePreparingRebalance:
		// Those who are parked count, not the members: when the limit was lowered the last to come back are left out.
		return existing != nil && existing.joinToken != 0 || t.live.awaitingJoin < t.config.MaxMembers
	case StateCompletingRebalance, StateStable:
		return existing != nil || len(t.live.members) < t.config.MaxMembers
	case StateEmpty, StateDead:
	}
	return true
}

// joinNew is the join of one who has no member id yet.
func (t turn) joinNew(token uint64, r *Join) {
	if r.InstanceID != "" {
		id := r.InstanceID + "-" + t.config.NewMemberID()
		if old := t.live.members[t.live.static[r.InstanceID]]; old != nil {
			t.replaceStatic(token, r, old, id)
			return
		}
		t.addMember(token, r, id)
		return
	}
	id := cut(r.ClientID, maxNameBytes) + "-" + t.config.NewMemberID()
	if !r.RequireKnownMember {
		t.addMember(token, r, id)
		return
	}
	if len(t.live.members)+len(t.live.pendingJoin) >= t.config.MaxMembers {
		t.answer(token, &JoinResult{Generation: NoGeneration}, ErrGroupMaxSize)
		return
	}
	pending := newAlarm(alarmPending, t.live, id)
	t.live.pendingJoin[id] = pending
	t.live.bytes.more(pendingOverhead + len(id))
	t.alarms.set(pending, t.now.Add(r.SessionTimeout))
	t.answer(token, &JoinResult{MemberID: id, Generation: NoGeneration}, ErrMemberIDRequired)
}

// joinAgain is the join of one who says that it has a member id.
func (t turn) joinAgain(token uint64, r *Join) {
	if t.live.pendingJoin[r.MemberID] != nil && r.InstanceID == "" {
		t.addMember(token, r, r.MemberID)
		return
	}
	if err := t.live.check(r.MemberID, r.InstanceID); err != nil {
		t.answer(token, &JoinResult{MemberID: r.MemberID, Generation: NoGeneration}, err)
		return
	}
	member := t.live.members[r.MemberID]
	protocols := distinct(r.Protocols)
	current := false
	switch t.live.state {
	case StateCompletingRebalance:
		// With the same metadata it probably did not get its first answer.
		current = member.matches(protocols)
	case StateStable:
		// The leader's join asks for a new assignment though nothing that is seen here changed.
		current = !t.live.isLeader(member.id) && member.matches(protocols)
	case StatePreparingRebalance, StateEmpty, StateDead:
	}
	if current {
		t.answer(token, t.live.joinResult(member), nil)
		return
	}
	t.updateMember(member, r)
	t.parkJoin(member, token)
	t.prepareOrComplete()
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

// dropPending forgets an id that was given out. It reports whether there was such an id.
func (t turn) dropPending(id string) bool {
	pending := t.live.pendingJoin[id]
	if pending == nil {
		return false
	}
	t.alarms.off(pending)
	delete(t.live.pendingJoin, id)
	t.live.bytes.more(-pendingOverhead - len(id))
	return true
}

// addMember adds a member and parks its join.
func (t turn) addMember(token uint64, r *Join, id string) {
	t.dropPending(id)
	if len(t.live.members) == 0 {
		t.live.protocolType = r.ProtocolType
	}
	member := &member{
		id: id, instanceID: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
		sessionTimeout: r.SessionTimeout, rebalanceTimeout: r.RebalanceTimeout, protocols: distinct(r.Protocols), isNew: true,
	}
	if t.live.state == StatePreparingRebalance && t.live.previous == StateEmpty {
		t.live.delay.extended = true
	}
	t.live.insert(member)
	t.parkJoin(member, token)
	// It cannot send heartbeats before it knows its id, and a connection that breaks is not seen here: whoever gave up
	// and came again with another id must not be waited for as long as it likes.
	t.alarms.set(member.session, t.now.Add(t.config.NewMemberJoinTimeout))
	t.prepareOrComplete()
}

// updateMember takes over what a member says in a new join.
func (t turn) updateMember(member *member, r *Join) {
	t.live.bytes.said(-member.bytes())
	t.live.count(member, -1)
	member.protocols = distinct(r.Protocols)
	member.sessionTimeout, member.rebalanceTimeout = r.SessionTimeout, r.RebalanceTimeout
	t.live.count(member, 1)
	t.live.bytes.said(member.bytes())
}

// replaceStatic gives the place of a static member to a new member id: its client was started anew.
func (t turn) replaceStatic(token uint64, r *Join, old *member, id string) {
	leader := t.live.leader
	t.answerJoin(old, &JoinResult{MemberID: old.id, Generation: NoGeneration}, ErrFencedInstance)
	t.answerSync(old, &SyncResult{}, ErrFencedInstance)
	t.alarms.off(old.session)
	renewed := *old
	renewed.id = id
	renewed.session = newAlarm(alarmSession, t.live, id)
	delete(t.live.members, old.id)
	t.live.members[id] = &renewed
	t.live.static[r.InstanceID] = id
	t.live.bytes.said(len(id) - len(old.id))
	if t.live.isLeader(old.id) {
		t.live.leader = id
	}
	if t.live.pendingSync[old.id] {
		delete(t.live.pendingSync, old.id)
		t.live.pendingSync[id] = true
	}
	t.alarms.set(renewed.session, t.now.Add(r.SessionTimeout))
	t.updateMember(&renewed, r)
	switch t.live.state {
	case StateStable:
		if t.live.choose() != t.live.protocol {
			t.parkJoin(&renewed, token)
			t.prepareOrComplete()
			return
		}
		// Nothing changes for the others: the member goes on with its predecessor's assignment.
		t.store()
		result := t.live.joinResult(&renewed)
		switch {
		case !r.CanSkipAssignment:
			// An older client that leads would assign anew: it is told of its predecessor as the leader.
			result.Leader, result.Members = leader, nil
		case t.live.isLeader(id):
			result.SkipAssignment = true
		}
		t.answer(token, result, nil)
	case StateCompletingRebalance:
		// The leader may be about to assign to the old id.
		t.parkJoin(&renewed, token)
		t.prepareRebalance()
	case StatePreparingRebalance, StateEmpty, StateDead:
		t.parkJoin(&renewed, token)
		t.completeIfAllJoined()
	}
}

const (
	// maxProtocols bounds the protocols of one join.
	maxProtocols = 1000
	// maxNameBytes bounds what a member's id begins with: its client's id, of which the rest is left out, or its instance id.
	// The ids are in answers to all members, and those of old versions have room for 32,767 bytes.
	maxNameBytes = 255
)

// cut returns the begin of a text, at most n bytes, without a part of a character at its end.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
