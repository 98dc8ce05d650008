//go:build interop

package interop

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gobosh/bosh/internal/enginetest"
)

// The page of examples/push, which is built for this.
func TestPush(t *testing.T) {
	program := filepath.Join(t.TempDir(), "push")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..", "examples", "push")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building examples/push: %v\n%s", err, out)
	}
	names := []string{"watch", "loads", "stop", "looks", "monitor", "reconnect", "front", "shutdown"}
	if enginetest.Direct() {
		names = names[:3] // the engine is nothing to the others
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			node(t, launch(t, greetHTTP, exec.Command(program, "-http", "127.0.0.1:0")), "push.mjs", name, "INTEROP_PROGRAM="+program)
		})
	}
}
