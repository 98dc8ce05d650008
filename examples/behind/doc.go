// Package behind has configurations of programs in front of BOSH. Its tests run each
// configuration with its program: README.md.
package behind
