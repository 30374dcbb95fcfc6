package etcdraft_test

import (
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/consensustest"
	"github.com/quorate/quorate/consensus/etcdraft"
)

// Goal: etcd's Raft is an engine like any other. Method: the shared suite.
func TestConformance(t *testing.T) {
	consensustest.Run(t, etcdraft.Engine, consensustest.Options{Enough: enough})
}

// enough is etcd's rule: a configuration comes into force when its leader applies it, so
// what decides is the one of some entry that was decided before. A change begins only after
// the one before is applied, so there are three at most to choose from.
func enough(h consensustest.Holding) bool {
	const choices = 3
	tried := 0
	var last consensus.Configuration
	for i := h.Index; ; i-- {
		c := h.At(i)
		if tried == 0 || !c.Membership.Equal(&last.Membership) || c.Joint() != last.Joint() {
			if consensustest.Majority(consensustest.Holding{Learner: consensus.Status{Configuration: c}, Holds: h.Holds}) {
				return true
			}
			if tried++; tried == choices {
				return false
			}
			last = c
		}
		if i == 0 {
			return false
		}
	}
}
