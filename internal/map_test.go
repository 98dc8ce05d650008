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
	"strconv"
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

// Times has each constant of the packages that is made of a unit of time, but for those of
// tests and tools.
func TestTimesAreAll(t *testing.T) {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, times, _ := strings.Cut(string(text), "\n## Times\n")
	times, _, _ = strings.Cut(times, "\n## ")
	tools := []string{"attack", "bench", "chaos", "demo", "enginetest", "interop", "knobs", "leak", "model", "plot", "probe", "promtext", "spec"}
	paths, err := filepath.Glob("*/*.go")
	require.NoError(t, err)
	paths = append(paths, "../rid.go", "../session.go") // bosh.go has the limits of options
	constant := regexp.MustCompile(`(?m)^(?:const |\t)(\w+) +(?:time\.Duration +)?= [^\n/]*\btime\.(?:Millisecond|Second|Minute|Hour)\b`)
	found := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") || slices.Contains(tools, strings.Split(path, "/")[0]) {
			continue
		}
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range constant.FindAllStringSubmatch(string(source), -1) {
			found++
			assert.Contains(t, times, "`"+m[1]+"`", "%s has a time that is not in Times", path)
		}
	}
	assert.Greater(t, found, 20)
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

// How long answers are kept after the end is said in several places.
func TestAfterlifeIsTold(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	m := regexp.MustCompile(`const afterlife = (\d+) \* time\.Second`).FindStringSubmatch(read("../session.go"))
	require.NotNil(t, m)
	for place, say := range map[string]string{
		"../handler.go":       "if they come in %s s",
		"../stream.go":        "in the last %s s",
		"README.md":           "kept for %s s",
		"model/model_test.go": "modelAfterlife = %s * time.Second",
	} {
		assert.Contains(t, read(place), strings.ReplaceAll(say, "%s", m[1]), place)
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

// fill sets all numbers of v, of which no two are the same, and returns how many there are.
func fill(v reflect.Value, n int) int {
	switch v.Kind() {
	case reflect.Int, reflect.Int64:
		n++
		v.SetInt(int64(n))
	case reflect.Struct:
		for i := range v.NumField() {
			n = fill(v.Field(i), n)
		}
	case reflect.Map:
		elem := reflect.New(v.Type().Elem()).Elem()
		n = fill(elem, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), elem)
	}
	return n
}

// Each count is a metric, once. What shows counts reads the metrics.
func TestEachCountIsAMetric(t *testing.T) {
	var stats bosh.HandlerStats
	n := fill(reflect.ValueOf(&stats).Elem(), 0)
	require.Greater(t, n, 15)
	got := make(map[float64]string)
	labels := make(map[string]int)
	for m := range stats.Metrics() {
		if before, ok := labels[m.Name]; ok {
			assert.Len(t, m.Labels, before, "%s has the same labels always", m.Name)
		}
		labels[m.Name] = len(m.Labels)
		assert.NotEmpty(t, m.Help, m.Name)
		assert.Equal(t, strings.HasSuffix(m.Name, "_total"), m.Counter, m.Name)
		if m.Value != 0 { // or it is a label from the start
			assert.NotContains(t, got, m.Value, m.Name)
			got[m.Value] = m.Name
		}
	}
	assert.Len(t, got, n, "metrics in registry/metrics.go has each field of HandlerStats: %v", got)
}

// Each count of Stats is counted, summed and shown, where no compiler tells the forgotten
// place.
func TestEachCountIsShown(t *testing.T) {
	named := func(path, function string) map[string]bool {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		names := make(map[string]bool)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); !ok || fn.Name.Name != function {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
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
		}
		require.NotEmpty(t, names, "%s has no %s", path, function)
		return names
	}
	session, all := reflect.TypeFor[bosh.SessionStats](), reflect.TypeFor[bosh.HandlerStats]()
	for _, place := range []struct {
		path, function string
		counts         reflect.Type
		summed         bool // it takes the sums of sessions over as they are
	}{
		{"../session.go", "counted", session, false},
		{"registry/totals.go", "Add", session, false},
		{"../handler.go", "Stats", all, true},
		{"../handler.go", "Monitor", all, true},
		{"../boshnats/stats.go", "Sum", all, false},
	} {
		names := named(place.path, place.function)
		for _, field := range reflect.VisibleFields(place.counts) {
			if !field.Anonymous && !(place.summed && len(field.Index) > 1) {
				assert.True(t, names[field.Name], "%s of %s forgets %s", place.function, place.path, field.Name)
			}
		}
	}
}

// A stop of a walk is a file at the top, or a package, and the functions read there.
type stop struct {
	place string
	names []string
	leap  bool // another goroutine goes on, or a field of func is called
}

var (
	walk     = regexp.MustCompile(`(?s)\*\*([^*]+): (\d+) moves\.\*\*(.*?)\.\n(?:[A-Z][^\n]*\n)?Locks:`)
	stopText = regexp.MustCompile("([;·.])?\\s*([a-z]+(?:\\.go)?)((?:\\s+`\\w+`)+)")
)

// stops returns the stops of a walk.
func stops(text string) (all []stop) {
	for _, m := range stopText.FindAllStringSubmatch(text, -1) {
		s := stop{place: m[2], leap: m[1] == ";"}
		for _, name := range quoted.FindAllStringSubmatch(m[3], -1) {
			s.names = append(s.names, name[1])
		}
		all = append(all, s)
	}
	return all
}

// functions returns the functions of a file at the top, or of a package, by their names,
// and the names in each.
func functions(t *testing.T, place string) map[string][]string {
	paths := []string{"../" + place}
	if !strings.HasSuffix(place, ".go") {
		var err error
		paths, err = filepath.Glob(place + "/*.go")
		require.NoError(t, err)
	}
	found := make(map[string][]string)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		require.NoError(t, err, "a walk has no such place")
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				found[fn.Name.Name] = append(found[fn.Name.Name], fn.Name.Name)
				ast.Inspect(fn, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						found[fn.Name.Name] = append(found[fn.Name.Name], id.Name)
					}
					return true
				})
			}
		}
	}
	return found
}

// The walks of the map go from function to function: each is where the map says, and is
// named by one that was read before. None has more moves than it says, and than it may.
func TestWalks(t *testing.T) {
	most := []int{50, 45, 20, 35, 12, 38}
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	walks := walk.FindAllStringSubmatch(string(text), -1)
	require.Len(t, walks, len(most))
	for i, m := range walks {
		t.Run(m[1], func(t *testing.T) {
			all := stops(m[3])
			assert.Equal(t, m[2], strconv.Itoa(len(all)-1), "moves")
			assert.LessOrEqual(t, len(all)-1, most[i], "moves")
			read := make(map[string]bool) // names in what was read
			for i, s := range all {
				there := functions(t, s.place)
				for j, name := range s.names {
					assert.Contains(t, there, name, "%s has no %s", s.place, name)
					begins := j == 0 && (i == 0 || s.leap)
					assert.True(t, begins || read[name], "%s %s is called by nothing before it", s.place, name)
					for _, n := range there[name] {
						read[n] = true
					}
				}
				assert.False(t, i > 0 && s.place == all[i-1].place, "%s is no move", s.place)
			}
		})
	}
}
