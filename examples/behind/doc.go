// Package behind has configurations of the programs that stand in front of BOSH. Its
// tests run each with the program that it is for: README.md.
package behind
