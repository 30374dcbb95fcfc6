package consensustest

import (
	"fmt"

	"github.com/quorate/quorate/consensus"
)

var transfers = []scenario{
	{"to a named voter", transferNamed},
	{"to anybody", transferAny},
	{"refused targets", transferRefused},
	{"proposals are refused meanwhile", transferRefusesProposals},
	{"a transfer that fails is given up", transferGivenUp},
	{"under load", transferUnderLoad},
}

// Goal: leadership goes where it is told to, without an outage of an election timeout.
func transferNamed(s *suite) {
	w := s.group(3)
	w.Elect(1)
	for k, to := range []consensus.ReplicaID{2, 3, 1, 3, 2, 1} {
		w.write(fmt.Sprint(k))
		l := w.Leader()
		w.must(w.Transfer(l, to) == nil, "a transfer to %v is refused", to)
		w.Settle(3)
		w.must(w.Leader() == w.Host(to), "asked for %v", to)
	}
	w.awaitCaughtUp()
	w.finish()
}

// Goal: with no name given, another voter leads. It is one that can.
func transferAny(s *suite) {
	w := s.group(3)
	w.newcomers(4)
	w.Elect(1)
	w.reconfigure(consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}, Learners: []consensus.ReplicaID{4}})
	w.Isolate(2)
	w.Settle(30) // long enough for the leader to know
	w.write("a")
	l := w.Leader()
	w.must(w.Transfer(l, 0) == nil, "a transfer to anybody is refused")
	w.Settle(3)
	now := w.Leader()
	w.must(now != nil && now != l && now.ID != 4 && now.ID != 2, "nobody fit takes over")
	w.finish()
}

// Goal: who cannot lead is refused as such: itself, a learner, a stranger; and nothing
// has changed. A sole voter has nobody to hand over to.
func transferRefused(s *suite) {
	w := s.group(3)
	w.newcomers(4)
	l := w.Elect(1)
	w.reconfigure(consensus.Membership{Voters: []consensus.ReplicaID{1, 2, 3}, Learners: []consensus.ReplicaID{4}})
	for _, to := range []consensus.ReplicaID{1, 4, 9} {
		before := fmt.Sprint(l.Status())
		w.mustFail(w.Transfer(l, to), consensus.ErrInvalid, fmt.Sprintf("a transfer to %v", to))
		w.must(fmt.Sprint(l.Status()) == before, "a transfer to %v is refused and has changed something", to)
	}
	w.write("a")
	w.finish()

	w = s.group(1)
	w.mustFail(w.Transfer(w.AwaitLeader(), 0), consensus.ErrInvalid, "a transfer of a sole voter")
	w.finish()
}

// Goal: while leadership is handed over nothing enters the log that the successor
// might not get.
func transferRefusesProposals(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	w.Settle(2)
	w.Isolate(2)
	p := w.put(l, "a")
	w.must(w.Transfer(l, 2) == nil, "a transfer is refused")
	w.must(l.Status().Transferee == 2, "nobody would know of the transfer")
	_, err := w.Propose(l, "b")
	w.mustFail(err, consensus.ErrTransferring, "a command during a transfer")
	_, err = w.Change(l, members(1, 3))
	w.mustFail(err, consensus.ErrTransferring, "a change during a transfer")
	w.mustFail(w.Transfer(l, 3), consensus.ErrTransferring, "a second transfer")
	w.Settle(1)
	w.must(p.Outcome != Dropped, "what was taken before is %v", p)
	w.finish()
}

// Goal: if the successor does not come, the leader goes on after an election timeout
// or so, or another is elected: the group is not stuck.
func transferGivenUp(s *suite) {
	w := s.group(3)
	l := w.Elect(1)
	w.Settle(2)
	w.Isolate(2)
	w.must(w.Transfer(l, 2) == nil, "a transfer is refused")
	w.Settle(3 * l.cfg.ElectionTicks)
	w.write("a")
	w.must(w.Leader().Status().Transferee == 0, "the transfer goes on")
	w.finish()
}

// Goal: a transfer in the middle of traffic ends every proposal, and loses none that
// was acknowledged.
func transferUnderLoad(s *suite) {
	w := s.group(5)
	for k := range 40 {
		l := w.AwaitLeader()
		for j := range 4 {
			_, _ = w.Propose(l, fmt.Sprintf("%d-%d", k, j))
			_, _ = w.Read(l)
			w.pump(l)
		}
		_ = w.Transfer(l, 0)
		for range 3 * (k % 7) {
			if len(w.net) > 0 {
				w.deliverInOrder(0)
			}
		}
		w.Settle(1)
	}
	w.finish()
}
