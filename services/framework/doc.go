// Package framework runs a log-first service: one that owns a topic, decides what to
// append to it when something happens elsewhere, and folds it into its private state.
//
// It knows inputs, decisions, appends with an expected version, folds, calls to the
// outside, checkpoints and rebuilds. It does not know orders or payments: a Definition
// brings three pure functions, and these are all that is particular to a service.
//
//	input topics → Stream → Decide → append to the own topic, expecting a version
//	                          ↑                                  ↓
//	                    private state  ←  Fold  ←  the own topic, as read back
//
// The three rules that make it right, whatever crashes, repeats or runs twice:
//
//  1. Decide looks only at what was folded from the stream that it appends to, and the
//     append expects the version that was looked at. On a conflict the service catches
//     up and decides again.
//  2. An event's id is derived from its cause, so a decision that is taken twice is
//     appended once: the server knows the ids.
//  3. Doing nothing needs a fact that is present (the order IS paid). Where the absence
//     of something would be the reason, an event is appended that remembers.
//
// Promise: state and checkpoint change together. Every input is decided at least once
// and takes effect once; inputs of one stream in the order of their partition. A call to
// the outside is made at least once, with the stream as its idempotency key, after its
// intent is in the log; folds cannot call. Inputs that are read ahead are bounded in
// number and bytes. Deciding begins when the own topic was folded up to the end that it
// had at the start.
//
// Failures: while the log is away a service waits and goes on where it was. An input that
// cannot be read, or that Decide puts aside, is logged and noted and blocks nothing. An
// event of the own topic that cannot be folded ends the service: skipping it would make
// every later state wrong. Losing the private state costs a fold from offset 0, nothing else.
//
// Core is the same without goroutines, network or clock, for tests and simulations.
package framework
