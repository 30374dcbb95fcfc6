package contest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/quorate/quorate/internal/document"
)

var write = flag.Bool("ring.write", false, "write what is made into docs/ring.md and docs/ring, and measure times anew")

const (
	shown    = "../../../docs/ring.md"
	pictures = "../../../docs/ring"
)

// Goal: docs/ring.md shows what ring does. Times and memory are measured when the document
// is written, and not compared, as they depend on the machine.
func TestDocument(t *testing.T) {
	m := document.Maker{Command: Command}
	text, err := os.ReadFile(shown)
	if err != nil {
		t.Fatal(err)
	}
	made := string(text)
	replace := func(name, table string) (replaced string) {
		replaced, err := m.Replace(made, name, table)
		if err != nil {
			t.Fatal(err)
		}
		return replaced
	}
	made = replace("balance", BalanceTable(Rivals))
	made = replace("placement", placementTable())
	if *write {
		made = replace("cost", CostTable(Rivals, nanoseconds))
	}
	_ = replace("cost", "") // its place must be there in any case
	settle(t, m, shown, made)
	for name, draw := range map[string]func() string{"balance.svg": balancePicture, "movement.svg": movementPicture} {
		settle(t, m, filepath.Join(pictures, name), draw())
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
