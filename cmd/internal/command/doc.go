// Package command is what our command lines have in common: how an error is told, how a
// flag gets its value from the environment or a file, how an answer is printed.
//
// It knows cobra, YAML and terminals; it does not know what the commands do.
//
// An error is one line that begins in lower case, with the cause and the next step. The
// exit status is 1 for a failure and 2 for wrong usage.
package command
