//go:build race

package bosh_test

// Under the race detector everything takes ten times as long, and it is races
// that are looked for: the models run through one of so many lives then.
const oneOf = 8
