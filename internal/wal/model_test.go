package wal

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus"
	"github.com/quorate/quorate/internal/env"
)

// rounds makes the random tests longer: go test ./internal/wal -wal.rounds 50.
var rounds = flag.Int("wal.rounds", 1, "how many times as long the random tests run")

// model is what a log should hold, in the dumbest form there is.
type model map[consensus.GroupID]modelGroup

type modelGroup struct {
	hs            consensus.HardState
	released      consensus.Index
	releasedEpoch consensus.Epoch
	decided       consensus.Index
	entries       map[consensus.Index]Entry
}

func (m model) clone() model {
	c := make(model, len(m))
	for id, g := range m {
		g.entries = maps.Clone(g.entries)
		c[id] = g
	}
	return c
}

// release removes a group's entries up to an index.
func (m model) release(id consensus.GroupID, to consensus.Index, epoch consensus.Epoch) {
	g := m[id]
	g.released, g.releasedEpoch = to, epoch
	maps.DeleteFunc(g.entries, func(i consensus.Index, _ Entry) bool { return i <= to })
	m[id] = g
}

// String is the canonical form of the model; see describeLog.
func (m model) String() string {
	var s strings.Builder
	for _, id := range slices.Sorted(maps.Keys(m)) {
		g := m[id]
		fmt.Fprintf(&s, "group %d: %d/%d released %d/%d decided %d\n", id, g.hs.Epoch, g.hs.Vote, g.released, g.releasedEpoch, g.decided)
		for _, i := range slices.Sorted(maps.Keys(g.entries)) {
			describeEntry(&s, g.entries[i])
		}
	}
	return s.String()
}

func describeEntry(s *strings.Builder, e Entry) {
	fmt.Fprintf(s, "  %d: %d %d %v %d %.12x\n", e.Index, e.Epoch, e.Orig, e.Kind, len(e.Data), e.Data)
}

// describeLog reads everything back and renders it like model.String. What the log
// does not vouch for makes it fail the comparison.
func describeLog(t testing.TB, l *Log) string {
	t.Helper()
	var s strings.Builder
	for _, id := range l.Groups() {
		st, err := l.State(id)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&s, "group %d: %d/%d released %d/%d decided %d\n",
			id, st.HardState.Epoch, st.HardState.Vote, st.Released, st.ReleasedEpoch, st.Decided)
		if st.Suspect || len(st.Faulty) > 0 {
			fmt.Fprintf(&s, "  suspect %v faulty %v\n", st.Suspect, st.Faulty)
			continue
		}
		for k := 0; k < len(st.Entries); {
			if st.Entries[k].Kind == 0 {
				k++
				continue
			}
			lo := st.Released + 1 + consensus.Index(k)
			got, err := l.Read(id, consensus.Span{Lo: lo, Hi: maxIndex}, 1<<30, nil)
			if err != nil || len(got) == 0 {
				t.Fatalf("read group %d from %d: %d entries, %v", id, lo, len(got), err)
			}
			for _, e := range got {
				info := st.Entries[k]
				if info.Epoch != e.Epoch || info.Orig != e.Orig || info.Kind != e.Kind || int(info.Size) != len(e.Data) {
					t.Fatalf("group %d index %d: info %+v, entry %+v", id, e.Index, info, e)
				}
				if e.Kind == consensus.EntryMembership && !bytes.Equal(e.Data, info.Data) {
					t.Fatalf("group %d index %d: membership data %x and %x", id, e.Index, info.Data, e.Data)
				}
				describeEntry(&s, e)
				k++
			}
		}
	}
	return s.String()
}

// workload draws batches that a node could write and applies them to a model.
type workload struct {
	rng   *rand.Rand
	model model
	// groups is how many groups there are; the odd ones behave like Raft, the even
	// ones like Paxos (sparse, out of order, replaced in place).
	groups  int
	dataMax int
	// keep is how many entries a group keeps when it releases.
	keep int
}

func newWorkload(seed uint64) *workload {
	return &workload{rng: rand.New(rand.NewPCG(seed, 1)), model: model{}, groups: 8, dataMax: 2000, keep: 6}
}

// draw adds what some groups do next to b and to the model.
func (w *workload) draw(b *Batch) {
	for range 1 + w.rng.IntN(3) {
		// The last group is nearly idle: it pins segments.
		id := consensus.GroupID(1 + w.rng.IntN(w.groups))
		if id == consensus.GroupID(w.groups) && w.rng.IntN(10) > 0 {
			continue
		}
		g := w.model[id]
		if g.entries == nil {
			g.entries = map[consensus.Index]Entry{}
		}
		w.drawGroup(b, id, &g)
		if g.entries != nil {
			w.model[id] = g
		} else {
			delete(w.model, id)
		}
	}
}

func (w *workload) drawGroup(b *Batch, id consensus.GroupID, g *modelGroup) {
	last := g.released
	for i := range g.entries {
		last = max(last, i)
	}
	switch n := w.rng.IntN(100); {
	case n < 15:
		g.hs.Epoch += consensus.Epoch(w.rng.IntN(3))
		g.hs.Vote = consensus.ReplicaID(w.rng.Uint64())
		b.HardState(id, g.hs)
	case n < 22 && id%2 == 1 && last > g.released:
		from := g.released + 1 + consensus.Index(w.rng.IntN(int(last-g.released)))
		b.Truncate(id, from)
		maps.DeleteFunc(g.entries, func(i consensus.Index, _ Entry) bool { return i >= from })
		w.append(b, id, g, from)
	case n < 40 && len(g.entries) > w.keep:
		to := last - consensus.Index(w.rng.IntN(w.keep))
		w.release(b, id, g, to)
	case n < 42 && id%2 == 0: // a snapshot in a log with holes
		w.release(b, id, g, g.released+1+consensus.Index(w.rng.IntN(int(last-g.released)+50)))
	case n < 42:
		g.released, g.releasedEpoch = last+consensus.Index(w.rng.IntN(50)), g.hs.Epoch
		clear(g.entries)
		b.Install(id, g.released, g.releasedEpoch)
	case n > 90 && id%2 == 0 && last > 0:
		at := consensus.Index(w.rng.IntN(int(last)))
		g.decided = max(g.decided, at)
		b.Decided(id, at)
	case n < 43:
		b.Remove(id)
		*g = modelGroup{}
	case id%2 == 0:
		w.append(b, id, g, g.released+1+consensus.Index(w.rng.IntN(int(last-g.released)+4)))
	default:
		w.append(b, id, g, last+1)
	}
}

func (w *workload) release(b *Batch, id consensus.GroupID, g *modelGroup, to consensus.Index) {
	if to <= g.released {
		return
	}
	g.released, g.releasedEpoch = to, g.hs.Epoch
	maps.DeleteFunc(g.entries, func(i consensus.Index, _ Entry) bool { return i <= to })
	b.Release(id, to, g.hs.Epoch)
}

func (w *workload) append(b *Batch, id consensus.GroupID, g *modelGroup, from consensus.Index) {
	var entries []Entry
	for k := range 1 + w.rng.IntN(3) {
		e := Entry{Index: from + consensus.Index(k), Epoch: g.hs.Epoch, Orig: g.hs.Epoch / 2, Kind: consensus.EntryCommand}
		if w.rng.IntN(10) == 0 {
			e.Kind = consensus.EntryMembership
		}
		e.Data = make([]byte, w.rng.IntN(w.dataMax))
		for i := range e.Data {
			e.Data[i] = byte(w.rng.Uint32())
		}
		entries = append(entries, e)
		g.entries[e.Index] = e
	}
	b.Append(id, entries)
}

const tinySegment = 32 << 10

func openTiny(fs env.FS) (*Log, error) {
	return Open(fs, "wal", Options{SegmentBytes: tinySegment})
}
