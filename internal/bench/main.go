//go:build linux

// Command bench measures the library against the floor: the least http.Handler
// that could do the same over net/http. Each run has a server process of its
// own, whose CPU time and memory are measured apart from the clients'; runs of
// different servers take turns, and what is printed are medians of the runs and
// of the ratios between runs that followed each other.
//
//	go run ./internal/bench          # some minutes
//	go run ./internal/bench -quick   # under a minute
//	go run ./internal/bench -run 'roundtrip|push' -n 9 -d 5s
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

var (
	serveKind  = flag.String("serve", "", "be the server process of this kind")
	profileDir = flag.String("profile", "", "write profiles of the servers to this directory")
	quick      = flag.Bool("quick", false, "short runs, and few")
	repeats    = flag.Int("n", 5, "how often each run is repeated")
	duration   = flag.Duration("d", 2*time.Second, "how long a run is")
	idleTime   = flag.Duration("idle", 20*time.Second, "how long sessions are idle")
	procs      = flag.Int("procs", 1, "GOMAXPROCS of the servers")
	only       = flag.String("run", "", "only scenarios that match this regular expression")
	servers    = flag.String("servers", "", "only servers that match this regular expression")
)

func main() {
	flag.Parse()
	if err := command(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command() error {
	if *serveKind != "" {
		return serve(*serveKind, *profileDir)
	}
	if *quick {
		*repeats, *duration, *idleTime = 2, 400*time.Millisecond, 4*time.Second
		if *only == "" {
			*only = "^(roundtrip|burst|push|churn|idle1k|rate)"
		}
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	kinds, err := regexp.Compile(*servers)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %s/%s, %d CPUs, servers with GOMAXPROCS=%d; medians of %d runs of %v\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *procs, *repeats, *duration)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| |\tfloor |\telements |\tratio |\tbytes, parked |\tratio |\ttarget |\t |\t")
	fmt.Fprintln(out, "|-|\t-: |\t-: |\t-: |\t-: |\t-: |\t-: |\t- |\t")
	for _, sc := range scenarios {
		if !wanted.MatchString(sc.name) {
			continue
		}
		sc.kinds = slices.DeleteFunc(slices.Clone(sc.kinds), func(k string) bool { return !kinds.MatchString(k) })
		results, err := sc.measure()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| **%s**: %s |\t |\t |\t |\t |\t |\t |\t |\t\n", sc.name, sc.about)
		for _, r := range sc.rows {
			r.print(out, results)
		}
	}
	return out.Flush()
}

// measure runs a scenario, the servers taking turns.
func (sc *scenario) measure() (map[string][]figures, error) {
	results := make(map[string][]figures)
	for i := range *repeats {
		order := slices.Clone(sc.kinds)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, kind := range order {
			f, err := sc.once(kind)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", sc.name, kind, err)
			}
			results[kind] = append(results[kind], f)
		}
	}
	return results, nil
}

func (sc *scenario) once(kind string) (figures, error) {
	s, err := startServer(kind, sc.name)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	r := &run{server: s}
	defer r.load.close()
	f, err := sc.run(r)
	if err == nil && *profileDir != "" {
		_, err = s.do("profile")
	}
	return f, err
}

// print prints a line of the table.
func (r row) print(out *tabwriter.Writer, results map[string][]figures) {
	cell := func(kind string) string { return short(median(r.values(results, kind))) }
	line := []string{"| " + r.what, cell(kindFloor)}
	met := ""
	second := kindBytes
	if len(results[kindParked]) > 0 {
		second = kindParked
	}
	for _, kind := range []string{kindElements, second} {
		ratio := median(r.ratios(results, kind))
		line = append(line, cell(kind), short(ratio))
		value := ratio
		if !r.ratio {
			value = median(r.values(results, kind))
		}
		if r.limit != 0 && value == value && met != "missed" {
			met = "met"
			if r.least && value < r.limit || !r.least && value > r.limit {
				met = "missed"
			}
		}
	}
	line = append(line, r.target(), met)
	fmt.Fprintln(out, strings.Join(line, " |\t")+" |\t")
}

func (r row) target() string {
	switch {
	case r.limit == 0:
		return ""
	case r.least:
		return "≥ " + short(r.limit)
	}
	return "≤ " + short(r.limit)
}

// values returns the values of a row for a kind of server, by run.
func (r row) values(results map[string][]figures, kind string) (vs []float64) {
	for i, f := range results[kind] {
		v := f[r.figure]
		if r.ours {
			if i >= len(results[kindBare]) {
				return nil
			}
			v -= results[kindBare][i][r.figure]
		}
		vs = append(vs, v)
	}
	return vs
}

// ratios returns the ratios to the floor, by run.
func (r row) ratios(results map[string][]figures, kind string) (vs []float64) {
	floor := r.values(results, kindFloor)
	for i, v := range r.values(results, kind) {
		if i < len(floor) && !r.ours {
			vs = append(vs, v/floor[i])
		}
	}
	return vs
}

// median returns NaN for no values.
func median(vs []float64) float64 {
	vs = slices.Sorted(slices.Values(vs))
	n := len(vs)
	if n == 0 {
		return math.NaN()
	}
	return (vs[(n-1)/2] + vs[n/2]) / 2
}

// short prints v with three digits that matter, and NaN as nothing.
func short(v float64) string {
	switch {
	case v != v:
		return ""
	case v >= 1000 || v <= -1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
