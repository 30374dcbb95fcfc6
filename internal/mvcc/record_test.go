package mvcc

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"testing"

	"pgregory.net/rapid"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// golden compares encodings, one line each, with a file that is never changed
// without a new format version.
func golden(t *testing.T, path string, lines []string) {
	t.Helper()
	var got bytes.Buffer
	for _, l := range lines {
		fmt.Fprintln(&got, l)
	}
	if *rewrite {
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got.Bytes()) {
		t.Fatalf("%s differs: a durable format changed\n%s", path, got.String())
	}
}

// Goal: what was written stays readable. Method: each format's bytes by example.
func TestGoldenRecords(t *testing.T) {
	k := keyspace{prefix: []byte{0, 0, 0, 0, 0, 0, 0, 7}}
	kv := KeyValue{Key: []byte("key"), Value: []byte("value"), CreateRevision: 3, ModRevision: 300, Version: 4, Lease: -5}
	key := []byte("a\x00b")
	golden(t, "testdata/records.txt", []string{
		"version      " + hex.EncodeToString(appendRecord(nil, &version{KeyValue: kv, sub: 2})),
		"tombstone    " + hex.EncodeToString(appendRecord(nil, &version{tombstone: true})),
		"head         " + hex.EncodeToString(appendHead(nil, Head{Revision: 300, Compacted: -1, Written: 5000, Garbage: 200, Freed: 100})),
		"tally        " + hex.EncodeToString(appendTally(nil, 300, 70)),
		"create       " + hex.EncodeToString(appendChange(nil, &change{kind: changeCreate, garbage: 7, key: key})),
		"update       " + hex.EncodeToString(appendChange(nil, &change{kind: changeUpdate, garbage: 300, prev: stamp{299, 1}, key: key})),
		"delete       " + hex.EncodeToString(appendChange(nil, &change{kind: changeDelete, superseded: true, prev: stamp{2, 0}, key: key})),
		"pruned       " + hex.EncodeToString(appendPruned(nil, stamp{300, 1})),
		"key head     " + hex.EncodeToString(k.table(nil, tableHead)),
		"key pruned   " + hex.EncodeToString(k.table(nil, tablePruned)),
		"key tally    " + hex.EncodeToString(k.table(nil, tableTally)),
		"key current  " + hex.EncodeToString(k.current(nil, key)),
		"key history  " + hex.EncodeToString(k.history(nil, key, stamp{300, 2})),
		"key event    " + hex.EncodeToString(k.event(nil, stamp{300, 2})),
	})
}

// Goal: history keys sort by user key, then newest first, and decode to what they
// were made of, whatever bytes the user key has.
func TestHistoryKeyOrder(t *testing.T) {
	k := keyspace{prefix: []byte("p")}
	gen := rapid.Custom(func(t *rapid.T) []byte {
		return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 0xfe, 0xff}), 1, 5).Draw(t, "key")
	})
	genStamp := rapid.Custom(func(t *rapid.T) stamp {
		return stamp{rapid.Int64Range(1, 1<<62).Draw(t, "rev"), rapid.Uint32().Draw(t, "sub")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		sa, sb := genStamp.Draw(t, "sa"), genStamp.Draw(t, "sb")
		ka, kb := k.history(nil, a, sa), k.history(nil, b, sb)
		want := bytes.Compare(a, b)
		if want == 0 {
			want = map[bool]int{true: 1, false: -1}[sa.less(sb)]
			if sa == sb {
				want = 0
			}
		}
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("order of %q@%v and %q@%v is %d, want %d", a, sa, b, sb, got, want)
		}
		key, s, err := k.decodeHistory(ka, nil)
		if err != nil || !bytes.Equal(key, a) || s != sa {
			t.Fatalf("%q@%v decodes to %q@%v %v", a, sa, key, s, err)
		}
		rg := NewRange(a, b)
		lower, upper := k.historySpan(rg.lo, rg.hi)
		probe := gen.Draw(t, "probe")
		kp := k.history(nil, probe, sa)
		if in := bytes.Compare(kp, lower) >= 0 && bytes.Compare(kp, upper) < 0; in != rg.Contains(probe) {
			t.Fatalf("%q in [%q, %q): %v by history key, %v by range", probe, rg.lo, rg.hi, in, rg.Contains(probe))
		}
	})
}

// FuzzDecodeRecords feeds every decoder with arbitrary bytes: no panic, and what
// decodes encodes to something that decodes alike.
func FuzzDecodeRecords(f *testing.F) {
	f.Add(appendRecord(nil, &version{KeyValue: KeyValue{Value: []byte("v"), CreateRevision: 1, ModRevision: 2, Version: 1}}))
	f.Add(appendChange(nil, &change{kind: changeUpdate, prev: stamp{1, 0}, key: []byte("k")}))
	f.Add(appendHead(nil, Head{Revision: 1, Compacted: -1}))
	f.Add(appendTally(nil, 300, 70))
	k := keyspace{prefix: []byte("p")}
	f.Add(k.history(nil, []byte("a\x00"), stamp{1, 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var v, v2 version
		if decodeRecord(b, &v) == nil {
			if err := decodeRecord(appendRecord(nil, &v), &v2); err != nil || fmt.Sprint(v) != fmt.Sprint(v2) {
				t.Fatalf("record %x: %+v, again %+v %v", b, v, v2, err)
			}
		}
		var c, c2 change
		if decodeChange(b, &c) == nil {
			if err := decodeChange(appendChange(nil, &c), &c2); err != nil || fmt.Sprint(c) != fmt.Sprint(c2) {
				t.Fatalf("change %x: %+v, again %+v %v", b, c, c2, err)
			}
		}
		if h, err := decodeHead(b); err == nil {
			if h2, err := decodeHead(appendHead(nil, h)); err != nil || h != h2 {
				t.Fatalf("head %x: %+v, again %+v %v", b, h, h2, err)
			}
		}
		if rev, n, err := decodeTally(b); err == nil {
			if rev2, n2, err := decodeTally(appendTally(nil, rev, n)); err != nil || rev != rev2 || n != n2 {
				t.Fatalf("tally %x: %d %d, again %d %d %v", b, rev, n, rev2, n2, err)
			}
		}
		if len(b) > 2 {
			_, _, _ = k.decodeHistory(b, nil)
			_, _ = k.decodeEvent(b)
		}
	})
}
