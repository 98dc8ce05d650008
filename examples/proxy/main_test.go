package main

import (
	"os"
	"testing"
)

// asProgram has a test's own file be the program.
const asProgram = "BOSH_PROXY_TEST_PROGRAM"

// atEnd is called when all tests are over.
var atEnd []func()

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	code := m.Run()
	for _, f := range atEnd {
		f()
	}
	os.Exit(code)
}
