//go:build !linux

package direct

const watches = false
