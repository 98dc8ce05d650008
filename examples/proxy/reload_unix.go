//go:build unix

package main

import (
	"os"
	"syscall"
)

// reloadSignal has the certificate read again.
var reloadSignal os.Signal = syscall.SIGHUP
