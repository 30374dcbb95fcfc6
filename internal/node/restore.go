package node

import (
	"fmt"
	"math/rand/v2"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/shard"
	"github.com/quorate/quorate/internal/store"
)

// restore puts together what the engine and the log know of a shard.
func (n *Node) restore(spec *shardSpec, s *store.Store) (consensus.Config, error) {
	id := spec.id
	state, err := n.log.log.State(shard.Group(id))
	if err != nil {
		return consensus.Config{}, err
	}
	c, mend, err := shard.Restore(id, n.cfg.engine(spec.record.Engine), s.Applied(), state, spec.first)
	if err != nil {
		return consensus.Config{}, fmt.Errorf("%s: %w", n.cfg.DataDir, err)
	}
	if c.Log.InDoubt {
		n.cfg.Logger.Warn("the log has lost what was durable: this replica does not vote until its leader has repaired it",
			"shard", id, "faulty", fmt.Sprint(state.Faulty), "hard-state-in-doubt", state.Suspect, "dir", n.dir.wal)
	}
	if mend != nil {
		if err := n.log.mend(mend); err != nil {
			return consensus.Config{}, err
		}
	}
	c.Rand = rand.New(rand.NewPCG(n.cfg.Seed, uint64(id)))
	return c, nil
}
