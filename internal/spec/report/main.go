// Command report runs the tests of the requirements, and writes a page: each requirement
// of the XEPs with its tests, and whether they passed, with both engines.
//
//	go run ./internal/spec/report -o conformance.html
package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"html/template"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gobosh/bosh/internal/spec"
)

func main() {
	out := flag.String("o", "conformance.html", "`file` to write")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// engines are the values of BOSH_ENGINE, and their titles.
var engines = []struct{ value, Title string }{{"standard", "net/http"}, {"direct", "Direct"}}

func run(out string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	tests, err := spec.Tests(root)
	if err != nil {
		return err
	}
	var results []results
	for _, e := range engines {
		fmt.Fprintf(os.Stderr, "the tests with %s\n", e.Title)
		r, err := runTests(root, e.value, tests)
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	p := newPage(spec.Sections(), tests, results)
	var b bytes.Buffer
	if err := layout.Execute(&b, p); err != nil {
		return err
	}
	if err := os.WriteFile(out, b.Bytes(), 0o644); err != nil {
		return err
	}
	if p.Failed > 0 {
		return fmt.Errorf("%d requirements are not met: see %s", p.Failed, out)
	}
	return nil
}

func moduleRoot() (string, error) {
	b, err := exec.Command("go", "env", "GOMOD").Output()
	return filepath.Dir(strings.TrimSpace(string(b))), err
}

// Results are the outcomes of tests, by package directory and test: pass, fail or skip.
type results map[string]string

const module = "github.com/gobosh/bosh"

// runTests runs the tests with an engine.
func runTests(root, engine string, tests map[string][]spec.Test) (results, error) {
	byDir := make(map[string]map[string]bool)
	for _, list := range tests {
		for _, t := range list {
			if byDir[t.Dir] == nil {
				byDir[t.Dir] = make(map[string]bool)
			}
			byDir[t.Dir][t.Name] = true
		}
	}
	all := make(results)
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		names := slices.Sorted(maps.Keys(byDir[dir]))
		cmd := exec.Command("go", "test", "-json", "-count=1", "-run", "^("+strings.Join(names, "|")+")$", "./"+dir)
		cmd.Dir, cmd.Env, cmd.Stderr = root, append(os.Environ(), "BOSH_ENGINE="+engine), os.Stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		all.read(stdout)
		cmd.Wait() // a test that failed has said so
	}
	return all, nil
}

// read takes the output of go test -json.
func (r results) read(in io.Reader) {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var event struct{ Action, Package, Test string }
		if json.Unmarshal(line, &event) == nil && event.Test != "" && slices.Contains([]string{"pass", "fail", "skip"}, event.Action) {
			dir := strings.TrimPrefix(strings.TrimPrefix(event.Package, module), "/")
			if dir == "" {
				dir = "."
			}
			r[dir+" "+event.Test] = event.Action
		}
		if err != nil {
			return
		}
	}
}

// of returns the outcome of a test: of the subtests with its ID in their names, if
// there are any, or else of the function.
func (r results) of(t spec.Test) string {
	sum := ""
	if t.Sub != "" {
		for name, outcome := range r {
			if rest, ok := strings.CutPrefix(name, t.Dir+" "+t.Name+"/"); ok && names(rest, t.Sub) {
				sum = worse(sum, outcome)
			}
		}
	}
	if sum == "" {
		sum = r[t.Dir+" "+t.Name]
	}
	return sum
}

// names reports whether the name of a subtest holds an ID.
func names(name, id string) bool {
	for _, word := range strings.FieldsFunc(name, func(c rune) bool { return c == '_' || c == '/' || c == ',' || c == ':' || c == '#' }) {
		if word == id {
			return true
		}
	}
	return false
}

// worse returns the worse of two outcomes. None at all is the best: any outcome replaces
// it.
func worse(a, b string) string {
	order := []string{"", "pass", "skip", "fail"}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// A page is the data of the HTML page.
type page struct {
	At, Go   string
	Engines  []string
	Sections []section
	Total    int
	Passed   []int // of each engine
	Failed   int   // with one engine or both
}

type section struct {
	Title string
	Rows  []row
}

type row struct {
	spec.Requirement
	Tests    []string
	Outcomes []string // of each engine: pass, fail, skip, or none
}

func newPage(sections []spec.Section, tests map[string][]spec.Test, all []results) page {
	p := page{At: time.Now().UTC().Format("2006-01-02 15:04 UTC"), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, Passed: make([]int, len(all))}
	for i := range all {
		p.Engines = append(p.Engines, engines[i].Title)
	}
	for _, s := range sections {
		out := section{Title: s.Title}
		for _, req := range s.Requirements {
			r := row{Requirement: req}
			for _, t := range tests[req.ID] {
				if name := t.File + " " + t.Name; !slices.Contains(r.Tests, name) {
					r.Tests = append(r.Tests, name)
				}
			}
			met := true
			for i, results := range all {
				sum := ""
				for _, t := range tests[req.ID] {
					sum = worse(sum, results.of(t))
				}
				if sum == "pass" {
					p.Passed[i]++
				} else {
					met = false
				}
				if sum == "" {
					sum = "none"
				}
				r.Outcomes = append(r.Outcomes, sum)
			}
			p.Total++
			if !met {
				p.Failed++
			}
			out.Rows = append(out.Rows, r)
		}
		p.Sections = append(p.Sections, out)
	}
	return p
}

//go:embed report.html
var source string

var layout = template.Must(template.New("report").Parse(source))
