package compare

import (
	"flag"
	"os"
	"testing"

	buraksezer "github.com/buraksezer/consistent"
	"github.com/dgryski/go-jump"
	"github.com/dgryski/go-rendezvous"
	"github.com/quorate/quorate/internal/document"
	"github.com/quorate/quorate/ring"
	"github.com/quorate/quorate/ring/internal/contest"
	"github.com/serialx/hashring"
	stathat "github.com/stathat/consistent"
)

var write = flag.Bool("ring.write", false, "write what is made into docs/ring.md, and measure times anew")

const shown = "../../docs/ring.md"

// libraries have the settings that they come with, where they come with some.
var libraries = []contest.Rival{
	contest.Rivals[0],
	{Name: "buraksezer/consistent v0.10.0, 10007 partitions, load 1.25", Make: boundedLoad},
	{Name: "stathat/consistent v1.0.0, 20 tokens", Make: crcRing},
	{Name: "serialx/hashring 2020-07-27, 40 tokens and more", Make: md5Ring},
	{Name: "dgryski/go-jump 2017-04-09", Make: jumpHash},
	{Name: "dgryski/go-rendezvous 2020-08-23", Make: rendezvousHash},
}

// member is a node as buraksezer/consistent wants it.
type member uint64

func (m member) String() string { return contest.Text(uint64(m)) }

type xx struct{}

func (xx) Sum64(b []byte) uint64 { return uint64(ring.XX{}.Key(0, b)) }

func boundedLoad(nodes []uint64, _ contest.Lookup) contest.Lookup {
	var members []buraksezer.Member
	for _, n := range nodes {
		members = append(members, member(n))
	}
	c := buraksezer.New(members, buraksezer.Config{Hasher: xx{}, PartitionCount: 10007, ReplicationFactor: 20, Load: 1.25})
	return func(k *contest.Key) uint64 { return uint64(c.LocateKey([]byte(k.Text)).(member)) }
}

func crcRing(nodes []uint64, _ contest.Lookup) contest.Lookup {
	c := stathat.New()
	c.Set(names(nodes))
	return func(k *contest.Key) uint64 {
		name, err := c.Get(k.Text)
		if err != nil {
			panic(err)
		}
		return number(name)
	}
}

func md5Ring(nodes []uint64, _ contest.Lookup) contest.Lookup {
	r := hashring.New(names(nodes))
	return func(k *contest.Key) uint64 {
		name, _ := r.GetNode(k.Text)
		return number(name)
	}
}

func jumpHash(nodes []uint64, _ contest.Lookup) contest.Lookup {
	nodes = append([]uint64(nil), nodes...)
	return func(k *contest.Key) uint64 {
		return nodes[jump.Hash(uint64(ring.XX{}.Number(0, k.Number)), len(nodes))]
	}
}

func rendezvousHash(nodes []uint64, _ contest.Lookup) contest.Lookup {
	r := rendezvous.New(names(nodes), func(s string) uint64 { return uint64(ring.XX{}.Key(0, []byte(s))) })
	return func(k *contest.Key) uint64 { return number(r.Lookup(k.Text)) }
}

func names(nodes []uint64) (list []string) {
	for _, n := range nodes {
		list = append(list, contest.Text(n))
	}
	return list
}

// number reads a name's digits; faster than a map, so that the time is the library's.
func number(name string) (n uint64) {
	for _, c := range []byte(name[len("node"):]) {
		n = 10*n + uint64(c-'0')
	}
	return n
}

// Goal: the tables of libraries in docs/ring.md are what these do. Times and memory are
// measured when the document is written, and not compared.
func TestDocument(t *testing.T) {
	m := document.Maker{Command: contest.Command}
	text, err := os.ReadFile(shown)
	if err != nil {
		t.Fatal(err)
	}
	made, err := m.Replace(string(text), "libraries", contest.BalanceTable(libraries))
	if err != nil {
		t.Fatal(err)
	}
	if *write {
		made, err = m.Replace(made, "costs of libraries", contest.CostTable(libraries, nanoseconds))
	} else {
		_, err = m.Replace(made, "costs of libraries", "")
	}
	if err != nil {
		t.Fatal(err)
	}
	settle(t, m, shown, made)
}

// nanoseconds is the time of a call.
func nanoseconds(f func()) float64 {
	r := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			f()
		}
	})
	return float64(r.T.Nanoseconds()) / float64(r.N)
}

// settle writes a file anew if that is asked for, and otherwise wants it as it is made.
func settle(t *testing.T, m document.Maker, file, made string) {
	t.Helper()
	current, err := os.ReadFile(file)
	if err == nil || *write {
		err = m.Check(file, string(current), made)
	}
	if err != nil && *write {
		err = os.WriteFile(file, []byte(made), 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}
