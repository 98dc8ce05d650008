package main

import (
	"encoding/xml"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/gobosh/bosh/internal/enginetest"
	"github.com/gobosh/bosh/internal/leak"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of everything that chance decides")
	full = flag.Bool("full", false, "run TestOverSockets with 100,000 payloads")
)

func TestMain(m *testing.M) { leak.Main(m) }

// In a bubble the handler and its clients wait without waiting, and each seed
// has much the same story.
func TestInMemory(t *testing.T) {
	t.Logf("-seed %d", *seed)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(*seed)
		w.overPipes()
		w.run(t.Context(), options{payloads: 8000, sessions: 20, rate: 0.25, starve: true})
		time.Sleep(2 * time.Minute) // until all is forgotten
		assert.Zero(t, w.h.Stats().Sessions)
		assert.Zero(t, w.h.Stats().Memory)
		w.close()
		t.Log(w)
		assert.NoError(t, w.verdict())
		assert.GreaterOrEqual(t, w.totals.payloads, 8000)
	})
}

func TestOverSockets(t *testing.T) {
	o := options{seed: *seed, payloads: 4000, sessions: 20, rate: 0.25}
	if *full {
		o.payloads, o.sessions, o.starve = 100_000, 100, true
	}
	t.Logf("-seed %d", o.seed)
	var out strings.Builder
	assert.NoError(t, run(t.Context(), o, &out))
	t.Log(out.String())
}

// The soak itself takes half an hour. Here it is to work at all.
func TestSoak(t *testing.T) {
	file := t.TempDir() + "/soak.svg"
	require.NoError(t, runSoak(t.Context(), options{seed: *seed, sessions: 20, rate: 0.25}, time.Second, file, io.Discard))
	svg, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.NoError(t, xml.Unmarshal(svg, new(any)))
	assert.Equal(t, len(curves), strings.Count(string(svg), `class="line `))
}

func TestFlat(t *testing.T) {
	var level, rising []sample
	for i := range 200 {
		level = append(level, sample{heap: 100 + float64(i%7), files: 1000, rate: float64(i)})
		rising = append(rising, sample{heap: 100 + float64(i)})
	}
	assert.NoError(t, flat(level))
	assert.ErrorContains(t, flat(rising), "MiB of heap")
}
