package contest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var write = flag.Bool("ring.write", false, "write what is made into docs/ring.md and docs/ring, and measure times anew")

const (
	document = "../../../docs/ring.md"
	pictures = "../../../docs/ring"
)

// Goal: docs/ring.md shows what ring does. Times and memory are measured when the document
// is written, and not compared, as they depend on the machine.
func TestDocument(t *testing.T) {
	current := read(t, document)
	made := replace(t, current, "balance", BalanceTable(Rivals))
	made = replace(t, made, "placement", placementTable())
	if *write {
		made = replace(t, made, "cost", CostTable(Rivals, nanoseconds))
	}
	_ = replace(t, made, "cost", "") // its place must be there in any case
	settle(t, document, current, made)
	for name, draw := range map[string]func() string{"balance.svg": balancePicture, "movement.svg": movementPicture} {
		file := filepath.Join(pictures, name)
		current := ""
		if !*write {
			current = read(t, file)
		}
		settle(t, file, current, draw())
	}
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

func replace(t *testing.T, text, name, table string) string {
	t.Helper()
	text, err := Replace(text, name, table)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// settle writes a file anew if that is asked for, and otherwise wants it as it is made.
func settle(t *testing.T, file, current, made string) {
	t.Helper()
	if current == made {
		return
	}
	if !*write {
		was, is := strings.Split(current, "\n"), strings.Split(made, "\n")
		k := 0
		for k < min(len(was), len(is))-1 && was[k] == is[k] {
			k++
		}
		t.Errorf("%s is not what ring does any more; run: make ring, and look at what changed\n%s", file,
			fmt.Sprintf("line %d is  %s\nand made is %s", k+1, was[k], is[k]))
		return
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(made), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
