package engine

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// newPebbleMem opens a Pebble engine on a file system in memory.
func newPebbleMem(t interface{ Fatal(...any) }) *Pebble {
	p, err := OpenPebble(vfs.NewMem(), "engine", Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// eachEngine runs a test against both implementations.
func eachEngine(t *testing.T, test func(t *testing.T, open func() Engine)) {
	t.Run("memory", func(t *testing.T) { test(t, func() Engine { return NewMemory() }) })
	t.Run("pebble", func(t *testing.T) { test(t, func() Engine { return newPebbleMem(t) }) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// set commits one pair.
func set(t *testing.T, e Engine, key, value string) {
	t.Helper()
	b := e.NewBatch()
	must(t, b.Set([]byte(key), []byte(value)))
	must(t, b.Commit())
	must(t, b.Close())
}

// dump lists a reader's pairs in [lower, upper).
func dump(t interface{ Fatal(...any) }, r Reader, lower, upper []byte) string {
	it, err := r.NewIter(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.Value()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s=%s ", it.Key(), v)
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Goal: the basic contract, by example. Method: write, read through each door.
func TestEngineBasics(t *testing.T) {
	eachEngine(t, func(t *testing.T, open func() Engine) {
		e := open()
		set(t, e, "a", "1")
		set(t, e, "b", "2")
		set(t, e, "empty", "")
		snap := e.NewSnapshot()
		b := e.NewBatch()
		must(t, b.DeleteRange([]byte("a"), []byte("b")))
		must(t, b.Set([]byte("c"), []byte("3")))
		if b.Size() == 0 {
			t.Fatal("a filled batch has size 0")
		}
		must(t, b.Commit())
		must(t, b.Close())
		if got := dump(t, e, nil, nil); got != "b=2 c=3 empty= " {
			t.Fatalf("newest state is %q", got)
		}
		if got := dump(t, snap, nil, nil); got != "a=1 b=2 empty= " {
			t.Fatalf("snapshot shows %q", got)
		}
		v, ok, err := e.Get([]byte("empty"), nil)
		if err != nil || !ok || len(v) != 0 {
			t.Fatalf("empty value: %q %v %v", v, ok, err)
		}
		if _, ok, _ := e.Get([]byte("a"), nil); ok {
			t.Fatal("deleted key is there")
		}
		must(t, snap.Close())
		must(t, e.Close())
		if _, _, err := e.Get([]byte("a"), nil); !errors.Is(err, ErrClosed) {
			t.Fatalf("a closed engine answers %v", err)
		}
	})
}

// Goal: DurableGet shows a write only once Flush has returned (E3).
func TestDurableGet(t *testing.T) {
	eachEngine(t, func(t *testing.T, open func() Engine) {
		e := open()
		defer e.Close()
		set(t, e, "k", "old")
		must(t, e.Flush())
		set(t, e, "k", "new")
		for _, want := range []string{"old", "new"} {
			v, ok, err := e.DurableGet([]byte("k"), nil)
			if err != nil || !ok || string(v) != want {
				t.Fatalf("durable value %q %v %v, want %q", v, ok, err, want)
			}
			must(t, e.Flush())
		}
	})
}

// Goal: Ingest replaces exactly its span, durably, and refuses disorder (E4).
func TestIngest(t *testing.T) {
	eachEngine(t, func(t *testing.T, open func() Engine) {
		e := open()
		defer e.Close()
		for _, k := range []string{"a", "m1", "m2", "z"} {
			set(t, e, k, "old")
		}
		span := Span{Lo: []byte("m"), Hi: []byte("n")}
		must(t, e.Ingest(span, func(yield func(k, v []byte) error) error {
			return errors.Join(yield([]byte("m2"), []byte("new")), yield([]byte("m3"), []byte("new")))
		}))
		const want = "a=old m2=new m3=new z=old "
		if got := dump(t, e, nil, nil); got != want {
			t.Fatalf("after ingest: %q", got)
		}
		if _, ok, _ := e.DurableGet([]byte("m3"), nil); !ok {
			t.Fatal("an ingested key is not durable")
		}
		for _, bad := range [][2]string{{"m2", "m1"}, {"m1", "m1"}, {"m1", "n"}, {"a", "m"}} {
			err := e.Ingest(span, func(yield func(k, v []byte) error) error {
				return errors.Join(yield([]byte(bad[0]), nil), yield([]byte(bad[1]), nil))
			})
			if !errors.Is(err, ErrUnordered) {
				t.Fatalf("ingest of %v: %v", bad, err)
			}
		}
		if got := dump(t, e, nil, nil); got != want {
			t.Fatalf("a failed ingest left %q", got)
		}
		must(t, e.Ingest(span, func(func(k, v []byte) error) error { return nil }))
		if got := dump(t, e, nil, nil); got != "a=old z=old " {
			t.Fatalf("after an empty ingest: %q", got)
		}
	})
}

// Goal: both engines agree with each other under any sequence of operations.
// Method: the same random operations on both, every read compared.
func TestEnginesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		engines := []Engine{NewMemory(), newPebbleMem(t)}
		defer engines[1].Close()
		key := rapid.StringMatching(`[ab\x00\xff]{0,3}`)
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			seed := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) [3]string {
				op := rapid.SampledFrom([]string{"set", "set", "set", "delete", "range"}).Draw(t, "op")
				return [3]string{op, key.Draw(t, "key"), key.Draw(t, "other")}
			}), 1, 8).Draw(t, "batch")
			for _, e := range engines {
				applyOps(t, e, seed)
				if rapid.Bool().Draw(t, "flush") {
					if err := e.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			lower, upper := []byte("x"+key.Draw(t, "lower")), []byte("x"+key.Draw(t, "upper"))
			at := []byte("x" + key.Draw(t, "seek"))
			a, b := walk(t, engines[0], lower, upper, at), walk(t, engines[1], lower, upper, at)
			if a != b {
				t.Fatalf("memory and pebble differ in [%q, %q) at %q:\n%s\n%s", lower, upper, at, a, b)
			}
		}
	})
}

func applyOps(t *rapid.T, e Engine, ops [][3]string) {
	b := e.NewBatch()
	defer b.Close()
	for i, op := range ops {
		k, other := []byte("x"+op[1]), []byte("x"+op[2])
		var err error
		switch op[0] {
		case "set":
			err = b.Set(k, fmt.Appendf(nil, "%d", i))
		case "delete":
			err = b.Delete(k)
		case "range":
			if bytes.Compare(k, other) < 0 {
				err = b.DeleteRange(k, other)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

// walk exercises every way of positioning an iterator.
func walk(t *rapid.T, e Engine, lower, upper, at []byte) string {
	if bytes.Compare(lower, upper) > 0 {
		lower, upper = upper, lower
	}
	out := dump(t, e, lower, upper)
	it, err := e.NewIter(lower, upper)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	show := func(name string, ok bool) {
		out += name
		if ok != it.Valid() {
			t.Fatalf("%s returned %v but Valid is %v", name, ok, it.Valid())
		}
		if ok {
			v, _ := it.Value()
			out += fmt.Sprintf("(%q=%s)", it.Key(), v)
		}
	}
	show("last", it.Last())
	for it.Valid() {
		show("prev", it.Prev())
	}
	show("ge", it.SeekGE(at))
	if it.Valid() {
		show("prev", it.Prev())
	}
	show("lt", it.SeekLT(at))
	if it.Valid() {
		show("next", it.Next())
	}
	return out
}
