//go:build !linux

package log

import "github.com/cockroachdb/pebble/v2/vfs"

// OSFS returns the operating system's file system.
func OSFS() FS { return vfs.Default }
