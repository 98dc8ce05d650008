package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gobosh/bosh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// declared returns the names that are declared at the top of files of the module, those
// of methods and fields included.
func declared(t *testing.T) map[string]bool {
	names := make(map[string]bool)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{"node_modules", "testdata", ".git"}, d.Name()) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						names[spec.Name.Name] = true
						if st, ok := spec.Type.(*ast.StructType); ok {
							for _, field := range st.Fields.List {
								for _, n := range field.Names {
									names[n.Name] = true
								}
							}
						}
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							names[n.Name] = true
						}
					}
				}
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(names), 1000)
	return names
}

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	ident  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
	file   = regexp.MustCompile(`[\w/]+\.(?:go|md)\b`)
)

// exists reports whether there is a file in the module, or, by its name alone, in one of
// the packages.
func exists(path string) bool {
	for _, pattern := range []string{path, "../" + path, "*/" + path, "spec/*/" + path} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return true
		}
	}
	return false
}

// The map names nothing that is not there.
func TestMapNamesWhatExists(t *testing.T) {
	names := declared(t)
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
		if ident.MatchString(m[1]) && m[1] != "code" {
			assert.True(t, names[m[1]], "there is no %s", m[1])
		}
	}
	for _, path := range file.FindAllString(string(text), -1) {
		assert.True(t, exists(path), "there is no %s", path)
	}
}

// Every package is in the map, and the map has no other.
func TestMapHasAllPackages(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() {
			assert.True(t, strings.Contains(string(text), e.Name()+"/"), "%s is not in the map", e.Name())
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^    ([a-z]+)/ `).FindAllStringSubmatch(string(text), -1) {
		assert.DirExists(t, m[1])
	}
}

// The table of conformance names nothing that is not there, and has every section that
// tests name requirements of.
func TestConformanceNamesWhatExists(t *testing.T) {
	names := declared(t)
	text, err := os.ReadFile("../testdata/conformance.md")
	require.NoError(t, err)
	for _, row := range strings.Split(string(text), "\n") {
		cells := strings.Split(row, "|")
		if len(cells) < 6 {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[3], -1) {
			assert.True(t, names[m[1]], "%s: there is no %s", cells[1], m[1])
		}
		for _, path := range file.FindAllString(cells[3]+cells[4], -1) {
			assert.True(t, exists(path), "%s: there is no %s", cells[1], path)
		}
	}
}

// The root has five sources, and none is so long that nobody reads it.
func TestRootIsSmall(t *testing.T) {
	sources, err := filepath.Glob("../*.go")
	require.NoError(t, err)
	sources = slices.DeleteFunc(sources, func(path string) bool { return strings.HasSuffix(path, "_test.go") })
	assert.Equal(t, []string{"../bosh.go", "../handler.go", "../rid.go", "../session.go", "../stream.go"}, sources)
	for _, path := range sources {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		code := slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
			l = strings.TrimSpace(l)
			return l == "" || strings.HasPrefix(l, "//")
		})
		assert.LessOrEqual(t, len(lines), 750, "%s: move mechanism to a package of internal", path)
		assert.LessOrEqual(t, len(code), 600, "%s: move mechanism to a package of internal", path)
	}
}

// Each count of Stats is counted, summed and shown. The places are in different modules,
// where no compiler tells the forgotten one.
func TestEachCountIsShown(t *testing.T) {
	named := func(path string) map[string]bool {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		names := make(map[string]bool)
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				names[n.Sel.Name] = true
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok {
					names[key.Name] = true
				}
			}
			return true
		})
		return names
	}
	places := map[string]reflect.Type{
		"../session.go":                       reflect.TypeFor[bosh.SessionStats](),
		"registry/totals.go":                  reflect.TypeFor[bosh.SessionStats](),
		"../handler.go":                       reflect.TypeFor[bosh.HandlerStats](),
		"../examples/prometheus/collector.go": reflect.TypeFor[bosh.HandlerStats](),
		"../examples/proxy/metrics.go":        reflect.TypeFor[bosh.HandlerStats](),
	}
	for path, counts := range places {
		names := named(path)
		for _, field := range reflect.VisibleFields(counts) {
			sum := path == "../handler.go" && len(field.Index) > 1 // it takes the sum over as it is
			if !field.Anonymous && !sum {
				assert.True(t, names[field.Name], "%s forgets %s", path, field.Name)
			}
		}
	}
}
