//go:build !unix

package demo

// descriptorLimit returns how many file descriptors the process may have.
func descriptorLimit() (n int, ok bool) { return 0, false }
