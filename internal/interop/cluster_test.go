//go:build interop

package interop

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gobosh/bosh/internal/enginetest"
)

// examples/cluster restarts all its processes, one after the other, under its own page and
// under strophe.js.
func TestCluster(t *testing.T) {
	program := filepath.Join(t.TempDir(), "cluster")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..", "examples", "cluster")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building examples/cluster: %v\n%s", err, out)
	}
	names := []string{"strophe", "page"}
	if enginetest.Direct() {
		names = names[:1]
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			node(t, launch(t, greetHTTP, exec.Command(program, "-http", "127.0.0.1:0")), "cluster.mjs", name)
		})
	}
}
