//go:build unix

package demo

import (
	"math"
	"syscall"
)

// descriptorLimit returns how many file descriptors the process may have.
func descriptorLimit() (n int, ok bool) {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0, false
	}
	cur := uint64(l.Cur)
	return int(min(cur, math.MaxInt32)), cur < math.MaxInt32
}
