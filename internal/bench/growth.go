//go:build linux

package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/gobosh/bosh/internal/plot"
)

// active is how many sessions say something while the others hold a request.
const active = 100

// spare is how many files a process needs beside a connection for each session.
const spare = active + 50

// costs are the figures that must not grow with the number of sessions.
var costs = []struct{ figure, what, short string }{
	{"cpu", "CPU µs per round trip", "µs, round trip"},
	{"rss", "resident bytes per idle session", "resident bytes"},
	{"heap", "heap bytes per idle session", "heap bytes"},
	{"idle cpu", "CPU µs per idle session and second", "µs/s, idle"},
}

// A size holds the results with so many sessions.
type size struct {
	sessions int
	results  results
}

// measureGrowth measures the cost of a request and of a session with a growing
// number of sessions, and writes a drawing of it to a file.
func measureGrowth(file string) error {
	ns, err := parseSizes(*sizes)
	if err != nil {
		return err
	}
	var all []size
	for _, n := range ns {
		rs, err := growthAt(n)
		if err != nil {
			return err
		}
		all = append(all, size{n, rs})
	}
	printGrowth(all)
	return os.WriteFile(file, drawGrowth(all), 0o666)
}

// parseSizes returns the numbers in a list, up to the number of files of a
// process.
func parseSizes(list string) (ns []int, err error) {
	most := math.MaxInt
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		most = int(limit.Cur) - spare
	}
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return nil, fmt.Errorf("%q is no number of sessions", text)
		}
		ns = append(ns, min(n, most))
	}
	return slices.Compact(ns), nil
}

// growthAt measures n sessions: idle ones, and then in new servers all but some
// of them idle.
func growthAt(n int) (results, error) {
	does := []string{doesFloor, doesElements}
	quiet := scenario{name: fmt.Sprint("idle", n), does: does, run: idle(n)}
	rs, err := quiet.measure()
	if err != nil {
		return nil, err
	}
	for _, runs := range rs {
		for _, f := range runs {
			f["idle cpu"] = f["cpu"]
			delete(f, "cpu")
		}
	}
	busy := scenario{name: fmt.Sprint("busy", n), does: does, run: roundTrips(n, min(n, active), 1)}
	more, err := busy.measure()
	if err != nil {
		return nil, err
	}
	for name, runs := range more {
		for i, f := range runs {
			rs[name][i]["cpu"] = f["cpu"]
		}
	}
	return rs, nil
}

// median returns the median of a figure of a kind.
func (s *size) median(figure string, k *kind) float64 {
	return median(row{figure: figure}.values(s.results, k))
}

// grown returns the measured kinds.
func grown(all []size) (ks []*kind) {
	for i := range kinds {
		if all[0].results[kinds[i].name] != nil {
			ks = append(ks, &kinds[i])
		}
	}
	return ks
}

func printGrowth(all []size) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	defer out.Flush()
	ks := grown(all)
	head, rule := "| sessions", "| -:"
	for _, c := range costs {
		for _, k := range ks {
			head += "\t| " + c.short + ", " + k.name
			rule += "\t| -:"
		}
	}
	fmt.Fprintf(out, "%s\t|\n%s\t|\n", head, rule)
	for _, s := range all {
		cells := []string{strconv.Itoa(s.sessions)}
		for _, c := range costs {
			for _, k := range ks {
				cells = append(cells, short(s.median(c.figure, k)))
			}
		}
		fmt.Fprintf(out, "| %s\t|\n", strings.Join(cells, "\t| "))
	}
}

func drawGrowth(all []size) []byte {
	p := plot.Plot{
		Title: "What a request and a session cost, by the number of sessions",
		Note: fmt.Sprintf("%s, %s/%s, %d CPUs; %d sessions say something, the others hold a request; idle: a request every %v",
			runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), active, *idleTime),
		Log: true,
	}
	for _, s := range all {
		p.X = append(p.X, float64(s.sessions))
		p.Ticks = append(p.Ticks, plot.Tick{X: float64(s.sessions), Label: strconv.Itoa(s.sessions)})
	}
	for _, c := range costs {
		panel := plot.Panel{Name: c.short}
		for _, k := range grown(all) {
			line := plot.Line{Name: k.name, Faint: k.does == doesFloor}
			for _, s := range all {
				line.Y = append(line.Y, s.median(c.figure, k))
			}
			panel.Lines = append(panel.Lines, line)
		}
		p.Panels = append(p.Panels, panel)
	}
	return p.SVG()
}
