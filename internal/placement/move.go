package placement

import "slices"

// Progress is what the leader of a shard knows of one replica in the configuration.
type Progress struct {
	Node
	Votes    bool // now, or before a change that is under way
	Active   bool // it answers
	CaughtUp bool // it has nearly everything
}

// Situation is a shard as its leader sees it.
type Situation struct {
	Self     Node
	Changing bool       // a change of membership or leader is under way
	Settled  bool       // it has led for a while: whoever should lead instead is here to stay
	Replicas []Progress // of the configuration, the leader's own among them
}

func (x *Situation) find(n Node) *Progress {
	for i := range x.Replicas {
		if x.Replicas[i].Same(n) {
			return &x.Replicas[i]
		}
	}
	return nil
}

// StepKind is what a leader does for its shard.
type StepKind int

const (
	// Rest: there is nothing to do until the record or the leader changes.
	Rest StepKind = iota
	// Wait: there is, but not yet.
	Wait
	// Later: there is, but perhaps not for long, and nobody depends on it.
	Later
	// Configure: make Voters and Learners the membership.
	Configure
	// HandOver: let To lead.
	HandOver
	// Write: make Shard the record's.
	Write
)

// Step is the next one of a shard towards its record.
type Step struct {
	Kind             StepKind
	Voters, Learners []Node // Configure
	To               Node   // HandOver
	Shard            Shard  // Write
}

// Next is what the leader of a shard does next (L5). It is a function of what is recorded and
// what the leader sees, so it does not matter who has died in between. prefer says that the
// record's first node should lead, once it is clear that it does not stop just now.
func (s *Shard) Next(x *Situation, prefer bool) Step {
	if x.Changing || x.find(x.Self) == nil {
		return Step{Kind: Wait}
	}
	var voters, learners []Node
	for i := range x.Replicas {
		n := s.recorded(x.Replicas[i].Node)
		if x.Replicas[i].Votes {
			voters = append(voters, n)
		} else {
			learners = append(learners, n)
		}
	}
	want := s.learners(x)
	// First whoever is missing gets to know what there is; a voter, too.
	missing := slices.DeleteFunc(slices.Concat(s.Nodes, want), func(n Node) bool { return x.find(n) != nil })
	if len(missing) > 0 {
		return Step{Kind: Configure, Voters: voters, Learners: slices.Concat(learners, missing)}
	}
	if !sameSet(voters, s.Nodes) {
		return s.exchange(x, voters, want)
	}
	if !sameSet(learners, want) {
		return Step{Kind: Configure, Voters: voters, Learners: want}
	}
	if s.Settling {
		next := s.clone()
		next.Settling = false
		return Step{Kind: Write, Shard: next}
	}
	if step := s.promote(x); step.Kind != Wait {
		return step
	}
	if step := s.abandon(x); step.Kind != Wait {
		return step
	}
	if s.moving() {
		return Step{Kind: Wait}
	}
	first := s.Nodes[0]
	if !prefer || first.Same(x.Self) {
		return Step{Kind: Rest}
	}
	if p := x.find(first); x.Settled && p.Active && p.CaughtUp {
		return Step{Kind: HandOver, To: first}
	}
	return Step{Kind: Later}
}

// recorded is a replica as the record has it: a membership does not say in which life of its node's disk
// it was placed.
func (s *Shard) recorded(n Node) Node {
	all := s.Replicas()
	if i := slices.IndexFunc(all, n.Same); i >= 0 {
		return all[i]
	}
	return n
}

// learners are those that the record wants. Who leaves is one as long as it is there.
func (s *Shard) learners(x *Situation) []Node {
	list := slices.Clone(s.Learners)
	for _, a := range s.Joining {
		list = append(list, a.Node)
	}
	for _, n := range s.Leaving {
		if x.find(n) != nil {
			list = append(list, n)
		}
	}
	return list
}

// exchange lets those vote who should. All of them have caught up, and most of them answer: the
// shard never depends on a replica that has nothing (L7).
func (s *Shard) exchange(x *Situation, voters, learners []Node) Step {
	alive := 0
	var heir Node
	for _, n := range s.Nodes {
		p := x.find(n)
		if !p.Votes && !p.Active {
			return s.revert(voters)
		}
		if !p.Votes && !p.CaughtUp {
			return Step{Kind: Wait}
		}
		if p.Active && p.CaughtUp {
			alive++
		}
		if p.Votes && p.Active && p.CaughtUp && heir.ID == 0 {
			heir = n
		}
	}
	switch {
	case !safe(s.Nodes, x):
		return s.revert(voters)
	case alive <= len(s.Nodes)/2: // some are only behind
		return Step{Kind: Wait}
	case contains(s.Nodes, x.Self):
		return Step{Kind: Configure, Voters: s.Nodes, Learners: learners}
	case heir.ID == 0: // whom it could hand over to does not vote yet: let both vote for a while
		return Step{Kind: Configure, Voters: append(slices.Clone(s.Nodes), x.Self), Learners: remove(learners, x.Self)}
	}
	return Step{Kind: HandOver, To: heir}
}

// safe reports whether those who vote already, and answer, decide among a shard's future voters without the
// newcomers: one of these may have died a moment ago, and a membership that waits for it never comes.
// So a living voter is not given away while another is silent. Of one or two voters newcomers are needed.
func safe(nodes []Node, x *Situation) bool {
	active, tried := 0, 0
	for _, n := range nodes {
		if p := x.find(n); p != nil && p.Active {
			active++
			if p.Votes {
				tried++
			}
		}
	}
	if len(nodes) <= 2 {
		return active == len(nodes)
	}
	return tried > len(nodes)/2
}

// revert makes those the record's voters that are, if those that it names cannot vote: some of them
// may never come back, and the plan has to see who there is. Who was to vote is an arrival again.
func (s *Shard) revert(voters []Node) Step {
	next := s.clone()
	next.Nodes, next.Settling = nil, false
	next.Joining = slices.DeleteFunc(next.Joining, func(a Arrival) bool { return contains(voters, a.Node) })
	back := slices.DeleteFunc(slices.Clone(voters), func(n Node) bool { return contains(s.Nodes, n) })
	for _, n := range s.Nodes {
		if contains(voters, n) {
			next.Nodes = append(next.Nodes, n)
			continue
		}
		a := Arrival{Node: n}
		if len(back) > 0 {
			a.For, back = back[0], back[1:]
			next.Nodes = append(next.Nodes, a.For)
		}
		at := slices.IndexFunc(next.Joining, func(o Arrival) bool { return o.For.Same(n) })
		switch {
		case at < 0:
			next.Joining = append(next.Joining, a)
		default: // another one is to come in its place
			next.Joining[at].For = a.For
			if s.ID == systemShard {
				next.Learners = append(next.Learners, n)
			}
		}
	}
	next.Nodes = append(next.Nodes, back...)
	votes := func(n Node) bool { return contains(next.Nodes, n) }
	next.Leaving = slices.DeleteFunc(next.Leaving, votes)
	next.Learners = slices.DeleteFunc(next.Learners, votes)
	return Step{Kind: Write, Shard: next}
}

// promote records that arrivals which have caught up are to vote, in the places of those that
// they replace; those of them that may now.
func (s *Shard) promote(x *Situation) Step {
	next := s.clone()
	next.Joining = nil
	for _, a := range s.Joining {
		if p := x.find(a.Node); !p.Active || !p.CaughtUp {
			next.Joining = append(next.Joining, a)
			continue
		}
		at := slices.IndexFunc(next.Nodes, a.For.Same)
		if at < 0 {
			next.Nodes = append(next.Nodes, a.Node)
			continue
		}
		next.Nodes[at] = a.Node
		next.leave(a.For)
	}
	if len(next.Joining) == len(s.Joining) || !safe(next.Nodes, x) {
		return Step{Kind: Wait}
	}
	next.Settling = true
	return Step{Kind: Write, Shard: next}
}

// abandon records that replicas have left which vote no more and do not answer: nobody waits for
// them, and they cannot say so. Nobody but the leader knows that they vote no more. A replica that
// no record names erases itself, and it may be one that is believed to be dead and is not.
func (s *Shard) abandon(x *Situation) Step {
	next := s.clone()
	next.Leaving = slices.DeleteFunc(next.Leaving, func(n Node) bool {
		p := x.find(n)
		return p == nil || !p.Active
	})
	if len(next.Leaving) == len(s.Leaving) {
		return Step{Kind: Wait}
	}
	return Step{Kind: Write, Shard: next}
}

// leave notes that a replica votes no more. In the system keyspace it stays as a learner.
func (s *Shard) leave(n Node) {
	if s.ID == systemShard {
		s.Learners = append(s.Learners, n)
		return
	}
	s.Leaving = append(s.Leaving, n)
}

// systemShard is the system keyspace's. Every node has a replica of it.
const systemShard = 1

// Left is a keyspace's next record when a replica that was to leave has gone.
func (k *Keyspace) Left(n Node) (Keyspace, bool) {
	if len(k.Shards) == 0 || !contains(k.Shards[0].Leaving, n) {
		return *k, false
	}
	next := k.Shards[0].clone()
	next.Leaving = remove(next.Leaving, n)
	return k.with(next), true
}

// Stepped is a keyspace's next record after a step that writes one.
func (k *Keyspace) Stepped(s Step) Keyspace { return k.with(s.Shard) }

func sameSet(a, b []Node) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(n Node) bool { return !contains(b, n) })
}
