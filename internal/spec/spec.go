// Package spec has the XEPs' requirements on a BOSH server, by ID, and finds the tests
// that name the IDs.
package spec

import (
	_ "embed"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed requirements.txt
var text string

// A Section is a group of requirements.
type Section struct {
	Title        string
	Requirements []Requirement
}

// A Requirement is one of the XEPs'.
type Requirement struct{ ID, Level, Text string }

// Sections returns all requirements.
func Sections() (all []Section) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if title, ok := strings.CutPrefix(line, "# "); ok {
			all = append(all, Section{Title: title})
			continue
		}
		if f := strings.Split(line, "\t"); len(f) == 3 {
			last := &all[len(all)-1]
			last.Requirements = append(last.Requirements, Requirement{f[0], f[1], f[2]})
		}
	}
	return slices.DeleteFunc(all, func(s Section) bool { return len(s.Requirements) == 0 })
}

var id = regexp.MustCompile(`\b[BXD][0-9]+(\.[0-9]+)*-[0-9]+[a-z]?\b`)

// A Test is a test function, or a named part of it.
type Test struct {
	Dir  string // of its package, from the root of the module
	File string
	Name string // of the function
	Sub  string // what the name of the subtest holds; empty if the whole function is meant
}

// Tests returns the tests of each requirement, by its ID, in the module at root.
func Tests(root string) (map[string][]Test, error) {
	found := make(map[string]map[Test]bool)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || path != root && exists(filepath.Join(path, "go.mod"))) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		return scan(root, path, func(id string, t Test) {
			if found[id] == nil {
				found[id] = make(map[Test]bool)
			}
			found[id][t] = true
		})
	})
	all := make(map[string][]Test)
	for id, tests := range found {
		all[id] = slices.SortedFunc(maps.Keys(tests), func(a, b Test) int {
			return strings.Compare(a.File+a.Name+a.Sub, b.File+b.Name+b.Sub)
		})
	}
	return all, err
}

func exists(path string) bool {
	matches, _ := filepath.Glob(path)
	return len(matches) > 0
}

// scan calls found for each ID in a file of tests.
func scan(root, path string, found func(string, Test)) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	at := Test{Dir: filepath.ToSlash(filepath.Dir(rel)), File: filepath.ToSlash(rel)}
	type span struct {
		from, to token.Pos
		tests    []string
	}
	var spans []span
	callers := make(map[string][]string) // by what they call: tests
	var tests []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !isTest(f.Name.Name) {
			continue
		}
		tests = append(tests, f.Name.Name)
		ast.Inspect(f, func(n ast.Node) bool {
			if n, ok := n.(*ast.Ident); ok {
				callers[n.Name] = append(callers[n.Name], f.Name.Name)
			}
			return true
		})
	}
	for _, d := range file.Decls {
		s := span{d.Pos(), d.End(), tests} // of a table, all tests of the file
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Doc != nil {
				s.from = d.Doc.Pos()
			}
			if name := d.Name.Name; d.Recv == nil && isTest(name) {
				s.tests = []string{name}
			} else if c := callers[name]; c != nil {
				s.tests = slices.Compact(slices.Clone(c))
			}
		case *ast.GenDecl:
			if d.Doc != nil {
				s.from = d.Doc.Pos()
			}
		}
		spans = append(spans, s)
	}
	add := func(pos token.Pos, text string, literal bool) {
		names := tests
		for _, s := range spans {
			if s.from <= pos && pos < s.to {
				names = s.tests
			}
		}
		for _, id := range id.FindAllString(text, -1) {
			for _, name := range names {
				t := at
				t.Name = name
				if literal {
					t.Sub = id
				}
				found(id, t)
			}
		}
	}
	for _, group := range file.Comments {
		add(group.Pos(), group.Text(), false)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				add(lit.Pos(), s, true)
			}
		}
		return true
	})
	return nil
}

func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Example")
}
