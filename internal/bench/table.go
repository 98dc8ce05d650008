//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// A table is the printed output, in Markdown: the columns of kinds, with ratios
// to the floor in parentheses, and the targets.
type table struct {
	out     *tabwriter.Writer
	columns []string
}

func newTable(w io.Writer) *table {
	t := &table{out: tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)}
	for _, k := range kinds {
		if k.column != "" && !slices.Contains(t.columns, k.column) {
			t.columns = append(t.columns, k.column)
		}
	}
	head := append(append([]string{""}, t.columns...), "target")
	t.line(head)
	for i := range head {
		head[i] = "-:"
	}
	head[0], head[len(head)-1] = "-", "-"
	t.line(head)
	return t
}

func (t *table) line(cells []string) {
	fmt.Fprintln(t.out, "| "+strings.Join(cells, "\t| ")+"\t|")
}

// add adds the results of a scenario.
func (t *table) add(sc *scenario, rs results) {
	head := make([]string, len(t.columns)+2)
	head[0] = fmt.Sprintf("**%s**: %s", sc.name, sc.about)
	t.line(head)
	for _, r := range sc.rows {
		cells := []string{r.what}
		for _, c := range t.columns {
			cells = append(cells, r.cell(c, rs))
		}
		t.line(append(cells, r.verdict(rs)))
	}
}

func (t *table) flush() error { return t.out.Flush() }

// cell returns the text of a column: the value of its only measured kind.
func (r row) cell(column string, rs results) string {
	for _, k := range kinds {
		if k.column != column || rs[k.name] == nil {
			continue
		}
		value := short(r.value(rs, &k))
		if ratio := r.toFloor(rs, &k); ratio == ratio && !k.isFloor() {
			value += " (" + short(ratio) + ")"
		}
		return value
	}
	return ""
}

// verdict returns the targets of the measured engines, and whether all kinds
// with a column meet them.
func (r row) verdict(rs results) string {
	var said []string
	for e, limit := range r.targets {
		values := r.judged(rs, engine(e))
		if limit == 0 || len(values) == 0 {
			continue
		}
		sign, missed := "≤", slices.Max(values) > limit
		if r.least {
			sign, missed = "≥", slices.Min(values) < limit
		}
		text := strings.TrimSpace(fmt.Sprintf("%s %s %s", engineNames[e], sign, short(limit)))
		if r.spares(engine(e)) {
			text += " without a goroutine"
		}
		if missed {
			text += " **missed**"
		} else {
			text += " met"
		}
		said = append(said, text)
	}
	return strings.Join(said, ", ")
}

// spares reports whether an application with a goroutine for each session is not
// compared with the target of an engine.
func (r row) spares(e engine) bool { return r.alone && e == standard }

// judged returns the values of an engine's kinds for comparison with its target.
func (r row) judged(rs results, e engine) (values []float64) {
	for _, k := range kinds {
		if k.engine != e || !k.judged() || r.spares(e) && k.does == doesElements {
			continue
		}
		v := r.value(rs, &k)
		if r.ratio {
			v = r.toFloor(rs, &k)
		}
		if v == v {
			values = append(values, v)
		}
	}
	return values
}

// agreement says whether the two generators find the same ratios to the floor: the one of
// first with elements, and the one of second with XMPP. It says nothing about what was not
// measured.
func agreement(first, second results) (said string) {
	r := row{figure: "per CPU"}
	for _, k := range [][2]string{{"elements", "route"}, {"direct", "direct-route"}} {
		a, b := r.toFloor(first, &kind{name: k[0]}), r.toFloor(second, &kind{name: k[1]})
		if a != a || b != b {
			continue
		}
		verdict := "met"
		if max(a, b)/min(a, b) > 1.1 {
			verdict = "**missed**"
		}
		said += fmt.Sprintf("\nround trips per CPU second to the floor, %s: %s by one generator, %s by the other, within 10 %%: %s\n", k[0], short(a), short(b), verdict)
	}
	return said
}

// limit says how near Direct comes to what there is without net/http at all: a floor that
// takes connections over. It says nothing without either.
func limit(rs results) string {
	var ratios []float64
	for i, f := range rs["direct-route"] {
		if hijack := rs["hijack-route"]; i < len(hijack) {
			ratios = append(ratios, f["rate"]/hijack[i]["rate"])
		}
	}
	if len(ratios) == 0 {
		return ""
	}
	verdict := "met"
	if median(ratios) < nearLimit {
		verdict = "**missed**"
	}
	return fmt.Sprintf("\nround trips per second of direct, xmpp, to a floor that takes connections over: %s, ≥ %s %s\n",
		short(median(ratios)), short(nearLimit), verdict)
}

// nearLimit is the target for limit.
const nearLimit = 0.9

// values returns the values of a row for a kind of server, by run.
func (r row) values(rs results, k *kind) (vs []float64) {
	for i, f := range rs[k.name] {
		v := f[r.figure]
		if r.ours {
			if i >= len(rs["bare"]) {
				return nil
			}
			v -= rs["bare"][i][r.figure]
		}
		vs = append(vs, v)
	}
	return vs
}

// value returns the value of a row for a kind of server, or NaN.
func (r row) value(rs results, k *kind) float64 {
	vs := r.values(rs, k)
	if r.best && len(vs) > 0 {
		return slices.Min(vs)
	}
	return median(vs)
}

// toFloor returns the ratio of a kind's value to the floor's, or NaN. A median
// is that of the ratios between successive runs.
func (r row) toFloor(rs results, k *kind) float64 {
	if r.ours {
		return math.NaN()
	}
	if r.best {
		return r.value(rs, k) / r.value(rs, rs.floor())
	}
	var ratios []float64
	floor := r.values(rs, rs.floor())
	for i, v := range r.values(rs, k) {
		if i < len(floor) {
			ratios = append(ratios, v/floor[i])
		}
	}
	return median(ratios)
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

// short prints v with three significant digits, and NaN as nothing.
func short(v float64) string {
	switch size := math.Abs(v); {
	case v != v:
		return ""
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
