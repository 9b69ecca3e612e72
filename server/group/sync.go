package group

import "time"

// answerSync answers a member's parked sync, if there is one.
func (t turn) answerSync(member *member, result *SyncResult, err error) bool {
	if member.syncToken == 0 {
		return false
	}
	t.answer(member.syncToken, result, err)
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
	t := m.at(now, l)
	member := l.members[r.MemberID]
	delete(l.pendingSync, member.id)
	if len(l.pendingSync) == 0 {
		m.alarms.off(l.sync)
	}
	if l.state == StateStable {
		m.answer(token, l.syncResult(member), nil)
		return
	}
	t.answerSync(member, &SyncResult{}, ErrRebalanceInProgress) // a former one, whose connection is probably gone
	member.syncToken = token
	if l.isLeader(member.id) {
		t.assign(r.Assignments)
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
func (t turn) assign(assignments []Assignment) {
	assigned := make(map[string][]byte, len(assignments))
	size := 0
	for _, a := range assignments {
		if t.live.members[a.MemberID] != nil {
			size += len(a.Data) - len(assigned[a.MemberID])
			assigned[a.MemberID] = a.Data
		}
	}
	var refusal error
	switch {
	case t.live.bytes.members+size > t.config.MaxGroupBytes:
		refusal = ErrGroupTooLarge
	case t.bytes+size-t.live.assigned() > t.config.MaxBytes:
		refusal = ErrTooManyGroups
	}
	if refusal != nil {
		t.propagate(nil, refusal)
		t.prepareRebalance()
		return
	}
	t.live.transition(StateStable, t.now)
	t.propagate(assigned, nil)
	t.store()
}

// propagate gives members their assignments and answers the syncs that are parked.
func (t turn) propagate(assigned map[string][]byte, err error) {
	for _, member := range t.live.all() {
		t.live.assign(member, assigned[member.id])
		result := &SyncResult{}
		if err == nil {
			result = t.live.syncResult(member)
		}
		if t.answerSync(member, result, err) {
			// It may have been over while we let the member wait.
			t.alarms.set(member.session, t.now.Add(member.sessionTimeout))
		}
	}
}

func (l *live) syncResult(member *member) *SyncResult {
	return &SyncResult{ProtocolType: l.protocolType, Protocol: l.protocol, Assignment: member.assignment}
}

// endSync is called when the time to sync is over: those who did not are taken out.
func (t turn) endSync() {
	if t.live.state != StateCompletingRebalance && t.live.state != StateStable || len(t.live.pendingSync) == 0 {
		return
	}
	for _, member := range t.live.all() {
		if t.live.pendingSync[member.id] {
			t.remove(member)
		}
	}
	t.prepareRebalance()
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
			answer.Err = m.at(now, l).leaveOne(leaver)
		}
		left = left || answer.Err == nil
	}
	if left {
		m.at(now, l).afterRemoval()
		m.retire(l)
	}
	return result, nil
}

func (t turn) leaveOne(leaver LeaveMember) error {
	id := leaver.MemberID
	switch {
	case id == "":
		// An administrator names a static member alone.
		if id = t.live.static[leaver.InstanceID]; id == "" {
			return ErrUnknownMember
		}
	case t.dropPending(id):
		return nil
	default:
		if err := t.live.check(id, leaver.InstanceID); err != nil {
			return err
		}
	}
	t.remove(t.live.members[id])
	return nil
}
