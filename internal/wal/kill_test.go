package wal

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quorate/quorate/consensus"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

var errKilled = errors.New("killed")

// Goal: a log that was reopened after its process was killed vouches for what it found,
// although the killed process had not synced it: a power cut right after the next sync
// loses nothing. Method: kill at file operation k, open the same disk, check, write on
// into the next segment, cut the power.
func TestKillThenPowerCut(t *testing.T) {
	step := max(1, 5 / *rounds)
	for k := 0; ; k += step {
		mem := vfs.NewCrashableMem()
		n := 0
		fs := &faultFS{FS: mem, before: func(op *fileOp) error {
			if op.mutates() {
				if n++; n > k {
					return errKilled
				}
			}
			return nil
		}}
		states, models, synced := runUntilKilled(fs, uint64(k%7))
		fs.unlock() // as the end of a process does
		if n <= k {
			break // the workload ended before
		}
		l, err := openTiny(mem)
		if err != nil {
			t.Fatalf("killed at operation %d: %v", k, err)
		}
		got, found := describeLog(t, l), -1
		for i := synced; i < len(states); i++ {
			if states[i] == got {
				found = i
			}
		}
		if found < 0 {
			t.Fatalf("killed at operation %d: %s", k, cmp.Diff(states[synced], got))
		}
		m := models[found].clone()
		m[99] = modelGroup{entries: map[consensus.Index]Entry{}}
		var b Batch
		for i := consensus.Index(1); i <= 12; i++ { // into the next segment
			m[99].entries[i] = command(i, 1, strings.Repeat("goes on", 500))
			b.Append(99, []Entry{m[99].entries[i]})
			mustWrite(t, l, &b)
		}
		if l, err = openTiny(mem.CrashClone(vfs.CrashCloneCfg{})); err != nil {
			t.Fatalf("killed at operation %d, then a power cut: %v", k, err)
		}
		if diff := cmp.Diff(m.String(), describeLog(t, l)); diff != "" {
			t.Fatalf("killed at operation %d, then a power cut:\n%s", k, diff)
		}
	}
}

// runUntilKilled runs a workload until the disk says that the process is dead. It
// returns the states that the log may be in and the first that is synced.
func runUntilKilled(fs *faultFS, seed uint64) (states []string, models []model, synced int) {
	states, models = []string{""}, []model{{}}
	l, err := openTiny(fs)
	if err != nil {
		return states, models, 0
	}
	w := newWorkload(seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	var b Batch
	for range 60 {
		b.Reset()
		w.draw(&b)
		states, models = append(states, w.model.String()), append(models, w.model.clone())
		if err := l.Write(&b); err != nil {
			return states, models, synced
		}
		if rng.IntN(3) == 0 {
			if err := l.Sync(); err != nil {
				return states, models, synced
			}
			synced = len(states) - 1
		}
	}
	return states, models, synced
}
