package scenarios

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	write = flag.Bool("scenarios.write", false, "write what is made into docs/engines.md and docs/engines")
	speed = flag.String("scenarios.speed", "", "with -scenarios.write: a file of benchstat to put there, too")
)

const (
	document = "../../docs/engines.md"
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

// replaced puts a table between its two comments.
func replaced(text, name, table string) (string, error) {
	begin, end := "<!-- "+name+": made by make engines -->\n", "<!-- end of "+name+" -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", fmt.Errorf("the document has no %sand %s", begin, end)
	}
	return before + begin + "\n" + table + "\n" + end + after, nil
}

// Goal: what docs/engines.md shows is what the engines do. Speed is not compared, as it
// depends on the machine.
func TestDocument(t *testing.T) {
	timed(t)
	current := readFile(t, document)
	made := current
	for _, table := range tables {
		made = replace(t, made, table.name, table.make())
	}
	if *speed != "" {
		made = replace(t, made, "speed", "```\n"+trimmed(readFile(t, *speed))+"```\n")
	}
	_ = replace(t, made, "speed", "") // its place must be there in any case
	settle(t, document, current, made)
	for _, d := range drawings {
		file := filepath.Join(pictures, d.file)
		current := ""
		if !*write {
			current = readFile(t, file)
		}
		settle(t, file, current, d.make().String())
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

func replace(t *testing.T, text, name, table string) string {
	t.Helper()
	text, err := replaced(text, name, table)
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
		t.Errorf("%s is not what the engines do any more; run: make engines, and look at what changed\n%s", file, firstChange(current, made))
		return
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(made), 0o644); err != nil {
		t.Fatal(err)
	}
}

// firstChange is the first line in which two texts differ.
func firstChange(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for k := range min(len(as), len(bs)) {
		if as[k] != bs[k] {
			return fmt.Sprintf("line %d is  %s\nand made is %s", k+1, as[k], bs[k])
		}
	}
	return fmt.Sprintf("it has %d lines, and made are %d", len(as), len(bs))
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
