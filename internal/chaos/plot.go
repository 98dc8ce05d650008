package main

import (
	"time"

	"github.com/gobosh/bosh/internal/plot"
)

// A curve is one of the figures of a soak.
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

// draw returns an SVG with a panel for each curve.
func draw(samples []sample, title string) []byte {
	p := plot.Plot{Title: title}
	for i := range samples {
		p.X = append(p.X, samples[i].at.Seconds())
	}
	for _, c := range curves {
		var y []float64
		for i := range samples {
			y = append(y, c.value(&samples[i]))
		}
		p.Panels = append(p.Panels, plot.Panel{Name: c.name, Lines: []plot.Line{{Name: c.name, Y: y}}})
	}
	if n := len(samples); n > 0 {
		for k := range 5 {
			at := samples[n-1].at * time.Duration(k) / 4
			p.Ticks = append(p.Ticks, plot.Tick{X: at.Seconds(), Label: at.Round(time.Second).String()})
		}
	}
	return p.SVG()
}
