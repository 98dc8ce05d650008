//go:build !linux

package direct

import "syscall"

// acknowledged knows nothing.
func acknowledged(syscall.RawConn) (all, known bool) { return false, false }
