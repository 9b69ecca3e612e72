// Package tidy holds the style rules of this repository as tests: which package
// may import which, how large things may grow, what code must not say or do, and
// that the prose still fits the code.
//
// It knows source text and nothing of what it means: it parses, it does not
// type-check, so each rule is one that a reader can check by eye as well.
// Everything is in the tests; run them with
//
//	go test ./internal/tidy
//
// A rule that must be broken somewhere is broken in the table exceptions, with
// the reason beside it. An exception that is no longer needed fails too, so the
// table only shrinks.
package tidy
