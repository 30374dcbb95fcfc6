package etcdraft

import (
	"fmt"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/consensus/internal/lease"
	"github.com/quorate/quorate/consensus/mutant"
)

// applyingBytes bounds the payload of entries that are learned and not yet applied;
// further ones are learned as those are applied.
const applyingBytes = 4 << 20

// New restores or creates a replica. It returns consensus.ErrInvalid, wrapped with
// the field at fault, when the configuration or the restored state is impossible.
func New(c consensus.Config) (*Machine, error) {
	if err := checkConfig(&c); err != nil {
		return nil, err
	}
	m := &Machine{
		group: c.Group, id: c.ID,
		limit: limits{uncommittedCost: uint64(c.UncommittedBytes), readRounds: c.ReadRounds},
		log:   entryLog{released: c.Log.Released, releasedEpoch: c.Log.ReleasedEpoch, applied: c.Applied},
		hard:  c.HardState,
	}
	m.log.confs = append(m.log.confs, configurationAt{c.Log.Released, c.Log.Configuration.Clone()})
	if err := m.restoreLog(c.Log.Entries); err != nil {
		return nil, err
	}
	m.disk = durability{index: m.log.last(), hard: c.HardState, handed: c.HardState}
	if m.hard.Epoch < m.log.lastEpoch() {
		// The engine is ahead of the log and has seen an epoch that the log lost.
		// That hard state was never durable, so nothing was said in that epoch (C3).
		m.hard = consensus.HardState{Epoch: m.log.lastEpoch()}
	}
	// The contract keeps no commit index, but raft must not campaign with a membership
	// that is older than the last one but one in its log (E4).
	m.commit = max(c.Applied, m.log.previousConf())
	if mutant.On(mutant.EtcdraftForgetMemberships) {
		m.commit = c.Applied
	}
	m.learned, m.handed = c.Applied, c.Applied
	m.active = m.log.confAt(c.Applied).Clone()
	m.log.initialConf = confState(&m.active)
	m.log.initialHard = &raftpb.HardState{
		Term: new(uint64(m.hard.Epoch)), Vote: new(uint64(m.hard.Vote)), Commit: new(uint64(m.commit)),
	}
	node, err := etcd.NewRawNode(m.engineConfig(&c))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", consensus.ErrInvalid, err)
	}
	m.node = node
	m.clock = clock{rand: c.Rand, electionTicks: c.ElectionTicks}
	m.clock.draw()
	if c.LeaseNanos > 0 {
		m.bound = lease.NewVoter(c.ElectionTicks, c.HardState.Epoch)
		m.read.lease = lease.NewHolder(c.LeaseNanos)
	}
	m.queue.written = m.log.last()
	if m.soleVoter() && m.bound.Free() {
		m.campaign()
	}
	m.collect()
	return m, nil
}

func (m *Machine) engineConfig(c *consensus.Config) *etcd.Config {
	return &etcd.Config{
		ID: uint64(c.ID), ElectionTick: c.ElectionTicks, HeartbeatTick: c.HeartbeatTicks,
		Storage: &m.log, Applied: uint64(c.Applied), AsyncStorageWrites: true,
		MaxSizePerMsg: uint64(c.MessageBytes), MaxCommittedSizePerReady: applyingBytes,
		MaxUncommittedEntriesSize: uint64(c.UncommittedBytes),
		MaxInflightMsgs:           c.InflightMessages,
		MaxInflightBytes:          uint64(max(c.InflightBytes, c.MessageBytes)), // raft refuses less
		CheckQuorum:               true, PreVote: true, ReadOnlyOption: etcd.ReadOnlySafe,
		DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: quiet{},
	}
}

// restoreLog rebuilds what the machine keeps of its entries.
func (m *Machine) restoreLog(entries []consensus.EntryInfo) error {
	l := &m.log
	for _, e := range entries {
		i := l.last() + 1
		switch {
		case e.Epoch < l.lastEpoch() || e.Epoch == 0:
			return fmt.Errorf("%w: Log.Entries: epoch %d at index %d follows epoch %d",
				consensus.ErrInvalid, e.Epoch, i, l.lastEpoch())
		case e.Epoch > m.hard.Epoch:
			return fmt.Errorf("%w: Log.Entries: epoch %d at index %d is above the hard state's %d",
				consensus.ErrInvalid, e.Epoch, i, m.hard.Epoch)
		case e.Kind == consensus.EntryMembership:
			c, err := decodeMembership(e.Data)
			if err != nil {
				return fmt.Errorf("%w: Log.Entries: index %d: %w", consensus.ErrInvalid, i, err)
			}
			l.confs = append(l.confs, configurationAt{i, c})
		case e.Kind != consensus.EntryCommand && e.Kind != consensus.EntryBarrier:
			return fmt.Errorf("%w: Log.Entries: index %d has %v", consensus.ErrInvalid, i, e.Kind)
		}
		l.entries = append(l.entries, stub{e.Epoch, e.Size, e.Kind})
	}
	if l.applied > l.last() {
		return fmt.Errorf("%w: Applied %d is behind the log's end %d", consensus.ErrInvalid, l.applied, l.last())
	}
	return nil
}

// checkConfig validates everything that does not need the log.
func checkConfig(c *consensus.Config) error {
	bad := func(field string, value any) error {
		return fmt.Errorf("%w: %s is %v", consensus.ErrInvalid, field, value)
	}
	switch {
	case c.Group == 0:
		return bad("Group", c.Group)
	case c.ID == 0 || reserved(c.ID):
		return bad("ID", c.ID)
	case c.Rand == nil:
		return bad("Rand", nil)
	case c.HeartbeatTicks < 1:
		return bad("HeartbeatTicks", c.HeartbeatTicks)
	case c.ElectionTicks <= c.HeartbeatTicks:
		return bad("ElectionTicks", c.ElectionTicks)
	case c.MessageBytes < 1:
		return bad("MessageBytes", c.MessageBytes)
	case c.InflightMessages < 1:
		return bad("InflightMessages", c.InflightMessages)
	case c.InflightBytes < 1:
		return bad("InflightBytes", c.InflightBytes)
	case c.UncommittedBytes < 1:
		return bad("UncommittedBytes", c.UncommittedBytes)
	case c.ReadRounds < 1:
		return bad("ReadRounds", c.ReadRounds)
	case c.Applied < c.Log.Released:
		return bad("Applied", c.Applied)
	case (c.Log.Released == 0) != (c.Log.ReleasedEpoch == 0):
		return bad("Log.ReleasedEpoch", c.Log.ReleasedEpoch)
	case c.HardState.Epoch == 0 && c.HardState.Vote != 0:
		return bad("HardState", c.HardState)
	case c.HardState.Epoch < c.Log.ReleasedEpoch && len(c.Log.Entries) > 0:
		return bad("HardState.Epoch", c.HardState.Epoch)
	case c.Log.InDoubt:
		return fmt.Errorf("%w: Log.InDoubt: etcd's raft cannot repair a damaged log: remove replica %v from the group and add it anew under another id",
			consensus.ErrInvalid, c.ID)
	}
	if err := checkConfiguration(&c.Log.Configuration); err != nil {
		return fmt.Errorf("%w: Log.Configuration: %w", consensus.ErrInvalid, err)
	}
	return nil
}
