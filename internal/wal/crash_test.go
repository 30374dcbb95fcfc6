package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/quorate/quorate/consensus"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// crasher runs a workload and crashes the disk at every single operation.
type crasher struct {
	t      *testing.T
	mem    *vfs.MemFS
	rng    *rand.Rand
	nested bool

	models  []model  // after each batch
	states  []string // how they read
	synced  int      // models[synced] is durable
	full    bool     // no new files can be had
	ops     int
	kinds   map[string]int
	busy    bool
	refused int
}

// Goal: whatever the moment of a crash and whatever share of unsynced sectors
// survives it, a reopened log holds everything that was synced, nothing half, no batch
// without those before it, and goes on working. Method: crash at every operation of a
// workload that rolls, reclaims, finds the disk full and restarts, and also at every operation of the
// recovery.
func TestCrashAtEveryFileOperation(t *testing.T) {
	refused, kinds := 0, map[string]int{}
	for seed := range uint64(*rounds) {
		c := &crasher{
			t: t, mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 2)),
			nested: true, models: []model{{}}, states: []string{""}, kinds: kinds,
		}
		c.run(seed)
		refused += c.refused
	}
	t.Logf("crashes at %v, %d batches refused", kinds, refused)
	for _, kind := range []string{"openrw", "write", "sync", "syncdata", "syncdir", "rename", "remove"} {
		if kinds[kind] == 0 {
			t.Errorf("no crash at %q", kind)
		}
	}
	if refused == 0 {
		t.Error("no batch was refused")
	}
}

func (c *crasher) run(seed uint64) {
	fs := &faultFS{FS: c.mem, before: c.crash}
	l, err := openTiny(fs)
	if err != nil {
		c.t.Fatal(err)
	}
	w := newWorkload(seed)
	var b Batch
	for i := range 75 {
		c.full = i >= 20 && i < 40
		c.write(l, w, &b)
		if c.rng.IntN(3) > 0 {
			if err := l.Sync(); err != nil {
				c.t.Fatal(err)
			}
			c.synced = len(c.models) - 1
		}
		if i == 55 {
			if err := l.Close(); err != nil {
				c.t.Fatal(err)
			}
			c.synced = len(c.models) - 1
			if l, err = openTiny(fs); err != nil {
				c.t.Fatal(err)
			}
		}
	}
}

// write draws and writes one batch. While the disk is full its releases may be taken
// and the rest of it not.
func (c *crasher) write(l *Log, w *workload, b *Batch) {
	before := w.model.clone()
	b.Reset()
	w.draw(b)
	if c.full {
		var releases Batch
		l.takeReleases([]*Batch{b}, &releases)
		for i := range releases.parts {
			p := &releases.parts[i]
			before.release(p.group, p.target.released, p.target.releasedEpoch)
		}
		c.push(before)
	}
	c.push(w.model)
	err := l.Write(b)
	if c.full && errors.Is(err, ErrFull) {
		c.refused++
		last := len(c.models) - 1
		w.model = c.models[last-1].clone()
		c.models, c.states = c.models[:last], c.states[:last]
		return
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *crasher) push(m model) {
	c.models = append(c.models, m.clone())
	c.states = append(c.states, m.String())
}

// crash looks at what the disk would hold if op were the last thing that began.
func (c *crasher) crash(op *fileOp) error {
	if !op.mutates() || c.busy {
		return nil
	}
	c.busy = true
	defer func() { c.busy = false }()
	c.ops++
	c.kinds[op.kind]++
	for _, percent := range []int{0, 25, 50, 75, 100} {
		disk := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng})
		c.check(disk, fmt.Sprintf("%s of %s, %d %% of unsynced blocks", op.kind, op.name, percent))
	}
	c.check(tornClone(c.t, c.mem, op, c.rng), fmt.Sprintf("%s of %s, torn", op.kind, op.name))
	if c.full && op.kind == "prealloc" {
		return syscall.ENOSPC
	}
	return nil
}

// check opens a disk as a crash left it and compares.
func (c *crasher) check(disk *vfs.MemFS, when string) {
	if c.nested {
		c.crashRecovery(disk, when)
	}
	l, err := openTiny(disk)
	if err != nil {
		c.t.Fatalf("crash %d at %s: %v", c.ops, when, err)
	}
	found := c.compare(l, when)
	// The log goes on, and says the same when it is opened again.
	m := found.clone()
	m[99] = modelGroup{entries: map[consensus.Index]Entry{}}
	g := m[99]
	g.entries[1] = command(1, 1, "goes on")
	var b Batch
	b.Append(99, []Entry{g.entries[1]})
	mustWrite(c.t, l, &b)
	if err := l.Close(); err != nil {
		c.t.Fatal(err)
	}
	if l, err = openTiny(disk); err != nil {
		c.t.Fatal(err)
	}
	if diff := cmp.Diff(m.String(), describeLog(c.t, l)); diff != "" {
		c.t.Fatalf("crash %d at %s: the log did not go on:\n%s", c.ops, when, diff)
	}
}

// compare returns the model that the log equals, which must be one between what was
// synced and what was written.
func (c *crasher) compare(l *Log, when string) model {
	got := describeLog(c.t, l)
	for i := len(c.states) - 1; i >= c.synced; i-- {
		if got == c.states[i] {
			return c.models[i]
		}
	}
	c.t.Fatalf("crash %d at %s: the log holds none of the %d states since the last sync; this is how it differs from the synced one:\n%s",
		c.ops, when, len(c.models)-c.synced, cmp.Diff(c.states[c.synced], got))
	return nil
}

// crashRecovery crashes again at every operation of Open.
func (c *crasher) crashRecovery(disk *vfs.MemFS, when string) {
	if c.rng.IntN(10) > 0 {
		return // one in ten is enough, they are alike
	}
	first := disk.CrashClone(vfs.CrashCloneCfg{})
	var seconds []*vfs.MemFS
	fs := &faultFS{FS: first, before: func(op *fileOp) error {
		if op.mutates() {
			percent := 50 * c.rng.IntN(3)
			seconds = append(seconds, first.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng}))
		}
		return nil
	}}
	l, err := openTiny(fs)
	if err != nil {
		c.t.Fatalf("crash %d at %s: %v", c.ops, when, err)
	}
	c.compare(l, when)
	for _, second := range seconds {
		l, err := openTiny(second)
		if err != nil {
			c.t.Fatalf("crash %d at %s, and again while recovering: %v", c.ops, when, err)
		}
		c.compare(l, when+", and again while recovering")
	}
}
