//go:build race

package harness

// OneOf is 8 under the race detector. Everything takes ten times as long then, and only
// races are looked for: the models run through one of so many lives.
const OneOf = 8
