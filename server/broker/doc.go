// Package broker is what a node does, whichever protocol asks for it: produce,
// fetch, list, append to a stream if its version is the expected one, and the
// runtimes of the metadata and of the group coordinators.
package broker
