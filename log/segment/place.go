package segment

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/stela-db/stela/log/record"
)

const (
	// Align is what records begin at a multiple of, in bytes.
	Align = 512
	// MaxBytes is the largest segment, in bytes.
	MaxBytes = 1 << shift

	shift     = 30
	extension = ".segment"
)

// At returns the position of the byte at offset in segment number.
func At(number, offset int64) record.Position { return record.Position(number<<shift | offset) }

// Split returns the segment number and the offset in it of a position.
func Split(p record.Position) (number, offset int64) {
	return int64(p) >> shift, int64(p) & (MaxBytes - 1)
}

// Name returns the file name of segment number.
func Name(number int64) string { return fmt.Sprintf("%012d%s", number, extension) }

// ParseName returns the number of the segment that a file name belongs to.
func ParseName(name string) (number int64, ok bool) {
	digits, ok := strings.CutSuffix(name, extension)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseInt(digits, 10, 64)
	return number, err == nil && number > 0 && Name(number) == name
}

// Padded returns n rounded up to Align.
func Padded(n int64) int64 { return (n + Align - 1) &^ (Align - 1) }

// CorruptError says that stored bytes are not what they should be. It wraps record.ErrCorrupt.
type CorruptError struct {
	File   string // path
	Offset int64  // of the first bad byte's record, in bytes from the start of File
	Wanted string // what should be there
	Found  string // what is there
}

// Error names the place, both values and what a person can do.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s at byte %d: wanted %s, found %s; nothing was changed or deleted: "+
		"if other nodes hold copies, move this data folder away and start the node empty, else restore the file from a backup",
		e.File, e.Offset, e.Wanted, e.Found)
}

// Unwrap returns record.ErrCorrupt.
func (e *CorruptError) Unwrap() error { return record.ErrCorrupt }
