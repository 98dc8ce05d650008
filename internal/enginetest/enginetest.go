// Package enginetest is imported by the tests of packages that serve BOSH, so
// that they can be run against either engine:
//
//	BOSH_ENGINE=direct go test ./...
//
// has every Handler of these tests serve as with Options.Direct.
package enginetest

import (
	"os"

	"github.com/gobosh/bosh/internal/direct"
)

func init() { direct.Always = Direct }

// Direct reports whether the direct engine is asked for. It looks whenever it is
// called: what a test has asked of the environment is what go test goes by when it
// gives out the result of an earlier run, and it does not see what is asked before.
func Direct() bool { return os.Getenv("BOSH_ENGINE") == "direct" }
