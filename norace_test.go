//go:build !race

package bosh_test

const oneOf = 1
