package plot

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSVG(t *testing.T) {
	p := Plot{
		Title: "a < b", Log: true, X: []float64{1, 10, 100}, Ticks: []Tick{{10, "ten"}},
		Panels: []Panel{{Name: "p", Lines: []Line{{Name: "x", Y: []float64{0, 50, 100}}, {Name: "y", Y: []float64{0, 0, 10}, Faint: true}}}},
	}
	svg := string(p.SVG())
	require.NoError(t, xml.Unmarshal([]byte(svg), new(struct{})))
	assert.Contains(t, svg, `class="line c0" d="M150.0 150.0L510.0 105.0L870.0 60.0"`)
	assert.Contains(t, svg, `class="line faint" d="M150.0 150.0L510.0 150.0L870.0 141.0"`)
	assert.Contains(t, svg, `x="510.0" y="188" text-anchor="middle">ten<`)
	assert.Equal(t, 2, strings.Count(svg, ">x<")+strings.Count(svg, ">y<"), "names")
}

func TestOneLineNeedsNoName(t *testing.T) {
	p := Plot{X: []float64{1, 2}, Panels: []Panel{{Name: "p", Lines: []Line{{Name: "x", Y: []float64{1, 2}}}}}}
	assert.NotContains(t, string(p.SVG()), ">x<")
}

func TestNothing(t *testing.T) {
	p := Plot{Panels: []Panel{{Name: "p"}}}
	require.NoError(t, xml.Unmarshal(p.SVG(), new(struct{})))
}

func TestCeiling(t *testing.T) {
	for x, want := range map[float64]float64{0: 1, 1: 1, 1.1: 2, 4: 5, 5.1: 10, 1234: 2000, 0.03: 0.05} {
		assert.InEpsilon(t, want, ceiling(x), 1e-9)
	}
}
