// Package enginetest lets the tests of packages with a BOSH server run against
// either engine:
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

// Direct reports whether the environment asks for the direct engine. It looks at
// each call, within the test. go test reuses an earlier result only if all
// variables read by the tests are the same, and it does not see reads before the
// tests.
func Direct() bool { return os.Getenv("BOSH_ENGINE") == "direct" }
