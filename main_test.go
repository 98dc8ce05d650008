package bosh_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
)

// TestMain fails the run if goroutines are left when all tests are over.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		deadline := time.Now().Add(5 * time.Second)
		for runtime.NumGoroutine() > 1 && time.Now().Before(deadline) {
			runtime.Gosched()
		}
		if n := runtime.NumGoroutine(); n > 1 {
			buf := make([]byte, 1<<20)
			fmt.Printf("%d goroutines left:\n%s\n", n-1, buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
}
