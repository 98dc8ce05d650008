//go:build !race

package harness

const OneOf = 1
