//go:build interop

package main

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The page shows one time after the other.
func TestPage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "clock.mjs", start().URL)
	cmd.Dir, cmd.WaitDelay = "../../internal/interop", 5*time.Second
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
