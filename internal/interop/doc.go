// Package interop has no code, only tests: real clients against running
// programs of the examples. They need Node.js, python3, Chromium and the
// packages of package-lock.json:
//
//	npm --prefix internal/interop ci
//	go test -tags interop ./internal/interop
//
// BOSH_ENGINE=direct runs the programs with -direct.
//
// Screenshots go to the folder in INTEROP_OUTPUT, if any. Chromium is
// /usr/bin/chromium unless INTEROP_CHROMIUM says otherwise.
package interop
