//go:build linux

// Command bench measures the library against the floor: the least http.Handler
// to do the same over net/http. Each run has a server process of its own. Its
// CPU time and memory are measured apart from the clients'. Runs of different
// servers take turns. The output has medians of the runs, and of the ratios
// between successive runs. Only of latencies it has the least: other work of
// the machine can but add to them.
//
//	go run ./internal/bench          # ten minutes
//	go run ./internal/bench -quick   # two minutes
//	go run ./internal/bench -run 'roundtrip|push' -n 9 -d 5s
//	go run ./internal/bench -growth growth.svg -n 1 -idle 5s
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"time"
)

var (
	serveKind  = flag.String("serve", "", "be the server process of this kind")
	profileDir = flag.String("profile", "", "write profiles of the servers to this directory")
	quick      = flag.Bool("quick", false, "short runs, and few")
	repeats    = flag.Int("n", 3, "how often each run is repeated")
	duration   = flag.Duration("d", time.Second, "how long a run is")
	idleTime   = flag.Duration("idle", 4*time.Second, "how long sessions are idle")
	procs      = flag.Int("procs", 1, "GOMAXPROCS of the servers")
	only       = flag.String("run", "", "only scenarios that match this regular expression")
	growth     = flag.String("growth", "", "measure the cost by the number of sessions instead, and draw it to this file")
	sizes      = flag.String("sizes", "100,300,1000,3000,10000,20000", "the numbers of sessions for -growth")
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
			*only = "^(roundtrip|burst|push|churn|idle1k|rate|pipelined)"
		}
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	sorts, err := regexp.Compile(*servers)
	if err != nil {
		return err
	}
	kinds = slices.DeleteFunc(kinds, func(k kind) bool { return !sorts.MatchString(k.name) })
	fmt.Printf("%s; medians of %d runs of %v, of latencies the least\n\n", machine(), *repeats, *duration)
	if *growth != "" {
		return measureGrowth(*growth)
	}
	began, t, all := time.Now(), newTable(os.Stdout), make(map[string]results)
	for _, sc := range slices.Concat(scenarios, idleTLS, closed, bulk) {
		if !wanted.MatchString(sc.name) || *only == "" && slices.Contains(asked, sc.name) {
			continue
		}
		results, err := sc.measure()
		if err != nil {
			return err
		}
		t.add(&sc, results)
		all[sc.name] = results
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Print(agreement(all["roundtrip"], all["xmpp"]), limit(all["xmpp"]))
	fmt.Printf("\nin %v\n", time.Since(began).Round(time.Second))
	return nil
}

// machine describes the machine of the figures.
func machine() string {
	return fmt.Sprintf("%s, %s/%s, %d CPUs, servers with GOMAXPROCS=%d", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *procs)
}

// results are the figures of the runs of a scenario, by the name of the kind.
type results map[string][]figures

// floor returns the kind for comparison with the others.
func (rs results) floor() *kind {
	for i := range kinds {
		if k := &kinds[i]; k.isFloor() && rs[k.name] != nil {
			return k
		}
	}
	return &kind{}
}

// measure runs a scenario, the servers taking turns.
func (sc *scenario) measure() (results, error) {
	rs := make(results)
	n := *repeats
	if most := seldom[sc.name]; most > 0 {
		n = min(n, most)
	}
	for i := range n {
		order := slices.Clone(kinds)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, k := range order {
			if !slices.Contains(sc.does, k.does) {
				continue
			}
			f, err := sc.once(&k)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", sc.name, k.name, err)
			}
			rs[k.name] = append(rs[k.name], f)
		}
	}
	return rs, nil
}

func (sc *scenario) once(k *kind) (figures, error) {
	if sc.lean() {
		pin(0) // the server inherits it
		defer pin(1)
	}
	s, err := k.start(sc.name)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if sc.lean() {
		pin(1)
	}
	r := &run{server: s, does: k.does, close: func() {}}
	defer r.load.close()
	defer func() { r.close() }()
	f, err := sc.run(r)
	if err == nil && *profileDir != "" {
		_, err = s.do("profile")
	}
	return f, err
}
