package arch

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder, seen from this one.
const root = "../.."

var (
	codePath = regexp.MustCompile("`([a-z0-9_/.-]+\\.go)`")
	link     = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	// A dotted name, or one with a capital inside.
	codeName = regexp.MustCompile("`(?:[a-zA-Z]+\\.)*([a-zA-Z]+)(?:\\([^`]*)?`")
	hump     = regexp.MustCompile(`[a-z][A-Z]`)
	adrFile  = regexp.MustCompile(`^\d{4}-[a-z0-9-]+\.md$`)
)

// notOurs are names in the same form that belong to others.
var notOurs = map[string]bool{
	"`vfs.FS`": true, "`vfs.NewCrashableMem`": true, "`CrashClone`": true, "`TimeToLive`": true,
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestStyleQuotesCode: what STYLE.md shows as our code is our code, in the file that it
// names before the example.
func TestStyleQuotesCode(t *testing.T) {
	source, quoted, where := "", false, ""
	examples := 0
	for line := range strings.Lines(readText(t, "STYLE.md")) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "```go":
			quoted, examples = true, examples+1
			source = readText(t, where)
		case line == "```":
			quoted = false
		case quoted:
			want := strings.TrimSpace(strings.TrimSuffix(line, "..."))
			if !strings.Contains(source, want) {
				t.Errorf("STYLE.md quotes %q, which is not in %s: quote what is there now, or a better example", want, where)
			}
		default:
			if all := codePath.FindAllStringSubmatch(line, -1); all != nil {
				where = all[len(all)-1][1]
			}
		}
	}
	if examples < 10 {
		t.Errorf("STYLE.md has %d examples: each rule has one from our own code", examples)
	}
}

// declared is every name that the module's production code declares.
func declared(tr *tree) map[string]bool {
	names := make(map[string]bool)
	for _, f := range tr.production() {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				names[n.Name.Name] = true
			case *ast.TypeSpec:
				names[n.Name.Name] = true
			case *ast.ValueSpec:
				for _, name := range n.Names {
					names[name.Name] = true
				}
			case *ast.Field:
				for _, name := range n.Names {
					names[name.Name] = true
				}
			}
			return true
		})
	}
	return names
}

// TestDocumentsNameCode: a name like `router.Submit` or `Host.Propose` in the documents
// is one that the code declares.
func TestDocumentsNameCode(t *testing.T) {
	names := declared(load(t))
	for _, pattern := range []string{"ARCHITECTURE.md", "docs/glossary.md", "docs/adr/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range codeName.FindAllStringSubmatch(string(text), -1) {
				dotted, file := strings.Contains(m[0], "."), m[1] == "go"
				if !file && (dotted || hump.MatchString(m[1])) && !names[m[1]] && !notOurs[m[0]] {
					t.Errorf("%s speaks of %s, which nothing declares any more: tell it as it is now", filepath.ToSlash(name), m[0])
				}
			}
		}
	}
}

// documents lists the Markdown files that we keep.
func documents(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/adr/*.md", "e2e/*.md", "bench/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, names...)
	}
	return list
}

// TestLinks: a document's links within the repository lead somewhere.
func TestLinks(t *testing.T) {
	for _, name := range documents(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", filepath.ToSlash(name), m[1])
			}
		}
	}
}

// TestDecisionsAreListed: every decision has a number of its own and a line in the list.
func TestDecisionsAreListed(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(root, "docs/adr"))
	if err != nil {
		t.Fatal(err)
	}
	list := readText(t, "docs/adr/README.md")
	var numbers []string
	for _, e := range entries {
		name := e.Name()
		if name == "README.md" {
			continue
		}
		if !adrFile.MatchString(name) {
			t.Errorf("docs/adr/%s: name it NNNN-what-was-decided.md", name)
			continue
		}
		if slices.Contains(numbers, name[:4]) {
			t.Errorf("docs/adr/%s: the number is taken", name)
		}
		numbers = append(numbers, name[:4])
		if !strings.Contains(list, "("+name+")") {
			t.Errorf("docs/adr/README.md does not list %s", name)
		}
	}
}

// TestCodeMap: ARCHITECTURE.md has a heading for every package that a reader looks for.
func TestCodeMap(t *testing.T) {
	text := readText(t, "ARCHITECTURE.md")
	for pkg := range directions {
		if !strings.Contains(text, "`"+pkg+"`") {
			t.Errorf("ARCHITECTURE.md does not name %s: add it to the code map", pkg)
		}
	}
}
