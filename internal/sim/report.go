package sim

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/quorate/quorate/consensus/paxos"
	"github.com/quorate/quorate/consensus/raft"
)

// Failure is what ended a run early.
type Failure struct {
	Checker string // which one, or "panic"
	Text    string
	At      time.Duration
}

// String says what failed and when.
func (f *Failure) String() string {
	return fmt.Sprintf("checker %s failed at %v: %s", f.Checker, f.At, f.Text)
}

// Report is what a run was.
type Report struct {
	Seed     uint64
	Engine   string // as in Options
	Mix      string // what the seed drew
	Failure  *Failure
	SimTime  time.Duration
	CoreTime time.Duration
	Events   int

	Operations int // completed by clients
	Failed     int // of those, with an error
	Faults     int
	Moves      int            // of replicas, that came to an end under faults
	Counts     map[string]int // by "fault ...", "cell ...", "error ...", "op ..."

	moving bool // Options.Moves
}

// Replay is the command that runs a seed again. flags are those of the run, if it had any.
func (r *Report) Replay(mutant, flags string) string {
	tags := ""
	if r.moving {
		flags = " --moves" + flags
	}
	if r.Engine != engineNames[0] {
		flags = " --engine " + r.Engine + flags
	}
	if mutant != "" {
		tags, flags = "-tags mutants ", " --mutant "+mutant+flags
	}
	return fmt.Sprintf("go run %s./cmd/quorate sim --seed %d%s --trace", tags, r.Seed, flags)
}

func (r *Report) count(what string) {
	if r.Counts == nil {
		r.Counts = make(map[string]int)
	}
	r.Counts[what]++
}

// Merge adds another run's counts.
func (r *Report) Merge(o *Report) {
	r.Engine, r.moving = o.Engine, o.moving
	r.Moves += o.Moves
	r.Operations += o.Operations
	r.Failed += o.Failed
	r.Faults += o.Faults
	r.Events += o.Events
	r.SimTime += o.SimTime
	r.CoreTime += o.CoreTime
	if r.Counts == nil {
		r.Counts = make(map[string]int)
	}
	for k, v := range o.Counts {
		r.Counts[k] += v
	}
}

// Table lists the counts, a line each, by name.
func (r *Report) Table() string {
	names := make([]string, 0, len(r.Counts))
	for k := range r.Counts {
		names = append(names, k)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, k := range names {
		fmt.Fprintf(&b, "%8d  %s\n", r.Counts[k], k)
	}
	return b.String()
}

// Speed relates what was simulated to what it cost.
func (r *Report) Speed() string {
	core, simulated := max(r.CoreTime.Seconds(), 1e-9), max(r.SimTime.Seconds(), 1e-9)
	return fmt.Sprintf("%.0f simulated seconds per core-second, %.0f operations per simulated second",
		simulated/core, float64(r.Operations)/simulated)
}

// expected lists every count that must not stay zero in a batch of an engine, in order.
// Which cells of a handler table cannot be demanded, and why, the engine says itself.
func expected(engine string) []string {
	var names []string
	for _, f := range faults[:faultDie] {
		names = append(names, "fault "+f.name)
	}
	names = append(names, "fault drop", "fault duplicate", "fault reorder")
	for _, c := range cells(engine, nil) {
		if c.common {
			names = append(names, c.name)
		}
	}
	if engine == raft.Engine.Name { // they depend on no engine, and this batch is the largest
		names = append(names, occurrences...)
	}
	if engine == raft.Engine.Name || engine == Mixed {
		names = append(names, "recovery log damaged", "recovery log repaired")
	}
	if engine != raft.Engine.Name {
		names = append(names, "recovery damaged log refused")
	}
	if engine == paxos.Engine.Name || engine == Mixed {
		names = append(names, "check skipped entry", "check handover")
	}
	return names
}

// occurrences are recoveries, errors and operations that every batch must contain.
var occurrences = []string{
	"recovery crash in restart", "recovery engine ahead of log", "recovery torn tail",
	"snapshot sent", "snapshot received: ok",
	"op put", "op get", "op get serializable", "op range", "op range old", "op delete", "op delete range",
	"op swap", "op txn", "op txn put", "op compact", "op lease grant", "op lease attach", "op lease keepalive",
	"op lease revoke", "op lease expiry ok", "op watch batch", "op watch resume", "op watch compacted", "op watch progress",
	"error log: disk full", "error op: connection lost", "error op: connection refused", "error op: request timed out",
	"error op: outcome unknown: the state was replaced by a snapshot",
	"error op: request timed out, possibly due to previous leader failure",
	"error op: no space left on the node's disk", "error op: mvcc: required revision has been compacted",
	"error propose: leadership is being transferred", "error propose: not the leader", "check blind key", "check state hash",
}

// Missing lists what a batch should contain and this one does not.
func (r *Report) Missing() (missing []string) {
	for _, name := range expected(r.Engine) {
		if r.Counts[name] == 0 {
			missing = append(missing, name)
		}
	}
	for _, c := range cells(r.Engine, nil) {
		if c.never && r.Counts[c.name] > 0 {
			missing = append(missing, c.name+" is said never to happen, and did")
		}
	}
	return missing
}
