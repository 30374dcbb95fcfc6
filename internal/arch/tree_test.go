package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// module is the prefix of our own import paths.
const module = "github.com/quorate/quorate/"

// file is one parsed source file, whatever its build tags.
type file struct {
	path string // from the module's root, with slashes
	pkg  string // its folder
	test bool
	ast  *ast.File
}

// tree is the module's source. Other modules in the repository have rules of their own.
type tree struct {
	set   *token.FileSet
	files []*file
}

// load parses every Go file of the module.
func load(t *testing.T) *tree {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tr := &tree{set: token.NewFileSet()}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if skipFolder(rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(tr.set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		tr.files = append(tr.files, &file{
			path: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), ast: parsed,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.files) < 100 {
		t.Fatalf("found %d files below %s: the test looks in the wrong place", len(tr.files), root)
	}
	return tr
}

func skipFolder(rel string) bool {
	base := path.Base(rel)
	switch {
	case rel == ".":
		return false
	case rel == "e2e", rel == "bench", rel == "tools", rel == "ring/compare", base == "testdata":
		return true
	}
	return strings.HasPrefix(base, ".")
}

// production is the files that are part of a program.
func (tr *tree) production() []*file {
	var files []*file
	for _, f := range tr.files {
		if !f.test {
			files = append(files, f)
		}
	}
	return files
}

// at prints a place as path:line.
func (tr *tree) at(f *file, n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, tr.set.Position(n.Pos()).Line)
}

// imports calls visit with every import path of a file.
func (f *file) imports(visit func(spec *ast.ImportSpec, target string)) {
	for _, spec := range f.ast.Imports {
		visit(spec, strings.Trim(spec.Path.Value, `"`))
	}
}

// localName is how a file calls a package that it imports; "" if it does not.
func (f *file) localName(target string) string {
	name := ""
	f.imports(func(spec *ast.ImportSpec, p string) {
		switch {
		case p != target:
		case spec.Name != nil:
			name = spec.Name.Name
		case path.Base(p) == "v2":
			name = path.Base(path.Dir(p))
		default:
			name = path.Base(p)
		}
	})
	return name
}

// uses calls visit with every selector pkg.Name of an imported package.
func (f *file) uses(target string, visit func(at ast.Node, name string)) {
	local := f.localName(target)
	if local == "" {
		return
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == local {
				visit(s, s.Sel.Name)
			}
		}
		return true
	})
}
