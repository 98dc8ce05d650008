package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"time"
)

// A curve is one of the things that a soak measures.
type curve struct {
	name  string
	value func(*sample) float64
	noise float64 // by how much it may grow for no reason
	free  bool    // it may do what it likes
}

var curves = []curve{
	{"MiB of heap", func(s *sample) float64 { return s.heap }, 8, false},
	{"goroutines", func(s *sample) float64 { return s.goroutines }, 200, false},
	{"file descriptors", func(s *sample) float64 { return s.files }, 200, false},
	{"live sessions", func(s *sample) float64 { return s.sessions }, 0, true},
	{"requests a second", func(s *sample) float64 { return s.rate }, 0, true},
}

// The measures of a plot, in pixels.
const (
	plotWidth, panelHeight = 720, 90
	marginLeft, marginTop  = 150, 40
	gap                    = 24
)

// draw returns an SVG with a panel for each curve. It is legible on light and
// dark pages.
func draw(samples []sample, title string) []byte {
	var b bytes.Buffer
	height := marginTop + len(curves)*(panelHeight+gap) + 30
	width := marginLeft + plotWidth + 20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&b, "<style>text{fill:#222}.line{stroke:#0969da}.axis{stroke:#bbb}.small{font-size:11px}"+
		"@media(prefers-color-scheme:dark){text{fill:#ddd}.line{stroke:#6cb6ff}.axis{stroke:#555}}</style>\n")
	fmt.Fprintf(&b, `<text x="%d" y="22" font-weight="600">%s</text>`+"\n", marginLeft, html.EscapeString(title))
	if len(samples) > 0 {
		end := samples[len(samples)-1].at
		for i, c := range curves {
			drawPanel(&b, samples, c, marginTop+i*(panelHeight+gap), end)
		}
		y := height - 16
		for k := range 5 {
			at := end * time.Duration(k) / 4
			fmt.Fprintf(&b, `<text class="small" x="%d" y="%d" text-anchor="middle">%v</text>`+"\n", marginLeft+plotWidth*k/4, y, at.Round(time.Second))
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func drawPanel(b *bytes.Buffer, samples []sample, c curve, top int, end time.Duration) {
	most := 0.0
	for i := range samples {
		most = max(most, c.value(&samples[i]))
	}
	most = ceiling(most)
	bottom := top + panelHeight
	fmt.Fprintf(b, `<text x="8" y="%d">%s</text>`+"\n", top+panelHeight/2, c.name)
	for _, y := range []float64{0, 0.5, 1} {
		at := float64(bottom) - y*panelHeight
		fmt.Fprintf(b, `<path class="axis" d="M%d %.1fh%d"/><text class="small" x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n",
			marginLeft, at, plotWidth, marginLeft-6, at+4, y*most)
	}
	b.WriteString(`<path class="line" fill="none" stroke-width="1.5" d="`)
	for i := range samples {
		s := &samples[i]
		op := 'L'
		if i == 0 {
			op = 'M'
		}
		fmt.Fprintf(b, "%c%.1f %.1f", op, marginLeft+plotWidth*s.at.Seconds()/end.Seconds(), float64(bottom)-panelHeight*c.value(s)/most)
	}
	b.WriteString("\"/>\n")
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
