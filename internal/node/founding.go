package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/quorum"
	"github.com/quorate/quorate/internal/placement"
	"github.com/quorate/quorate/internal/shard"
)

// foundedShard is a shard that every node begins with.
type foundedShard struct {
	id       shard.ID
	keyspace string
}

// foundedShards in the order in which they are opened: what opens the default keyspace may
// look into the system keyspace.
var foundedShards = []foundedShard{{SystemShard, SystemKeyspace}, {DefaultShard, DefaultKeyspace}}

// shardRecord is how a shard was founded. It holds for as long as the shard lives: its log
// speaks its engine's language, and its write quorum changes only as its members do.
type shardRecord struct {
	Engine string `json:"engine"`
	// WriteQuorum is the first configuration's: how many voters decide; zero: a majority.
	WriteQuorum int `json:"write_quorum"`
}

// String is a record as an operator would ask for it.
func (r shardRecord) String() string {
	if r.WriteQuorum == 0 {
		return "engine " + r.Engine
	}
	return fmt.Sprintf("engine %s with write quorum %d", r.Engine, r.WriteQuorum)
}

// found is how this configuration founds its shards. Of --write-quorum the system shard
// gets nothing: it is written once in a while, and would only be elected with more members.
func (c *Config) found() (map[shard.ID]shardRecord, error) {
	engine, voters := c.Engine, placement.OwnReplicas(len(c.InitialCluster))
	if engine == "" {
		engine = c.Engines[0].Name
	}
	if err := CheckWriteQuorum(c.WriteQuorum, voters, engine, c.Engines); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return map[shard.ID]shardRecord{
		SystemShard:  {Engine: engine},
		DefaultShard: {Engine: engine, WriteQuorum: recordedQuorum(c.WriteQuorum, voters)},
	}, nil
}

// recordedQuorum writes a majority as zero, so that members who said it and members who
// left it out begin with the same configuration.
func recordedQuorum(write, voters int) int {
	if write == voters/2+1 {
		return 0
	}
	return write
}

// CheckWriteQuorum reports why a shard of so many voters cannot begin with a write quorum
// on an engine, one of engines. Zero asks for a majority.
func CheckWriteQuorum(write, voters int, engine string, engines []consensus.Engine) error {
	majority, flexible := voters/2+1, FlexibleEngines(engines)
	switch {
	case write == 0:
		return nil
	case !slices.Contains(flexible, engine):
		return fmt.Errorf("--write-quorum is %d, but engine %s always decides with a majority: leave it out, or found the cluster with --engine %s",
			write, engine, either(flexible))
	case majority < 2:
		return fmt.Errorf("--write-quorum is %d, but there is only one member to decide: leave it out", write)
	case write < 2:
		return fmt.Errorf("--write-quorum is %d: a decision would be on one disk, and lost with it: use 2 or more", write)
	case write > majority:
		return fmt.Errorf("--write-quorum is %d: of %d members %d are a majority, and more never have to decide: use 2 or more, up to %d, or leave it out",
			write, voters, majority, majority)
	}
	return nil
}

// FlexibleEngines names the engines that know a write quorum.
func FlexibleEngines(engines []consensus.Engine) (names []string) {
	for i := range engines {
		if engines[i].Flexible {
			names = append(names, engines[i].Name)
		}
	}
	return names
}

// QuorumWarning says what a write quorum below a majority costs; it is empty for others.
func QuorumWarning(write, voters int) string {
	if write == 0 || write > voters/2 {
		return ""
	}
	what := fmt.Sprintf("%d lost disks or dead nodes are survived", write-1)
	if write == 2 {
		what = "one lost disk or dead node is survived"
	}
	decide, elect := quorum.Sizes(voters, write)
	return fmt.Sprintf("with write quorum %d of %d members only %s, for data and for elections alike: %d must agree to decide, %d to elect",
		write, voters, what, decide, elect)
}

// checkRecord holds what a directory's shards were founded with against this program and
// what was asked for; what was left out asks for what is recorded.
func (n *Node) checkRecord(known *identity) error {
	for _, s := range foundedShards {
		if r := known.Shards[s.id]; !n.cfg.has(r.Engine) {
			return fmt.Errorf("%s: %w: its %s keyspace runs on engine %q, and this program has %s: start a program that has it, or choose another --data-dir",
				n.cfg.DataDir, ErrEngine, s.keyspace, r.Engine, strings.Join(n.cfg.engineNames(), ", "))
		}
	}
	r, voters := known.Shards[DefaultShard], placement.OwnReplicas(len(known.Voters))
	if n.cfg.Engine != "" && n.cfg.Engine != r.Engine {
		return fmt.Errorf("%s: %w: its %s keyspace runs on engine %q for as long as it lives, --engine says %q: leave --engine out, or choose another --data-dir",
			n.cfg.DataDir, ErrEngine, DefaultKeyspace, r.Engine, n.cfg.Engine)
	}
	if n.cfg.WriteQuorum == 0 {
		return nil
	}
	if err := CheckWriteQuorum(n.cfg.WriteQuorum, voters, r.Engine, n.cfg.Engines); err != nil {
		return fmt.Errorf("%s: %w: %w", n.cfg.DataDir, ErrEngine, err)
	}
	if recordedQuorum(n.cfg.WriteQuorum, voters) != r.WriteQuorum {
		decide, _ := quorum.Sizes(voters, r.WriteQuorum)
		return fmt.Errorf("%s: %w: its %s keyspace was founded with write quorum %d, --write-quorum says %d: leave it out, because to change it is a reconfiguration of the group and not a flag",
			n.cfg.DataDir, ErrEngine, DefaultKeyspace, decide, n.cfg.WriteQuorum)
	}
	return nil
}

// has reports whether this program has an engine.
func (c *Config) has(engine string) bool { return slices.Contains(c.engineNames(), engine) }

func (c *Config) engineNames() []string {
	names := make([]string, len(c.Engines))
	for i, e := range c.Engines {
		names[i] = e.Name
	}
	return names
}

// engine is one of this program's, which has it.
func (c *Config) engine(name string) consensus.Engine {
	return c.Engines[slices.Index(c.engineNames(), name)]
}

// foundingRecords are the records of the shards that the cluster began with: as many of its
// first members vote as should, in their first incarnation, and in the system keyspace the
// others learn.
func (n *Node) foundingRecords() []placement.Keyspace {
	var all []placement.Node
	for _, node := range n.identity.Voters { // ascending
		all = append(all, placement.Node{ID: uint64(node), Incarnation: 1})
	}
	voters := all[:placement.OwnReplicas(len(all))]
	var records []placement.Keyspace
	for _, f := range foundedShards {
		r := n.identity.Shards[f.id]
		s := placement.Shard{ID: uint64(f.id), Engine: r.Engine, WriteQuorum: r.WriteQuorum, First: voters, Nodes: voters}
		if f.id == SystemShard {
			s.Learners = all[len(voters):]
		}
		records = append(records, placement.Keyspace{
			Format: 1, Name: f.keyspace, Epoch: 1, State: placement.Active, Shards: []placement.Shard{s},
		})
	}
	return records
}

// founders are the cluster's first members, as far as this node was told of them.
func (n *Node) founders() []placement.Member {
	var list []placement.Member
	for i, id := range n.cfg.nodes() {
		if m := n.cfg.InitialCluster[i]; slices.Contains(n.identity.Voters, id) {
			list = append(list, placement.Member{ID: uint64(id), Name: m.Name, PeerURLs: m.PeerURLs, Incarnation: max(1, m.Incarnation)})
		}
	}
	return list
}

// logOpened says what a shard runs on, and what its write quorum costs.
func (n *Node) logOpened(s *shardSpec, c *consensus.Configuration) {
	decide, elect := quorum.Sizes(len(c.Voters), c.WriteQuorum)
	n.cfg.Logger.Info("opened a shard", "shard", s.id, "keyspace", s.keyspace, "engine", s.record.Engine,
		"voters", len(c.Voters), "write-quorum", decide, "election-quorum", elect)
	if warning := QuorumWarning(c.WriteQuorum, len(c.Voters)); warning != "" {
		n.cfg.Logger.Warn("keyspace "+s.keyspace+": "+warning, "shard", s.id)
	}
}

// either writes "a", "a or b" or "a, b or c".
func either(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
