package scenarios

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorate/quorate/internal/document"
)

var (
	write = flag.Bool("scenarios.write", false, "write what is made into docs/engines.md and docs/engines")
	speed = flag.String("scenarios.speed", "", "with -scenarios.write: a file of benchstat to put there, too")
)

const (
	shown    = "../../docs/engines.md"
	pictures = "../../docs/engines"
)

// tables stand in the document between two comments that carry their name.
var tables = []struct {
	name string
	make func() string
}{
	{"loss", lossTable},
	{"stall", stallTable},
	{"quorum", quorumTable},
}

// drawings are files beside the document.
var drawings = []struct {
	file string
	make func() *picture
}{
	{"constrained.svg", constrainedPicture},
	{"chained.svg", chainedPicture},
	{"loss.svg", lossPicture},
	{"stall.svg", stallPicture},
	{"quorum.svg", quorumPicture},
}

// Goal: what docs/engines.md shows is what the engines do. Speed is not compared, as it
// depends on the machine.
func TestDocument(t *testing.T) {
	timed(t)
	m := document.Maker{Command: "make engines"}
	made := readFile(t, shown)
	replace := func(name, table string) (replaced string) {
		replaced, err := m.Replace(made, name, table)
		if err != nil {
			t.Fatal(err)
		}
		return replaced
	}
	for _, table := range tables {
		made = replace(table.name, table.make())
	}
	if *speed != "" {
		made = replace("speed", "```\n"+trimmed(readFile(t, *speed))+"```\n")
	}
	_ = replace("speed", "") // its place must be there in any case
	settle(t, m, shown, made)
	for _, d := range drawings {
		settle(t, m, filepath.Join(pictures, d.file), d.make().String())
	}
	left, err := filepath.Glob(filepath.Join(pictures, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != len(drawings) {
		t.Errorf("docs/engines has %d files, made are %d", len(left), len(drawings))
	}
}

// trimmed is a text without blanks at the ends of its lines.
func trimmed(text string) (all string) {
	for line := range strings.Lines(text) {
		all += strings.TrimRight(line, " \n") + "\n"
	}
	return all
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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
