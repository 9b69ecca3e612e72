package group

import "math"

// prepareOrComplete begins a rebalance, or ends one that everybody waits for.
func (t turn) prepareOrComplete() {
	switch t.live.state {
	case StateEmpty, StateStable, StateCompletingRebalance:
		t.prepareRebalance()
	case StatePreparingRebalance:
		t.completeIfAllJoined()
	case StateDead:
	}
}

// prepareRebalance asks all members to join again.
func (t turn) prepareRebalance() {
	if t.live.state == StateCompletingRebalance {
		t.propagate(nil, ErrRebalanceInProgress)
	}
	clear(t.live.pendingSync)
	t.alarms.off(t.live.sync)
	initial := t.live.state == StateEmpty
	t.live.transition(StatePreparingRebalance, t.now)
	switch {
	case !initial:
		if t.live.hasAllJoined() {
			t.completeJoin()
		} else {
			t.alarms.set(t.live.join, t.now.Add(t.live.rebalanceTimeout()))
		}
	case t.config.InitialRebalanceDelay == 0:
		t.completeJoin()
	default:
		step := t.config.InitialRebalanceDelay
		t.live.delay = initialDelay{step: step, remaining: max(t.live.rebalanceTimeout()-step, 0)}
		t.alarms.set(t.live.join, t.now.Add(step))
	}
}

// endJoin is called when the time to join is over.
func (t turn) endJoin() {
	if t.live.state != StatePreparingRebalance {
		return
	}
	d := &t.live.delay
	if t.live.previous == StateEmpty && d.extended && d.remaining > 0 {
		d.extended = false
		step := min(t.config.InitialRebalanceDelay, d.remaining)
		d.remaining = max(d.remaining-d.step, 0)
		d.step = step
		t.alarms.set(t.live.join, t.now.Add(step))
		return
	}
	t.completeJoin()
}

// completeIfAllJoined ends a rebalance when nobody is missing. The first rebalance of a group always takes its time.
func (t turn) completeIfAllJoined() {
	if t.live.state == StatePreparingRebalance && t.live.previous != StateEmpty && t.live.hasAllJoined() {
		t.completeJoin()
	}
}

// completeJoin begins the next generation with those who joined.
func (t turn) completeJoin() {
	t.alarms.off(t.live.join)
	t.live.delay = initialDelay{}
	for _, member := range t.live.all() {
		if member.joinToken == 0 && member.instanceID == "" {
			t.remove(member)
		}
	}
	if len(t.live.members) > 0 && !t.live.electLeader() {
		// Only static members are left and none came back: they stay until their sessions end.
		t.alarms.set(t.live.join, t.now.Add(t.live.rebalanceTimeout()))
		return
	}
	if t.live.generation == math.MaxInt32 {
		t.live.generation = 0
	}
	t.live.generation++
	clear(t.live.pendingSync)
	if len(t.live.members) == 0 {
		t.live.protocol, t.live.leader = "", ""
		t.live.transition(StateEmpty, t.now)
		t.store()
		return
	}
	t.live.protocol = t.live.choose()
	t.live.transition(StateCompletingRebalance, t.now)
	for _, member := range t.live.all() {
		t.answerJoin(member, t.live.joinResult(member), nil)
		t.alarms.set(member.session, t.now.Add(member.sessionTimeout))
		member.isNew = false
		t.live.pendingSync[member.id] = true
	}
	t.alarms.set(t.live.sync, t.now.Add(t.live.rebalanceTimeout()))
}

// remove takes a member out of the group. Whatever it has parked is answered: if it is still there it will join again.
func (t turn) remove(member *member) {
	t.answerJoin(member, &JoinResult{Generation: NoGeneration}, ErrUnknownMember)
	t.answerSync(member, &SyncResult{}, ErrUnknownMember)
	t.alarms.off(member.session)
	delete(t.live.members, member.id)
	delete(t.live.pendingSync, member.id)
	if member.instanceID != "" {
		delete(t.live.static, member.instanceID)
	}
	t.live.count(member, -1)
	t.live.bytes.said(-member.bytes())
	t.live.bytes.more(-len(member.assignment))
	if t.live.isLeader(member.id) {
		t.live.leader = ""
		if rest := t.live.all(); len(rest) > 0 {
			t.live.leader = rest[0].id
		}
	}
}

// afterRemoval goes on with a group that lost members.
func (t turn) afterRemoval() {
	switch t.live.state {
	case StateStable, StateCompletingRebalance:
		t.prepareRebalance()
	case StatePreparingRebalance:
		t.completeIfAllJoined()
	case StateEmpty, StateDead:
	}
}

// expireMember is called when a member's session timeout, counted from its last sign, is over.
func (t turn) expireMember(id string) {
	member := t.live.members[id]
	if member == nil {
		return
	}
	parked := member.joinToken != 0 || member.syncToken != 0
	if parked && !member.isNew {
		return // it waits for us; its session begins anew when it is answered
	}
	t.remove(member)
	t.afterRemoval()
}

// store emits the group as it is now.
func (t turn) store() {
	t.emit(appendGroupRecord(nil, t.live.id, t.live.stored()))
	t.live.unstored++
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

func (m *Machine) emit(entries ...[]byte) { m.out.Records = append(m.out.Records, entries...) }
