// Package segment is one file of the log.
package segment
