//go:build !boshnext

package state

var present = format{Oldest, Version, (*Session).code}
