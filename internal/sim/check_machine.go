package sim

import (
	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
)

// checkedMachine stands between a replica and its machine and watches every step.
// It is the run's only view of logs: shadow is what the machine has appended,
// durable what its disk has confirmed.
type checkedMachine struct {
	consensus.Machine
	s       *Sim
	node    *simNode
	facts   *shardFacts
	replica *replicaFacts
	boot    int // which life of the node's process
}

// checkedEngine wraps an engine so that its machines are watched.
func (s *Sim) checkedEngine(e consensus.Engine, n *simNode, id shard.ID) consensus.Engine {
	inner := e.New
	e.New = func(c consensus.Config) (consensus.Machine, error) {
		m, err := inner(c)
		if err != nil {
			return nil, err
		}
		s.coverage.cover(m)
		if e.Sparse {
			return s.check.watchSparse(m, n, id, &c), nil
		}
		return s.check.watch(m, n, id, &c), nil
	}
	return e
}

// watch compares what a restarted replica found on its disk with what its disk
// had confirmed, and follows it from there.
func (c *checkers) watch(m consensus.Machine, n *simNode, id shard.ID, cfg *consensus.Config) *checkedMachine {
	facts := c.shard(id)
	r := c.replica(facts, cfg.ID)
	if cfg.Log.InDoubt && !r.doubt {
		c.loses(n, id, r)
	}
	epoch := c.checkHardState(id, r, cfg)
	found := shadowLog{base: cfg.Log.Released, baseEpoch: cfg.Log.ReleasedEpoch}
	for i := range cfg.Log.Entries {
		e := shadowEntry{epoch: cfg.Log.Entries[i].Epoch}
		// The payload's hash is known from when it was appended here.
		if old, ok := r.shadow.at(found.last() + 1); ok && old.epoch == e.epoch {
			e.hash = old.hash
		} else if fact, ok := facts.entries[entryKey{found.last() + 1, e.epoch}]; ok {
			e.hash = fact.hash
		}
		found.entries = append(found.entries, e)
	}
	for i := max(r.durable.base, found.base) + 1; i <= r.certain() && !superseded(&r.durable, &found); i++ {
		want, _ := r.durable.at(i)
		got, ok := found.at(i)
		if !ok || got.epoch < want.epoch {
			c.s.violate("durability", "shard %d replica %v: entry %d of epoch %d was durable, after the restart it is %+v (found %v); was (%d,%d] behind epoch %d, is (%d,%d] behind epoch %d",
				id, cfg.ID, i, want.epoch, got, ok, r.durable.base, r.durable.last(), r.durable.baseEpoch, found.base, found.last(), found.baseEpoch)
		}
	}
	r.shadow, r.durable, r.pending = found, found.clone(), nil
	r.hard, r.last, r.learned = cfg.HardState, cfg.HardState, cfg.Applied
	r.hard.Epoch = epoch
	r.votes[r.hard.Epoch] = r.hard.Vote
	return &checkedMachine{Machine: m, s: c.s, node: n, facts: facts, replica: r, boot: n.boots}
}

func (c *checkers) replica(facts *shardFacts, id consensus.ReplicaID) *replicaFacts {
	r := facts.replicas[id]
	if r == nil {
		r = &replicaFacts{id: id, votes: make(map[consensus.Epoch]consensus.ReplicaID)}
		facts.replicas[id] = r
	}
	return r
}

// checkHardState compares a restarted replica's hard state with the durable one, and
// returns the epoch it is in.
func (c *checkers) checkHardState(id shard.ID, r *replicaFacts, cfg *consensus.Config) consensus.Epoch {
	// An install that was recorded at an epoch makes that epoch durable, too.
	epoch := max(cfg.HardState.Epoch, cfg.Log.ReleasedEpoch)
	if epoch < r.hard.Epoch || cfg.HardState.Epoch == r.hard.Epoch && r.hard.Vote != 0 && cfg.HardState.Vote != r.hard.Vote {
		c.s.violate("hard-state", "shard %d replica %v restarted with %+v, durable was %+v", id, cfg.ID, cfg.HardState, r.hard)
	}
	return epoch
}

// loses takes note that a replica's disk has lost something. Only rot does that.
func (c *checkers) loses(n *simNode, id shard.ID, r *replicaFacts) {
	if !n.damaged {
		c.s.violate("doubt", "shard %d replica %v is in doubt, its disk has no damage", id, r.id)
	}
	r.doubt, r.lost = true, r.durable.clone()
	r.durable.reset(0, 0)
	r.hard, r.pending = consensus.HardState{}, nil
}

// certain is the last index of which the disk must hold an entry at least as new as
// the durable one: an unconfirmed truncation may have reached the disk as well.
func (r *replicaFacts) certain() consensus.Index {
	last := r.durable.last()
	for i := range r.pending {
		if from := r.pending[i].truncate; from != 0 {
			last = min(last, from-1)
		}
	}
	return last
}

// Step counts refusals by their reason.
func (m *checkedMachine) Step(msg consensus.Message) error {
	err := m.Machine.Step(msg)
	if err != nil {
		m.s.report.count("error step: " + rootText(err))
	}
	return err
}

// Propose counts refusals by their reason, and notes what is taken.
func (m *checkedMachine) Propose(p consensus.Proposal) error {
	err := m.Machine.Propose(p)
	if err != nil {
		m.s.report.count("error propose: " + rootText(err))
		return err
	}
	if p.Kind == consensus.ProposeCommands {
		m.facts.propose(m.Machine.Status().HardState.Epoch, p.Commands)
	}
	return nil
}

// Done follows what the disk has confirmed.
func (m *checkedMachine) Done(d consensus.Done) {
	r := m.replica
	for len(r.pending) > 0 && r.pending[0].seq <= d.Durable {
		p := &r.pending[0]
		r.confirm(p.hard)
		if p.truncate != 0 {
			r.durable.truncate(p.truncate)
		}
		if len(p.entries) > 0 {
			r.durable.truncate(p.first)
			if p.first == r.durable.last()+1 {
				r.durable.entries = append(r.durable.entries, p.entries...)
			}
		}
		if p.repaired {
			r.doubt = false
			m.s.report.count("recovery log repaired")
		}
		r.pending = r.pending[1:]
	}
	if d.Released != 0 {
		r.shadow.release(d.Released)
		r.durable.release(d.Released)
	}
	m.Machine.Done(d)
}

// Ready checks everything the machine says.
func (m *checkedMachine) Ready() (*consensus.Ready, bool) {
	rd, ok := m.Machine.Ready()
	if !ok {
		return rd, ok
	}
	m.append(&rd.Append)
	if rd.Install != nil {
		m.installed(rd.Install)
	}
	if rd.RoleChanged {
		m.roleChanged()
	}
	if !rd.Learned.Empty() {
		m.learn(rd.Learned)
	}
	return rd, ok
}

func (m *checkedMachine) append(a *consensus.Append) {
	r := m.replica
	p := pendingAppend{seq: a.Seq, truncate: a.Truncate, repaired: a.Repaired}
	p.hard = m.checkPromise(a.HardState)
	if a.Truncate != 0 {
		if a.Truncate <= consensus.Index(len(m.facts.decided)) && a.Truncate > r.shadow.base {
			if have, ok := r.shadow.at(a.Truncate); ok && have.epoch == m.facts.decided[a.Truncate-1].epoch {
				m.s.violate("agreement", "shard %d replica %v truncates the decided entry %d", m.facts.id, r.id, a.Truncate)
			}
		}
		r.shadow.truncate(a.Truncate)
	}
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.Index != r.shadow.last()+1 {
			m.s.violate("log", "shard %d replica %v appends %d behind %d", m.facts.id, r.id, e.Index, r.shadow.last())
		}
		m.checkMatching(e)
		r.shadow.entries = append(r.shadow.entries, shadowEntry{e.Epoch, entryHash(e)})
		p.entries = append(p.entries, r.shadow.entries[len(r.shadow.entries)-1])
	}
	if len(a.Entries) > 0 {
		p.first = a.Entries[0].Index
	}
	if !a.Empty() {
		r.pending = append(r.pending, p)
	}
}

// checkPromise: a hard state never regresses. It returns a copy.
func (m *checkedMachine) checkPromise(hard *consensus.HardState) *consensus.HardState {
	r := m.replica
	if hard == nil {
		return nil
	}
	h := *hard
	if h.Epoch < r.last.Epoch || h.Epoch == r.last.Epoch && r.last.Vote != 0 && h.Vote != r.last.Vote {
		m.s.violate("hard-state", "shard %d replica %v regresses from %+v to %+v", m.facts.id, r.id, r.last, h)
	}
	r.last = h
	return &h
}

// checkMatching: log matching. Reference: Raft §5.3. An entry is named by index
// and epoch; whoever has it has the same content and the same predecessor.
func (m *checkedMachine) checkMatching(e *consensus.Entry) {
	prev, ok := m.replica.shadow.epochAt(e.Index - 1)
	if !ok {
		return
	}
	key, fact := entryKey{e.Index, e.Epoch}, entryFact{entryHash(e), prev, *e}
	if old, ok := m.facts.entries[key]; ok && (old.hash != fact.hash || old.prevEpoch != fact.prevEpoch) {
		m.s.violate("log-matching", "shard %d entry %d of epoch %d: replica %v has predecessor epoch %d, another has %d (same content: %v)",
			m.facts.id, e.Index, e.Epoch, m.replica.id, fact.prevEpoch, old.prevEpoch, fact.hash == old.hash)
	}
	m.facts.entries[key] = fact
}

// checkInstall: a snapshot holds what is decided, and more than was learned.
func (m *checkedMachine) checkInstall(s *consensus.Snapshot) {
	r := m.replica
	if n := consensus.Index(len(m.facts.decided)); s.Index > n {
		m.s.violate("agreement", "shard %d replica %v installs a snapshot at %d, decided is only %d", m.facts.id, r.id, s.Index, n)
	}
	if r.learned > s.Index {
		m.s.violate("agreement", "shard %d replica %v has learned %d and installs an older snapshot at %d", m.facts.id, r.id, r.learned, s.Index)
	}
}

func (m *checkedMachine) installed(s *consensus.Snapshot) {
	r := m.replica
	m.checkInstall(s)
	r.shadow.reset(s.Index, s.Epoch)
	r.durable.reset(s.Index, s.Epoch)
	for i := range r.pending {
		r.pending[i].entries, r.pending[i].truncate = nil, 0
	}
	r.learned = s.Index
}

// roleChanged: election safety and leader completeness. Reference: Raft §5.2, §5.4.
func (m *checkedMachine) roleChanged() {
	st := m.Machine.Status()
	m.s.trace.role(m.s.now, m.node, m.facts.id, &st)
	if st.Role != consensus.Leader {
		return
	}
	epoch := st.HardState.Epoch
	lead := leadership{st.ID, m.boot}
	if old, ok := m.facts.leaders[epoch]; ok {
		if old != lead {
			m.s.violate("election-safety", "shard %d epoch %d is led by %v (life %d) and by %v (life %d)",
				m.facts.id, epoch, old.replica, old.boot, lead.replica, lead.boot)
		}
		return
	}
	m.facts.leaders[epoch] = lead
	if m.replica.hard.Epoch < epoch {
		m.s.violate("own-epoch", "shard %d replica %v leads epoch %d, durable is %+v", m.facts.id, st.ID, epoch, m.replica.hard)
	}
	for i := range m.facts.decided {
		index := consensus.Index(i + 1)
		if index <= m.replica.shadow.base || m.facts.decided[i].by >= epoch {
			continue // a late winner need not know what a later epoch has decided
		}
		if e, ok := m.replica.shadow.at(index); !ok || e.epoch != m.facts.decided[i].epoch {
			m.s.violate("leader-completeness", "shard %d leader %v of epoch %d has %+v at %d, decided is epoch %d",
				m.facts.id, st.ID, epoch, e, index, m.facts.decided[i].epoch)
		}
	}
}

// checkLearnOrder: what is learned follows what was.
func (m *checkedMachine) checkLearnOrder(span consensus.Span) {
	if r := m.replica; span.Lo != r.learned+1 {
		m.s.violate("learn-order", "shard %d replica %v learns %v behind %d", m.facts.id, r.id, span, r.learned)
	}
	m.replica.learned = span.Hi - 1
}

// learn: agreement, order, and durability at a quorum before anything is decided.
func (m *checkedMachine) learn(span consensus.Span) {
	r := m.replica
	m.checkLearnOrder(span)
	fresh := false
	by := consensus.Epoch(0)
	if int(r.learned) > len(m.facts.decided) {
		by = m.Machine.Status().HardState.Epoch
	}
	for i := span.Lo; i < span.Hi; i++ {
		e, ok := r.shadow.at(i)
		if !ok {
			m.s.violate("agreement", "shard %d replica %v learns %d, which its log does not hold", m.facts.id, r.id, i)
		}
		if int(i) <= len(m.facts.decided) {
			if d := m.facts.decided[i-1]; d.epoch != e.epoch || d.hash != e.hash {
				m.s.violate("agreement", "shard %d entry %d: replica %v learns epoch %d, decided is epoch %d (same content: %v)",
					m.facts.id, i, r.id, e.epoch, d.epoch, d.hash == e.hash)
			}
			continue
		}
		m.facts.decided = append(m.facts.decided, decision{e.epoch, by, e.hash})
		fact := m.facts.entries[entryKey{i, e.epoch}]
		m.facts.decide(m.s, &fact.entry)
		fresh = true
	}
	if fresh {
		m.checkQuorumDurable(span.Hi - 1)
	}
}

// checkQuorumDurable: nothing is decided before a quorum of disks has it. The
// first to learn is the leader, whose configuration is in force.
func (m *checkedMachine) checkQuorumDurable(i consensus.Index) {
	st := m.Machine.Status()
	if st.Role != consensus.Leader {
		return
	}
	m.checkDecidedByOwn(&st, i)
	has := func(id consensus.ReplicaID) bool {
		r := m.facts.replicas[id]
		if r == nil {
			return false
		}
		return !r.doubt && r.durable.has(i, m.facts.decided[i-1].epoch) || r.lost.has(i, m.facts.decided[i-1].epoch)
	}
	for _, c := range m.facts.mayDecide(m.s, &st) {
		if majorities(&c, has) {
			return
		}
	}
	m.s.violate("quorum-durable", "shard %d entry %d is decided by %v and not durable at a quorum of %v", m.facts.id, i, st.ID, st.Configuration)
}

// majorities reports whether a majority of the voters has something, and one of the voters
// that go.
func majorities(c *consensus.Configuration, has func(consensus.ReplicaID) bool) bool {
	for _, voters := range [][]consensus.ReplicaID{c.Voters, c.Outgoing} {
		n := 0
		for _, id := range voters {
			if has(id) {
				n++
			}
		}
		if n < len(voters)/2+1 && len(voters) > 0 {
			return false
		}
	}
	return true
}
