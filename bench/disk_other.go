//go:build !linux

package bench

// diskOf would name the disk that holds a folder; only Linux counts what it does.
func diskOf(string) string { return "" }
