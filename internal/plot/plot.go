// Package plot draws curves, in panels one below the other, as SVG.
package plot

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"
)

// A Plot is a drawing of panels with a common horizontal axis.
type Plot struct {
	Title  string
	Note   string // below the title: how it was measured
	X      []float64
	Log    bool // the horizontal axis is logarithmic
	Ticks  []Tick
	Panels []Panel
}

// A Tick is a label on the horizontal axis.
type Tick struct {
	X     float64
	Label string
}

// A Panel has curves over a vertical axis from 0.
type Panel struct {
	Name  string
	Lines []Line
}

// A Line is a curve: a value for each X of the Plot. Lines of the same place in
// different panels are drawn alike; the names are those of the first panel's.
type Line struct {
	Name  string
	Y     []float64
	Faint bool // it is what others are compared with
}

// The measures of a plot, in pixels.
const (
	panelWidth, panelHeight = 720, 90
	left, right             = 150, 20
	gap                     = 24
	lineHeight              = 20
)

// style is legible on light and on dark pages.
const style = `<style>text{fill:#222}.small{font-size:11px}.axis{stroke:#bbb}.line{fill:none;stroke-width:1.5}` +
	`.faint{stroke:#999}.c0{stroke:#0969da}.c1{stroke:#d4662a}.c2{stroke:#2c974b}` +
	`@media(prefers-color-scheme:dark){text{fill:#ddd}.axis{stroke:#555}.c0{stroke:#6cb6ff}}</style>`

// class returns the class of a line, the i-th of its panel.
func (l *Line) class(i int) string {
	if l.Faint {
		return "line faint"
	}
	return fmt.Sprintf("line c%d", i%3)
}

// SVG returns the drawing.
func (p *Plot) SVG() []byte {
	var b bytes.Buffer
	top := 40
	if p.Note != "" {
		top += lineHeight
	}
	if p.named() {
		top += lineHeight
	}
	height := top + len(p.Panels)*(panelHeight+gap) + 30
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13">`+"\n",
		left+panelWidth+right, height)
	fmt.Fprintf(&b, "%s\n", style)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-weight="600">%s</text>`+"\n", left, html.EscapeString(p.Title))
	if p.Note != "" {
		fmt.Fprintf(&b, `<text class="small" x="%d" y="42">%s</text>`+"\n", left, html.EscapeString(p.Note))
	}
	if p.named() {
		p.legend(&b, top-lineHeight)
	}
	if len(p.X) > 0 {
		for i := range p.Panels {
			p.panel(&b, &p.Panels[i], top+i*(panelHeight+gap))
		}
		for _, t := range p.Ticks {
			fmt.Fprintf(&b, `<text class="small" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", p.at(t.X), height-16, html.EscapeString(t.Label))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// named reports whether there are several lines to tell apart.
func (p *Plot) named() bool { return len(p.Panels) > 0 && len(p.Panels[0].Lines) > 1 }

func (p *Plot) legend(b *bytes.Buffer, y int) {
	x := left
	for i, l := range p.Panels[0].Lines {
		fmt.Fprintf(b, `<path class="%s" d="M%d %dh24"/><text class="small" x="%d" y="%d">%s</text>`+"\n",
			l.class(i), x, y-4, x+30, y, html.EscapeString(l.Name))
		x += 60 + 7*len(l.Name)
	}
}

func (p *Plot) panel(b *bytes.Buffer, panel *Panel, top int) {
	most := 0.0
	for _, l := range panel.Lines {
		most = max(most, slices.Max(l.Y))
	}
	most = ceiling(most)
	bottom := top + panelHeight
	fmt.Fprintf(b, `<text x="8" y="%d">%s</text>`+"\n", top+panelHeight/2, html.EscapeString(panel.Name))
	for _, part := range []float64{0, 0.5, 1} {
		y := float64(bottom) - part*panelHeight
		fmt.Fprintf(b, `<path class="axis" d="M%d %.1fh%d"/><text class="small" x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			left, y, panelWidth, left-6, y+4, part*most)
	}
	for i, l := range panel.Lines {
		fmt.Fprintf(b, `<path class="%s" d="`, l.class(i))
		for k, y := range l.Y {
			op := 'L'
			if k == 0 {
				op = 'M'
			}
			fmt.Fprintf(b, "%c%.1f %.1f", op, p.at(p.X[k]), float64(bottom)-panelHeight*y/most)
		}
		b.WriteString("\"/>\n")
	}
}

// at returns where x is drawn. A linear axis begins at 0, a logarithmic one at
// the first X.
func (p *Plot) at(x float64) float64 {
	end := p.X[len(p.X)-1]
	if p.Log && end > p.X[0] {
		return left + panelWidth*math.Log(x/p.X[0])/math.Log(end/p.X[0])
	}
	return left + panelWidth*x/end
}

// ceiling returns the next round number: 1, 2 or 5 times a power of ten.
func ceiling(x float64) float64 {
	if x <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(x)))
	for _, k := range []float64{1, 2, 5} {
		if x <= k*unit {
			return k * unit
		}
	}
	return 10 * unit
}
