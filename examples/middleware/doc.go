// Package middleware has no code: its tests mount a [bosh.Handler] behind the
// middleware that Go services use, with either engine. README.md has the table
// of results, and the tests compare it to what they see.
//
// [bosh.Handler]: https://pkg.go.dev/github.com/gobosh/bosh#Handler
package middleware
