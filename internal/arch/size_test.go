package arch

import (
	"go/ast"
	"regexp"
	"testing"
)

// Limits of what one screen and one sitting can hold (STYLE.md).
const (
	functionLines = 70
	fileLines     = 500
)

// oversized are known excesses of production code, by "path" or "path function", with
// the lines they have. A number may only get smaller, and the list only shorter.
var oversized = map[string]int{}

// TestSizes: functions fit a screen, files a sitting. Nobody reads generated code.
func TestSizes(t *testing.T) {
	tr := load(t)
	found := make(map[string]bool)
	judge := func(what string, lines, limit int, instead string) {
		allowed := limit
		if n, ok := oversized[what]; ok {
			allowed, found[what] = n, lines > limit
		}
		if lines > allowed {
			t.Errorf("%s has %d lines, the limit is %d: a reader must see a function at once and a file in one sitting. %s",
				what, lines, allowed, instead)
		}
	}
	for _, f := range tr.production() {
		if ast.IsGenerated(f.ast) {
			continue
		}
		judge(f.path, tr.set.Position(f.ast.FileEnd).Line-1, fileLines, "Give one of its nouns a file of its own")
		for _, d := range f.ast.Decls {
			if d, ok := d.(*ast.FuncDecl); ok {
				lines := tr.set.Position(d.End()).Line - tr.set.Position(d.Pos()).Line + 1
				judge(f.path+" "+d.Name.Name, lines, functionLines, "Keep the branches, move straight runs into functions")
			}
		}
	}
	for what := range oversized {
		if !found[what] {
			t.Errorf("oversized lists %s, which is within the limit: remove it", what)
		}
	}
}

// TestPackageComments: every package says what it is for.
func TestPackageComments(t *testing.T) {
	tr := load(t)
	has := make(map[string]bool)
	for _, f := range tr.production() {
		has[f.pkg] = has[f.pkg] || f.ast.Doc != nil
	}
	for pkg, ok := range has {
		if !ok {
			t.Errorf("package %s has no package comment: say in doc.go what it promises, its invariants by number, and what it leaves out", pkg)
		}
	}
}

// note is a word that asks somebody, some day, to finish something.
var note = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

// TestNoLeftovers: what is to be done is an issue, not a comment.
func TestNoLeftovers(t *testing.T) {
	tr := load(t)
	for _, f := range tr.files {
		if f.pkg == "internal/arch" {
			continue // names the words
		}
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if word := note.FindString(c.Text); word != "" {
					t.Errorf("%s: %s in a comment: nobody reads those again. Do it now, or open an issue and write what is so today", tr.at(f, c), word)
				}
			}
		}
	}
}
