package etcdraft

import (
	"fmt"
	"slices"

	etcd "go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/quorate/quorate/consensus"
)

// entryOverhead is what an entry costs in every window beyond its data, in bytes.
const entryOverhead = 16

// stub is what the machine keeps of an entry: 16 bytes.
type stub struct {
	epoch consensus.Epoch
	size  uint32 // bytes of data
	kind  consensus.EntryKind
}

// configurationAt is a configuration and the index of the entry that brought it.
type configurationAt struct {
	index consensus.Index
	consensus.Configuration
}

// entryLog is the log without command data. It is etcd's Storage: raft asks it for
// entries that are durable, to send or to learn them, and looks at their index, term,
// type and size only, because the driver fills in the data (C5). Entries made here
// have data of the right size that nobody reads.
type entryLog struct {
	released      consensus.Index
	releasedEpoch consensus.Epoch
	entries       []stub // of the indexes released+1, released+2, ...
	// applied is the last index that the driver reported applied.
	applied consensus.Index

	// confs are the configurations of this log: the one in force at released and
	// those of the membership entries behind it.
	// Invariant: never empty, ascending by index.
	confs []configurationAt

	// initialHard and initialConf are what a restored raft starts with.
	initialHard *raftpb.HardState
	initialConf *raftpb.ConfState
}

// sizes is where the data of stubs comes from. It is never written, so it costs
// address space only. An entry that is larger counts as this large.
var sizes [4 << 20]byte

func (l *entryLog) last() consensus.Index { return l.released + consensus.Index(len(l.entries)) }

// at returns the stub at i, which must be in the log.
func (l *entryLog) at(i consensus.Index) *stub { return &l.entries[i-l.released-1] }

// epochAt is the epoch at i, zero if it is not known.
func (l *entryLog) epochAt(i consensus.Index) consensus.Epoch {
	switch {
	case i == l.released:
		return l.releasedEpoch
	case i < l.released || i > l.last():
		return 0
	}
	return l.at(i).epoch
}

func (l *entryLog) lastEpoch() consensus.Epoch { return l.epochAt(l.last()) }

// truncate removes the entries at or above from and their configurations.
func (l *entryLog) truncate(from consensus.Index) {
	l.entries = l.entries[:from-l.released-1]
	n := len(l.confs)
	for n > 1 && l.confs[n-1].index >= from {
		n--
	}
	l.confs = l.confs[:n]
}

// reset starts the log anew behind a snapshot.
func (l *entryLog) reset(s *consensus.Snapshot) {
	l.released, l.releasedEpoch, l.entries = s.Index, s.Epoch, nil
	l.confs = append(l.confs[:0], configurationAt{s.Index, s.Configuration.Clone()})
}

// release forgets the entries at or below i and the configurations superseded there.
func (l *entryLog) release(i consensus.Index) {
	if i <= l.released {
		return
	}
	l.releasedEpoch, l.entries = l.at(i).epoch, l.entries[i-l.released:]
	l.released = i
	n := 0
	for n+1 < len(l.confs) && l.confs[n+1].index <= i {
		n++
	}
	l.confs = slices.Delete(l.confs, 0, n)
}

// newest is the latest configuration in the log, decided or not.
func (l *entryLog) newest() *configurationAt { return &l.confs[len(l.confs)-1] }

// confAt is the configuration in force at i, in the sense of the contract: that of
// the last membership entry at or below i.
func (l *entryLog) confAt(i consensus.Index) *consensus.Configuration {
	n := len(l.confs) - 1
	for n > 0 && l.confs[n].index > i {
		n--
	}
	return &l.confs[n].Configuration
}

// previousConf is the index of the membership entry before the newest one, or
// released.
func (l *entryLog) previousConf() consensus.Index {
	if len(l.confs) < 2 {
		return l.released
	}
	return l.confs[len(l.confs)-2].index
}

// InitialState implements Storage.
func (l *entryLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return l.initialHard, l.initialConf, nil
}

// Entries implements Storage.
func (l *entryLog) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo <= uint64(l.released) {
		return nil, etcd.ErrCompacted
	}
	if hi > uint64(l.last())+1 || lo >= hi {
		return nil, etcd.ErrUnavailable
	}
	n, total := 0, uint64(0)
	for i := lo; i < hi; i++ {
		total += uint64(l.at(consensus.Index(i)).size) + entryOverhead
		if n > 0 && total > maxSize {
			break
		}
		n++
	}
	entries, numbers, out := make([]raftpb.Entry, n), make([]uint64, 2*n), make([]*raftpb.Entry, n)
	for k := range out {
		s, e := l.at(consensus.Index(lo)+consensus.Index(k)), &entries[k]
		numbers[2*k], numbers[2*k+1] = uint64(s.epoch), lo+uint64(k)
		e.Term, e.Index, e.Type = &numbers[2*k], &numbers[2*k+1], entryType(s.kind)
		if size := min(int(s.size), len(sizes)); size > 0 {
			e.Data = sizes[:size:size]
		}
		out[k] = e
	}
	return out, nil
}

// Term implements Storage.
func (l *entryLog) Term(i uint64) (uint64, error) {
	switch {
	case i < uint64(l.released):
		return 0, etcd.ErrCompacted
	case i > uint64(l.last()):
		return 0, etcd.ErrUnavailable
	}
	return uint64(l.epochAt(consensus.Index(i))), nil
}

// LastIndex implements Storage.
func (l *entryLog) LastIndex() (uint64, error) { return uint64(l.last()), nil }

// FirstIndex implements Storage.
func (l *entryLog) FirstIndex() (uint64, error) { return uint64(l.released) + 1, nil }

// Snapshot implements Storage. Raft asks for one when a follower needs entries that
// are released; the driver then streams its state, which is at applied or later.
func (l *entryLog) Snapshot() (*raftpb.Snapshot, error) {
	i := max(l.applied, l.released)
	if i > l.last() {
		panic(fmt.Sprintf("etcdraft: snapshot at index %d, the log ends at %d", i, l.last()))
	}
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(uint64(i)), Term: new(uint64(l.epochAt(i))), ConfState: confState(l.confAt(i)),
	}}, nil
}
