//go:build !race

package log

// raceDetected says that the tests run under the race detector, which is slow.
const raceDetected = false
