package placement

import "testing"

// planner is the node of an agent that plans and writes at once.
type planner struct {
	*heat
	agent  *Agent
	plans  int
	asked  bool // for a barrier
	writes []Proposal
}

func (p *planner) Catalog() *Catalog                               { return p.c }
func (p *planner) Leads(shard uint64) (epoch uint64, ok bool)      { return 1, shard == systemShard }
func (p *planner) Situation(uint64, uint64) (s Situation, ok bool) { return s, false }
func (p *planner) Drained(uint64) bool                             { return true }
func (p *planner) Configure(_, _ uint64, voters, learners []Node)  {}
func (p *planner) HandOver(shard, epoch uint64, to Node)           {}
func (p *planner) Barrier()                                        { p.asked = true }
func (p *planner) Change(MemberChange)                             {}
func (p *planner) Planning() (planning Planning, ok bool) {
	p.plans++
	return Planning{Seed: 1, Now: p.now}, true
}

// Write implements Ports.
func (p *planner) Write(proposal Proposal) {
	p.writes = append(p.writes, proposal)
	p.settle([]Proposal{proposal})
	p.agent.Written(proposal.Keyspace, true)
}

// Goal: the agent moves by load once that has been reported often enough, not while placement is
// paused, and then no more. Method: an agent whose node writes at once.
func TestAgentBalances(t *testing.T) {
	p := &planner{heat: lopsided(t, 30, 6)}
	p.agent = NewAgent(1, 1, p)
	ticks := func() (moves int) {
		before := len(p.writes)
		for range 5 {
			if p.agent.Tick(); p.asked {
				p.asked = false
				p.agent.Read(true)
			}
		}
		return len(p.writes) - before
	}
	for i := range hotReports {
		p.report(1)
		if n := ticks(); n > 0 {
			t.Fatalf("%d moves after %d reports", n, i+1)
		}
	}
	p.put(PausedKey, []byte("true"))
	p.report(1)
	if n := ticks(); n > 0 {
		t.Errorf("%d moves while paused", n)
	}
	p.put(PausedKey, []byte("false"))
	if n := ticks(); n != 4 {
		t.Errorf("%d leaders move, 4 should", n)
	}
	for range 10 {
		p.report(1)
		if n := ticks(); n > 0 {
			t.Errorf("%d more moves: %+v", n, p.writes[len(p.writes)-1])
		}
	}
}
