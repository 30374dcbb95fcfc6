package sim

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/internal/store"
)

// healBound is how long a cluster without faults may take for each step of coming
// back to life: many election timeouts, and the time to replace a wiped node.
const healBound = 20 * time.Second

// heal ends all faults and demands progress within a bound.
func (s *Sim) heal() {
	s.healing = true
	s.trace.line(s.now, "sim", "heal", "no more faults")
	s.links.clear()
	for _, n := range s.nodes {
		n.heal()
	}
	s.stopClients()
	whole := s.now
	if s.moves == nil {
		s.demand("members", s.missingMember)
	} else {
		s.moves.heal()
	}
	s.probe()
	s.demand("convergence", s.check.converged)
	s.demand("watches", func() string {
		for _, w := range s.watches {
			if w.behind() {
				return fmt.Sprintf("%s shard %d still waits for the event at revision %d", w.name, w.shard, w.skip().KV.ModRevision)
			}
		}
		return ""
	})
	s.leasesEnd(whole)
	s.demand("convergence", s.check.converged)
}

// demand runs until nothing is missing, within the bound.
func (s *Sim) demand(what string, missing func() string) {
	if !s.until(healBound, func() bool { return missing() == "" }) {
		s.violate("progress", "%v after the last fault, %s: %s\n%s", healBound, what, missing(), s.describe())
	}
}

// missingMember names a replica that is not yet a voter, or a shard without leader.
func (s *Sim) missingMember() string {
	for _, id := range s.shardIDs() {
		n := s.leaderOf(id)
		if n == nil {
			return fmt.Sprintf("shard %d has no leader", id)
		}
		c := s.check.shard(id).configuration
		if len(c.Voters) != len(s.nodes) || len(c.Learners)+len(c.Outgoing) > 0 {
			return fmt.Sprintf("shard %d has %+v", id, c)
		}
		for _, n := range s.nodes {
			if !n.votes(id) {
				return fmt.Sprintf("shard %d: %s is no voter of %+v", id, n.name(), c)
			}
		}
	}
	return ""
}

// probe demands that a put on every shard, at every node, succeeds.
func (s *Sim) probe() {
	open := make(map[string]bool)
	for _, n := range s.nodes {
		for _, id := range s.shardIDs() {
			if !n.serves(id) {
				continue
			}
			c := s.newClient(fmt.Sprintf("p%d.%d", n.index, id), 1000+n.index)
			c.stopped, c.node = true, n
			s.probePut(c, func() {
				op := c.begin(id, "probe")
				r := store.PutRequest{Key: []byte("probe"), Value: []byte(c.name)}
				open[c.name] = true
				op.done = func(_ *operation, a *answer) {
					if a.result != nil {
						delete(open, c.name)
					}
				}
				c.command(op, store.KindPut, r.AppendTo(nil))
			}, open)
		}
	}
	s.demand("probes", func() string {
		for _, name := range sorted(open) {
			return "no put at " + name
		}
		return ""
	})
}

// probePut repeats a put until it is answered.
func (s *Sim) probePut(c *client, put func(), open map[string]bool) {
	put()
	s.after(clientTimeout+time.Millisecond, func() {
		if open[c.name] && c.op == nil {
			s.probePut(c, put, open)
		}
	})
}

// leasesEnd demands that no lease outlives its time in a whole cluster.
func (s *Sim) leasesEnd(whole time.Duration) {
	for {
		lease, deadline := s.check.leases.overdue(whole)
		if lease == nil {
			return
		}
		if s.now >= deadline {
			s.violate("lease-late", "lease %x of %d s should have ended by %v", lease.ID, lease.TTLSeconds, deadline)
		}
		s.phase(100 * time.Millisecond)
	}
}

// describe lists every replica, for the report of a failure.
func (s *Sim) describe() string {
	text := ""
	for _, id := range s.shardIDs() {
		for _, n := range s.nodes {
			r, ok := n.replica(id)
			if !ok {
				text += fmt.Sprintf("s%d %s: none\n", id, n.name())
				continue
			}
			st := r.Status()
			text += fmt.Sprintf("s%d %s: %v %v leader %v epoch %d log (%d,%d] durable %d commit %d applied %d %+v", id, n.name(), st.ID,
				st.Role, st.Leader, st.HardState.Epoch, st.Released, st.LastIndex, st.Durable, st.Commit, st.Applied, st.Configuration)
			for _, p := range st.Peers {
				text += fmt.Sprintf("\n   %+v", p)
			}
			text += "\n"
		}
	}
	return text
}
