// Package middleware has no code: its tests mount a [bosh.Handler] behind
// common middleware of Go services, with either engine. README.md has the table
// of results, and the tests check it.
//
// [bosh.Handler]: https://pkg.go.dev/github.com/gobosh/bosh#Handler
package middleware
