//go:build linux

package main

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	rs := results{
		"floor":     {{"x": 100, "y": 2}, {"x": 200, "y": 2}, {"x": 300, "y": 2}},
		"goroutine": {{"x": 10, "y": 9}, {"x": 20, "y": 9}, {"x": 30, "y": 9}}, // not judged
		"bare":      {{"x": 1, "y": 1}, {"x": 1, "y": 1}, {"x": 1, "y": 1}},
		"elements":  {{"x": 90, "y": 3}, {"x": 140, "y": 3}, {"x": 210, "y": 3}},
		"received":  {{"x": 80, "y": 2}, {"x": 160, "y": 2}, {"x": 240, "y": 2}},
		"direct":    {{"x": 250, "y": 1}, {"x": 500, "y": 1}, {"x": 750, "y": 1}},
	}
	sc := scenario{name: "s", about: "about it", rows: []row{
		{figure: "x", what: "more", ratio: true, targets: targets{0.75, 2.2}, least: true},
		{figure: "x", what: "at most", targets: targets{direct: 600}},
		{figure: "y", what: "over bare", ours: true, targets: targets{2.5}},
		{figure: "x", what: "alone", ratio: true, targets: targets{0.75, 2.0}, least: true, alone: true},
		{figure: "x", what: "best", ratio: true, best: true, targets: targets{1.3, 2.0}},
	}}
	var out strings.Builder
	table := newTable(&out)
	table.add(&sc, rs)
	require.NoError(t, table.flush())
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{
		"| | floor | floor, goroutine | elements | received | bytes | direct | direct, received | direct, bytes | target |",
		"| - | -: | -: | -: | -: | -: | -: | -: | -: | - |",
		"| **s**: about it | | | | | | | | | |",
		"| more | 200 | 20.0 (0.100) | 140 (0.700) | 160 (0.800) | | 500 (2.50) | | | ≥ 0.750 **missed**, direct ≥ 2.20 met |",
		"| at most | 200 | 20.0 (0.100) | 140 (0.700) | 160 (0.800) | | 500 (2.50) | | | direct ≤ 600 met |",
		"| over bare | 1.00 | 8.00 | 2.00 | 1.00 | | 0.000 | | | ≤ 2.50 met |",
		"| alone | 200 | 20.0 (0.100) | 140 (0.700) | 160 (0.800) | | 500 (2.50) | | | ≥ 0.750 without a goroutine met, direct ≥ 2.00 met |",
		"| best | 100 | 10.0 (0.100) | 90.0 (0.900) | 80.0 (0.800) | | 250 (2.50) | | | ≤ 1.30 met, direct ≤ 2.00 **missed** |",
	} {
		assert.Equal(t, want, strings.Join(strings.Fields(lines[i]), " "))
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0.000", 0.0123: "0.012", 1.234: "1.23", -12.34: "-12.3", 1234.5: "1234", math.NaN(): ""} {
		assert.Equal(t, want, short(v))
	}
}

func TestAgreement(t *testing.T) {
	first := results{"floor": {{"per CPU": 100}}, "elements": {{"per CPU": 90}}, "direct": {{"per CPU": 200}}}
	second := results{"floor-route": {{"per CPU": 200}}, "route": {{"per CPU": 170}}, "direct-route": {{"per CPU": 340}}}
	assert.Equal(t, "\nround trips per CPU second to the floor, elements: 0.900 by one generator, 0.850 by the other, within 10 %: met\n"+
		"\nround trips per CPU second to the floor, direct: 2.00 by one generator, 1.70 by the other, within 10 %: **missed**\n",
		agreement(first, second))
	assert.Empty(t, agreement(first, nil))
	assert.Empty(t, agreement(nil, nil))
}

func TestLimit(t *testing.T) {
	rs := results{"hijack-route": {{"rate": 100}, {"rate": 200}, {"rate": 100}}, "direct-route": {{"rate": 95}, {"rate": 160}, {"rate": 70}}}
	const said = "\nround trips per second of direct, xmpp, to a floor that takes connections over: 0.800, ≥ 0.900 **missed**\n"
	assert.Equal(t, said, limit(rs))
	rs["direct-route"][2]["rate"] = 90
	assert.Contains(t, limit(rs), "0.900, ≥ 0.900 met")
	assert.Empty(t, limit(nil))
}
