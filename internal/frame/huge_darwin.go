//go:build darwin && !race

package frame

// wantHugePages does nothing: this system decides by itself.
func wantHugePages([]byte) {}
