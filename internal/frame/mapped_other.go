//go:build (!linux && !darwin) || race

package frame

// mapped is the runtime's memory: this system's own is not used, or, under the race detector, not watched.
func mapped() source { return heap() }
