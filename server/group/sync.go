package group

import "time"

// answerSync answers a member's parked sync, if there is one.
func (m *Machine) answerSync(member *member, result *SyncResult, err error) bool {
	if member.syncToken == 0 {
		return false
	}
	m.answer(member.syncToken, result, err)
	member.syncToken = 0
	return true
}

func (m *Machine) handleSync(now time.Time, token uint64, r *Sync) {
	l, err := m.speaker(r.Group, r.MemberID, r.InstanceID, now)
	if err == nil {
		switch {
		case r.Generation != l.generation:
			err = ErrIllegalGeneration
		case r.ProtocolType != "" && l.protocolType != "" && r.ProtocolType != l.protocolType,
			r.Protocol != "" && l.protocol != "" && r.Protocol != l.protocol:
			err = ErrInconsistentProtocol
		case l.state == StatePreparingRebalance:
			err = ErrRebalanceInProgress
		}
	}
	if err != nil {
		m.answer(token, &SyncResult{}, err)
		return
	}
	member := l.members[r.MemberID]
	delete(l.pendingSync, member.id)
	if len(l.pendingSync) == 0 {
		m.alarms.off(l.sync)
	}
	if l.state == StateStable {
		m.answer(token, l.syncResult(member), nil)
		return
	}
	m.answerSync(member, &SyncResult{}, ErrRebalanceInProgress) // a former one, whose connection is probably gone
	member.syncToken = token
	if l.isLeader(member.id) {
		m.assign(now, l, r.Assignments)
	}
}

// speaker returns the group for a request of one of its members, or why that may not speak. A group that is
// not known or empty knows no members, which is not told apart.
func (m *Machine) speaker(groupID, memberID, instanceID string, now time.Time) (*live, error) {
	if groupID == "" {
		return nil, ErrInvalidGroupID
	}
	e := m.groups[groupID]
	if e == nil || e.live == nil || e.live.state == StateEmpty {
		return nil, ErrUnknownMember
	}
	return e.live, e.live.check(memberID, instanceID)
}

// assign takes the leader's assignments: the group is stable once they are stored.
func (m *Machine) assign(now time.Time, l *live, assignments []Assignment) {
	assigned := make(map[string][]byte, len(assignments))
	size := l.bytes
	for _, a := range assignments {
		if l.members[a.MemberID] != nil {
			size += len(a.Data) - len(assigned[a.MemberID])
			assigned[a.MemberID] = a.Data
		}
	}
	if size > m.config.MaxGroupBytes {
		m.propagate(now, l, nil, ErrGroupTooLarge)
		m.prepareRebalance(now, l)
		return
	}
	l.transition(StateStable, now)
	m.propagate(now, l, assigned, nil)
	m.store(l)
}

// propagate gives members their assignments and answers the syncs that are parked.
func (m *Machine) propagate(now time.Time, l *live, assigned map[string][]byte, err error) {
	for _, member := range l.all() {
		member.assignment = assigned[member.id]
		result := &SyncResult{}
		if err == nil {
			result = l.syncResult(member)
		}
		if m.answerSync(member, result, err) {
			// It may have been over while we let the member wait.
			m.alarms.set(member.session, now.Add(member.sessionTimeout))
		}
	}
}

func (l *live) syncResult(member *member) *SyncResult {
	return &SyncResult{ProtocolType: l.protocolType, Protocol: l.protocol, Assignment: member.assignment}
}

// endSync is called when the time to sync is over: those who did not are taken out.
func (m *Machine) endSync(now time.Time, l *live) {
	if l.state != StateCompletingRebalance && l.state != StateStable || len(l.pendingSync) == 0 {
		return
	}
	for _, member := range l.all() {
		if l.pendingSync[member.id] {
			m.remove(l, member)
		}
	}
	m.prepareRebalance(now, l)
}

func (m *Machine) heartbeat(now time.Time, r *Heartbeat) error {
	l, err := m.speaker(r.Group, r.MemberID, r.InstanceID, now)
	if err != nil {
		return err
	}
	if r.Generation != l.generation {
		return ErrIllegalGeneration
	}
	member := l.members[r.MemberID]
	m.alarms.set(member.session, now.Add(member.sessionTimeout))
	if l.state == StatePreparingRebalance {
		return ErrRebalanceInProgress
	}
	return nil
}

func (m *Machine) leave(now time.Time, r *Leave) (*LeaveResult, error) {
	if r.Group == "" {
		return nil, ErrInvalidGroupID
	}
	result := &LeaveResult{Members: make([]LeaveMemberResult, len(r.Members))}
	var l *live
	if e := m.groups[r.Group]; e != nil {
		l = e.live
	}
	left := false
	for i, leaver := range r.Members {
		answer := &result.Members[i]
		answer.MemberID, answer.InstanceID = leaver.MemberID, leaver.InstanceID
		if l == nil {
			answer.Err = ErrUnknownMember
		} else {
			answer.Err = m.leaveOne(l, leaver)
		}
		left = left || answer.Err == nil
	}
	if left {
		m.afterRemoval(now, l)
		m.retire(l)
	}
	return result, nil
}

func (m *Machine) leaveOne(l *live, leaver LeaveMember) error {
	id := leaver.MemberID
	switch {
	case id == "":
		// An administrator names a static member alone.
		if id = l.static[leaver.InstanceID]; id == "" {
			return ErrUnknownMember
		}
	case l.pendingJoin[id] != nil:
		m.alarms.off(l.pendingJoin[id])
		delete(l.pendingJoin, id)
		return nil
	default:
		if err := l.check(id, leaver.InstanceID); err != nil {
			return err
		}
	}
	m.remove(l, l.members[id])
	return nil
}
