//go:build boshnext

package state

// A program with this build tag is as the next release may be: it writes a later version,
// which has a field more, and reads both. Tests have it run beside one without.
var present = format{Version, Version + 1, func(s *Session, c *codec) {
	s.code(c)
	if c.version > Version {
		field := "a later version has this"
		c.texts(&field)
	}
}}
