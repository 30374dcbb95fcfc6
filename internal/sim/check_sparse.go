package sim

import (
	"maps"
	"slices"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
)

// sparseMachine is a checkedMachine whose log may have holes: Paxos. Its rules are those of
// an acceptor, and who governs a slot follows from what is decided.
type sparseMachine struct{ *checkedMachine }

// value is what a slot can hold, as far as replicas must agree on it.
type value struct {
	orig consensus.Epoch
	kind consensus.EntryKind
	hash uint64
}

func valueOf(e *consensus.Entry) value { return value{e.Orig, e.Kind, entryHash(e)} }

// accepted is a value and the ballot in which it was accepted.
type accepted struct {
	epoch consensus.Epoch
	value
}

// slotLog is a sparse log reduced to what was accepted; everything up to base is released.
type slotLog struct {
	base    consensus.Index
	slots   map[consensus.Index]accepted
	decided consensus.Index // what the log says is decided
}

func newSlotLog() slotLog { return slotLog{slots: make(map[consensus.Index]accepted)} }

func (l *slotLog) clone() slotLog {
	c := *l
	c.slots = maps.Clone(l.slots)
	return c
}

func (l *slotLog) release(to consensus.Index) {
	if to <= l.base {
		return
	}
	l.base = to
	maps.DeleteFunc(l.slots, func(i consensus.Index, _ accepted) bool { return i <= to })
}

// sparseFacts are what only shards with sparse logs have.
type sparseFacts struct {
	window consensus.Index // α
	values map[entryKey]value
	// votes are who has ever had a ballot's value of a slot on disk.
	votes map[entryKey][]consensus.ReplicaID
	first consensus.Configuration
	// chosen is, by index from 1, the lowest ballot in which the decided value had a quorum.
	chosen []consensus.Epoch
	// changes are the membership entries that count, by index.
	changes []change
}

type change struct {
	index consensus.Index
	consensus.Configuration
}

// governs is the configuration that governs a slot: that of the last change decided α or
// more slots before it.
func (f *sparseFacts) governs(i consensus.Index) *consensus.Configuration {
	c := &f.first
	for k := range f.changes {
		if f.changes[k].index+f.window > i {
			break
		}
		c = &f.changes[k].Configuration
	}
	return c
}

// accepted takes note of a value that is durable at an acceptor.
func (f *sparseFacts) accepted(id consensus.ReplicaID, i consensus.Index, epoch consensus.Epoch) {
	if key := (entryKey{i, epoch}); !slices.Contains(f.votes[key], id) {
		f.votes[key] = append(f.votes[key], id)
	}
}

// quorums returns how many voters decide and how many elect. It is counted anew here: what
// judges an engine does not use the engine's rule.
func quorums(c *consensus.Configuration) (decide, elect int) {
	n := len(c.Voters)
	decide = n/2 + 1
	if c.WriteQuorum > 0 {
		decide = c.WriteQuorum
	}
	return decide, max(n/2+1, n+1-decide)
}

// count is how many of a configuration's voters a condition holds for.
func (f *shardFacts) count(c *consensus.Configuration, holds func(*replicaFacts) bool) (n int) {
	for _, id := range c.Voters {
		if r := f.replicas[id]; r != nil && holds(r) {
			n++
		}
	}
	return n
}

// watchSparse compares what a restarted acceptor found on its disk with what its disk had
// confirmed, and follows it from there.
func (c *checkers) watchSparse(m consensus.Machine, n *simNode, id shard.ID, cfg *consensus.Config) *sparseMachine {
	facts := c.shard(id)
	r := c.replica(facts, cfg.ID)
	if r.acceptor == nil {
		r.acceptor = &acceptorFacts{shadow: newSlotLog(), durable: newSlotLog()}
	}
	c.checkHardState(id, r, cfg)
	was, found := &r.acceptor.durable, newSlotLog()
	found.base, found.decided = cfg.Log.Released, cfg.Log.Decided
	for k := range cfg.Log.Entries {
		info, i := &cfg.Log.Entries[k], cfg.Log.Released+1+consensus.Index(k)
		if info.Epoch != 0 {
			v := facts.sparse.values[entryKey{i, info.Epoch}]
			if v.orig != info.Orig || v.kind != info.Kind {
				c.s.violate("durability", "shard %d replica %v found %+v in slot %d, accepted was %+v", id, cfg.ID, *info, i, v)
			}
			found.slots[i] = accepted{info.Epoch, v}
			facts.sparse.accepted(cfg.ID, i, info.Epoch)
		}
	}
	for i, want := range was.slots {
		if got := found.slots[i]; i > found.base && got.epoch < want.epoch {
			c.s.violate("durability", "shard %d replica %v: slot %d was durable in epoch %d, after the restart it is %+v, released is %d",
				id, cfg.ID, i, want.epoch, got, found.base)
		}
	}
	if known := max(found.decided, found.base); known < was.decided {
		c.s.violate("durability", "shard %d replica %v knew durably that slots up to %d are decided, and knows %d", id, cfg.ID, was.decided, known)
	}
	r.acceptor.shadow, r.acceptor.durable, r.pending = found, found.clone(), nil
	r.acceptor.installing = 0
	r.hard, r.last, r.learned = cfg.HardState, cfg.HardState, cfg.Applied
	r.votes[r.hard.Epoch] = r.hard.Vote
	return &sparseMachine{&checkedMachine{Machine: m, s: c.s, node: n, facts: facts, replica: r, boot: n.boots}}
}

// acceptorFacts are what is known of an acceptor's log, as written and as durable.
type acceptorFacts struct {
	shadow, durable slotLog
	installing      consensus.Index // a snapshot on its way into the engine; zero: none
}

// Done follows what the disk has confirmed.
func (m *sparseMachine) Done(d consensus.Done) {
	r := m.replica
	for len(r.pending) > 0 && r.pending[0].seq <= d.Durable {
		p := &r.pending[0]
		r.confirm(p.hard)
		for i, a := range p.slots {
			m.facts.sparse.accepted(r.id, i, a.epoch)
			if i > r.acceptor.durable.base {
				r.acceptor.durable.slots[i] = a
			}
		}
		r.acceptor.durable.decided = max(r.acceptor.durable.decided, p.decided)
		r.pending = r.pending[1:]
	}
	if d.Released != 0 {
		r.acceptor.shadow.release(d.Released)
		r.acceptor.durable.release(d.Released)
	}
	if at := r.acceptor.installing; at != 0 && d.Applied >= at {
		r.acceptor.durable.release(at)
		r.acceptor.installing = 0
	}
	m.Machine.Done(d)
}

// Step judges what the machine says to itself like what it says to others.
func (m *sparseMachine) Step(msg consensus.Message) error {
	if msg.From == m.replica.id {
		m.s.check.acceptorLeaving(m.facts, m.replica, &msg)
	}
	return m.checkedMachine.Step(msg)
}

// Ready checks everything the machine says.
func (m *sparseMachine) Ready() (*consensus.Ready, bool) {
	rd, ok := m.Machine.Ready()
	if !ok {
		return rd, ok
	}
	m.append(&rd.Append)
	if s := rd.Install; s != nil {
		m.checkInstall(s)
		m.replica.acceptor.shadow.release(s.Index)
		m.replica.acceptor.installing = s.Index
		m.replica.learned = s.Index
	}
	if rd.RoleChanged {
		st := m.Machine.Status()
		m.s.trace.role(m.s.now, m.node, m.facts.id, &st)
		if st.Role == consensus.Leader && m.replica.hard.Epoch < st.HardState.Epoch {
			m.s.violate("own-epoch", "shard %d replica %v leads epoch %d, durable is %+v", m.facts.id, st.ID, st.HardState.Epoch, m.replica.hard)
		}
	}
	if !rd.Learned.Empty() {
		m.learn(rd.Learned)
	}
	m.checkProposer(rd.Append.Entries) // what is decided by now may make room
	return rd, ok
}

func (m *sparseMachine) append(a *consensus.Append) {
	r := m.replica
	p := pendingAppend{seq: a.Seq, decided: a.Decided}
	p.hard = m.checkPromise(a.HardState)
	if a.Truncate != 0 || a.Repaired {
		m.s.violate("log", "shard %d replica %v truncates or repairs: %+v", m.facts.id, r.id, *a)
	}
	for i := range a.Entries {
		e := &a.Entries[i]
		had, is := r.acceptor.shadow.slots[e.Index], accepted{e.Epoch, valueOf(e)}
		if e.Index <= r.acceptor.shadow.base || had.epoch >= e.Epoch || e.Epoch > r.last.Epoch {
			m.s.violate("acceptor", "shard %d replica %v accepts %+v in slot %d behind %d, had %+v, promised %d",
				m.facts.id, r.id, is, e.Index, r.acceptor.shadow.base, had, r.last.Epoch)
		}
		key := entryKey{e.Index, e.Epoch}
		if other, ok := m.facts.sparse.values[key]; ok && other != is.value {
			m.s.violate("one-value", "shard %d slot %d epoch %d: replica %v accepts %+v, another %+v", m.facts.id, e.Index, e.Epoch, r.id, is.value, other)
		}
		m.facts.sparse.values[key] = is.value
		m.checkChosen(key, is.value)
		m.facts.entries[key] = entryFact{entry: *e, hash: is.hash}
		r.acceptor.shadow.slots[e.Index] = is
		if p.slots == nil {
			p.slots = make(map[consensus.Index]accepted)
		}
		p.slots[e.Index] = is
	}
	r.acceptor.shadow.decided = max(r.acceptor.shadow.decided, a.Decided)
	if !a.Empty() {
		r.pending = append(r.pending, p)
	}
}

// checkChosen: above the ballot in which a value was chosen nothing else is accepted.
// Reference: Paxos Made Simple §2.2, P2a to P2c.
func (m *sparseMachine) checkChosen(key entryKey, v value) {
	if int(key.index) > len(m.facts.sparse.chosen) || key.epoch <= m.facts.sparse.chosen[key.index-1] {
		return
	}
	if d := m.facts.decided[key.index-1]; d.epoch != v.orig || d.hash != v.hash {
		m.s.violate("chosen", "shard %d slot %d epoch %d: replica %v accepts %+v, in epoch %d was chosen %+v",
			m.facts.id, key.index, key.epoch, m.replica.id, v, m.facts.sparse.chosen[key.index-1], d)
	}
}

// checkProposer: who proposes has promises of those who govern the slot, and stays within
// the window. Reference: P3 and P8 of consensus/paxos.
func (m *sparseMachine) checkProposer(entries []consensus.Entry) {
	if len(entries) == 0 {
		return
	}
	st := m.Machine.Status()
	if st.Role != consensus.Leader {
		return
	}
	for k := range entries {
		e, decided := &entries[k], consensus.Index(len(m.facts.decided))
		if e.Index <= decided {
			continue
		}
		if e.Index > decided+m.facts.sparse.window {
			m.s.violate("window", "shard %d leader %v proposes in slot %d, decided is %d", m.facts.id, st.ID, e.Index, decided)
		}
		c := m.facts.sparse.governs(e.Index)
		_, elect := quorums(c)
		if n := m.facts.count(c, func(r *replicaFacts) bool { return r.votes[e.Epoch] == st.ID }); n < elect {
			m.s.violate("promises", "shard %d leader %v proposes in slot %d of epoch %d with %d promises of %v",
				m.facts.id, st.ID, e.Index, e.Epoch, n, c)
		}
	}
}

// learn: agreement, order, and a quorum of disks with one ballot's value before anything is
// decided.
func (m *sparseMachine) learn(span consensus.Span) {
	m.checkLearnOrder(span)
	for i := span.Lo; i < span.Hi; i++ {
		a, ok := m.replica.acceptor.shadow.slots[i]
		if !ok {
			m.s.violate("agreement", "shard %d replica %v learns %d, which its log does not hold", m.facts.id, m.replica.id, i)
		}
		if int(i) <= len(m.facts.decided) {
			if d := m.facts.decided[i-1]; d.epoch != a.orig || d.hash != a.hash {
				m.s.violate("agreement", "shard %d slot %d: replica %v learns %+v, decided is %+v", m.facts.id, i, m.replica.id, a, d)
			}
			continue
		}
		m.facts.sparse.chosen = append(m.facts.sparse.chosen, m.checkLearnRule(i, a.value))
		m.facts.decided = append(m.facts.decided, decision{epoch: a.orig, hash: a.hash})
		e := m.facts.entries[entryKey{i, a.epoch}].entry
		e.Epoch = e.Orig
		if m.facts.decide(m.s, &e) && e.Kind == consensus.EntryMembership {
			m.facts.sparse.changes = append(m.facts.sparse.changes, change{i, m.facts.configuration})
			m.checkHandover(i)
		}
	}
}

// checkLearnRule: a deciding quorum of who governs the slot has accepted the value in one
// epoch, durably. It returns the lowest such epoch; above that nobody has accepted anything
// else. Reference: P1 and P3 of consensus/paxos.
func (m *sparseMachine) checkLearnRule(i consensus.Index, v value) (chosen consensus.Epoch) {
	c := m.facts.sparse.governs(i)
	decide, _ := quorums(c)
	for epoch := v.orig; epoch <= m.replica.last.Epoch; epoch++ {
		key := entryKey{i, epoch}
		have, ok := m.facts.sparse.values[key]
		if ok && have != v && chosen != 0 {
			m.s.violate("chosen", "shard %d slot %d: %+v was chosen in epoch %d, accepted in epoch %d was %+v", m.facts.id, i, v, chosen, epoch, have)
		}
		votes := m.facts.sparse.votes[key]
		if chosen == 0 && have == v && m.facts.count(c, func(r *replicaFacts) bool { return slices.Contains(votes, r.id) }) >= decide {
			chosen = epoch
		}
	}
	if chosen != 0 {
		return chosen
	}
	m.s.violate("learn-rule", "shard %d slot %d: replica %v learned %+v, which in no epoch was durable at enough of %v", m.facts.id, i, m.replica.id, v, c)
	return 0
}

// checkHandover: once a change is over, a deciding quorum of the new voters knows durably
// all that the old ones have decided. Reference: P7 of consensus/paxos.
func (m *sparseMachine) checkHandover(i consensus.Index) {
	c := &m.facts.configuration
	if c.Joint() {
		return
	}
	m.s.report.count("check handover")
	decide, _ := quorums(c)
	at := consensus.Index(0)
	for k := range m.facts.sparse.changes {
		if x := &m.facts.sparse.changes[k]; x.Joint() {
			at = x.index
		}
	}
	begin := at + m.facts.sparse.window
	if i < begin {
		m.s.violate("handover", "shard %d: the change at %d is over with %d, the new voters govern from %d on", m.facts.id, at, i, begin)
	}
	knows := func(r *replicaFacts) bool {
		return r.acceptor != nil && max(r.acceptor.durable.decided, r.acceptor.durable.base)+1 >= begin
	}
	if n := m.facts.count(c, knows); n < decide {
		m.s.violate("handover", "shard %d: the change at %d is over with %d, and %d of %v know what was decided before", m.facts.id, at, i, n, c)
	}
}
