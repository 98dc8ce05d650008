//go:build !unix

package main

import "os"

// reloadSignal has the certificate read again. There is none here.
var reloadSignal os.Signal
