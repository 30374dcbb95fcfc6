package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// The crash workload: a line of commits, some flushed, with two ingests on the way.
// expected[i] is the state behind commit i, the ingested span aside.
const (
	crashCommits    = 48
	crashFlushEvery = 9
)

// ingestAt maps a commit to the content that the span [m, n) gets right after it.
var ingestAt = map[int][]string{20: {"m1", "m2"}, 35: {"m3"}}

// crashPoint is what a crash at one moment would leave on disk.
type crashPoint struct {
	op      string
	fs      *vfs.MemFS
	durable int // commits that a Flush had made durable
	begun   int // commits that had begun
	ingests [2]int
}

// crashRecorder clones the file system before each operation that changes it.
type crashRecorder struct {
	mem  *vfs.MemFS
	mu   sync.Mutex
	rng  *rand.Rand
	pcts []int

	durable, begun, ingestsDone, ingestsBegun atomic.Int64

	points []crashPoint
}

// linkFS keeps Link and CrashClone apart: MemFS.Link takes a read lock twice, and a
// clone that waits in between stops both for ever.
type linkFS struct {
	*vfs.MemFS
	mu *sync.Mutex
}

func (fs linkFS) Link(oldname, newname string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.MemFS.Link(oldname, newname)
}

func (r *crashRecorder) String() string { return "crash recorder" }

// MaybeError implements errorfs.Injector.
func (r *crashRecorder) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// What is promised is read before the clone, what is possible after it.
	p := crashPoint{
		op:      fmt.Sprintf("op %d: kind %d on %s", len(r.points), op.Kind, op.Path),
		durable: int(r.durable.Load()), ingests: [2]int{int(r.ingestsDone.Load()), 0},
	}
	pct := r.pcts[len(r.points)%len(r.pcts)]
	p.fs = r.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: pct, RNG: r.rng})
	p.begun, p.ingests[1] = int(r.begun.Load()), int(r.ingestsBegun.Load())
	r.points = append(r.points, p)
	return nil
}

// commitOps writes commit i into a batch: a counter, a key that comes and goes, and
// a value large enough to make several tables.
func commitOps(t *testing.T, b Batch, i int) {
	must(t, b.Set([]byte("a-count"), fmt.Appendf(nil, "%d", i)))
	must(t, b.Set(fmt.Appendf(nil, "b%02d", i%13), make([]byte, 2000+i)))
	if i%5 == 0 {
		must(t, b.DeleteRange([]byte("b03"), []byte("b07")))
	}
	if i%7 == 0 {
		must(t, b.Delete([]byte("b01")))
	}
}

// outside shows everything but the ingested span, inside that span alone.
func outside(t *testing.T, e Engine) string {
	return dump(t, e, nil, []byte("m")) + dump(t, e, []byte("n"), nil)
}

func inside(t *testing.T, e Engine) string { return dump(t, e, []byte("m"), []byte("n")) }

func ingestStep(t *testing.T, e Engine, i int) bool {
	keys, ok := ingestAt[i]
	if !ok {
		return false
	}
	must(t, e.Ingest(Span{[]byte("m"), []byte("n")}, func(yield func(k, v []byte) error) error {
		var err error
		for _, k := range keys {
			err = errors.Join(err, yield([]byte(k), fmt.Appendf(nil, "%d", i)))
		}
		return err
	}))
	return true
}

// Goal: E1 to E4 at every file operation. Method: run the workload on a file system
// that is cloned, as a crash would leave it, before each change; reopen every clone
// and compare it with the states that it may show. QUORATE_CRASH_ROUNDS repeats it
// with other random parts of unsynced data kept.
func TestPebbleCrashAtEveryFileOperation(t *testing.T) {
	rounds := 1
	if s := os.Getenv("QUORATE_CRASH_ROUNDS"); s != "" {
		var err error
		if rounds, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	expected, ingested := expectedStates(t)
	for seed := range rounds {
		r := recordCrashes(t, uint64(seed))
		for i := range r.points {
			checkCrash(t, seed, &r.points[i], expected, ingested)
		}
		if len(r.points) < 100 {
			t.Fatalf("only %d crash points", len(r.points))
		}
		t.Logf("seed %d: %d crash points", seed, len(r.points))
	}
}

// expectedStates runs the workload on Memory, which has no files.
func expectedStates(t *testing.T) (states, ingested []string) {
	e := NewMemory()
	states, ingested = []string{outside(t, e)}, []string{""}
	for i := 1; i <= crashCommits; i++ {
		b := e.NewBatch()
		commitOps(t, b, i)
		must(t, b.Commit())
		states = append(states, outside(t, e))
		if ingestStep(t, e, i) {
			ingested = append(ingested, inside(t, e))
		}
	}
	return states, ingested
}

func recordCrashes(t *testing.T, seed uint64) *crashRecorder {
	r := &crashRecorder{
		mem: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 1)),
		pcts: []int{0, 100, 50, 0, 25, 75},
	}
	p, err := OpenPebble(errorfs.Wrap(linkFS{r.mem, &r.mu}, r), "engine", Options{CacheBytes: 1 << 20, MemTableBytes: 16 << 10})
	must(t, err)
	for i := 1; i <= crashCommits; i++ {
		r.begun.Add(1)
		b := p.NewBatch()
		commitOps(t, b, i)
		must(t, b.Commit())
		must(t, b.Close())
		if i%crashFlushEvery == 0 {
			must(t, p.Flush())
			r.durable.Store(int64(i))
		}
		if _, ok := ingestAt[i]; ok {
			r.ingestsBegun.Add(1)
			ingestStep(t, p, i)
			r.ingestsDone.Add(1)
		}
	}
	must(t, p.Close())
	return r
}

func checkCrash(t *testing.T, seed int, p *crashPoint, expected, ingested []string) {
	e, err := OpenPebble(p.fs, "engine", Options{CacheBytes: 1 << 20, MemTableBytes: 16 << 10})
	if err != nil {
		t.Fatalf("seed %d %s: %v", seed, p.op, err)
	}
	got := outside(t, e)
	found := -1
	for i := p.durable; i <= p.begun; i++ {
		if expected[i] == got {
			found = i
		}
	}
	if found < 0 {
		count, _, _ := e.Get([]byte("a-count"), nil)
		t.Fatalf("seed %d %s: a state (count %s) that no commit in [%d, %d] left", seed, p.op, count, p.durable, p.begun)
	}
	if in := inside(t, e); in != ingested[p.ingests[0]] && in != ingested[p.ingests[1]] {
		t.Fatalf("seed %d %s: span shows %q", seed, p.op, in)
	}
	must(t, e.Close())
}
