//go:build linux

package main

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseSizes(t *testing.T) {
	ns, err := parseSizes("10,100,1000000000,2000000000")
	require.NoError(t, err)
	assert.Equal(t, []int{10, 100}, ns[:2])
	assert.Len(t, ns, 3)
	_, err = parseSizes("10,x")
	assert.Error(t, err)
}

func TestDrawGrowth(t *testing.T) {
	f := []figures{{"cpu": 1, "rss": 2, "heap": 3, "idle cpu": 4}}
	svg := drawGrowth([]size{
		{100, results{"floor": f, "elements": f}},
		{1000, results{"floor": f, "elements": f}},
	})
	require.NoError(t, xml.Unmarshal(svg, new(struct{})))
	assert.Equal(t, len(costs)+1, strings.Count(string(svg), `class="line faint"`), "and one in the legend")
}
