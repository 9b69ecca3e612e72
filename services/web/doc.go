// Package web is how the order services speak HTTP: a small server and a small client
// over fasthttp, JSON bodies and RFC 9457 problems.
//
// It knows methods, paths with {names}, headers, limits and problems. It does not know
// what is served.
//
// A handler answers by a method of Request or returns an error: a *Problem is sent as
// it is, any other error as 500 with its text in the log and not in the answer.
//
// Limits: bodies of 1 MiB, headers of 16 KiB, 30 s to send a request, 1,024 connections
// at once. A Server may be used from any goroutine once it serves; Close waits for its
// requests, at most for the time that its context gives. fasthttp's own cleaners end some
// seconds later by themselves.
package web
