package main

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gobosh/bosh/boshtest"
)

// documented returns the metrics that README.md has a table of.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile("`((?:bosh|go|process)_[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
	}
	return names
}

// family returns the name of the metric that a sample is of.
func family(sample string) string {
	name, _, _ := strings.Cut(sample, "{")
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

// The table has all metrics, and no other. Those of the proxy alone are looked at where it is.
func TestTable(t *testing.T) {
	service, h := newService()
	defer h.Close()
	known := documented(t)
	var there []string
	for sample := range scrape(t, boshtest.InMemory(service)) {
		name := family(sample)
		there = append(there, name)
		if strings.HasPrefix(name, "bosh_") && !known[name] {
			t.Errorf("%s is not in the table", name)
		}
	}
	for name := range known {
		if !strings.HasPrefix(name, "bosh_proxy_") && !slices.Contains(there, name) {
			t.Errorf("%s is in the table, and nowhere else", name)
		}
	}
}

// expressions returns the queries of the dashboard, by the title of their panel.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	all, ids := make(map[string][]string), make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels with the id %d", p.ID)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title], target.Expr)
		}
	}
	return all
}

// The dashboard and the alerts speak of metrics that there are, and show all of BOSH's.
func TestDashboardNames(t *testing.T) {
	known, shown := documented(t), make(map[string]bool)
	metric := regexp.MustCompile(`\b(?:bosh|go|process)_[a-z_]+`)
	for title, exprs := range expressions(t) {
		for _, expr := range exprs {
			for _, name := range metric.FindAllString(expr, -1) {
				if shown[family(name)] = true; !known[family(name)] {
					t.Errorf("%s: no metric %s", title, name)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if strings.HasPrefix(name, "bosh_") && !shown[name] {
			t.Errorf("nothing shows %s", name)
		}
	}
	rules, err := os.ReadFile("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(rules)) {
		if _, expr, ok := strings.Cut(line, "expr: "); ok {
			for _, name := range metric.FindAllString(expr, -1) {
				if !known[name] {
					t.Errorf("an alert speaks of %s", name)
				}
			}
		}
	}
}
