// Package leak fails the run of a package's tests if goroutines are left at its
// end.
package leak

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// patience is how long goroutines may take to end after the last test.
const patience = 5 * time.Second

// Main is for TestMain. It runs the tests and exits. While fuzzing it does not
// look, since the fuzzing engine has goroutines of its own.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 && !fuzzing() && !settled() {
		buf := make([]byte, 1<<20)
		fmt.Printf("goroutines are left:\n%s\n", buf[:runtime.Stack(buf, true)])
		code = 1
	}
	os.Exit(code)
}

func fuzzing() bool {
	for _, name := range []string{"test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != f.DefValue {
			return true
		}
	}
	return false
}

// settled waits until this goroutine is the only one.
func settled() bool {
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		if runtime.NumGoroutine() == 1 {
			return true
		}
	}
	return false
}
