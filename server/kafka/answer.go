package kafka

import (
	"encoding/binary"
	"unicode/utf8"
)

// answerWriter appends values to an answer that is written by hand.
type answerWriter struct {
	bytes    []byte
	flexible bool
}

func (w *answerWriter) int16(v int16) { w.bytes = binary.BigEndian.AppendUint16(w.bytes, uint16(v)) }

func (w *answerWriter) int32(v int32) { w.bytes = binary.BigEndian.AppendUint32(w.bytes, uint32(v)) }

func (w *answerWriter) int64(v int64) { w.bytes = binary.BigEndian.AppendUint64(w.bytes, uint64(v)) }

// arrayLength appends the length before an array or bytes.
func (w *answerWriter) arrayLength(n int) {
	if w.flexible {
		w.bytes = binary.AppendUvarint(w.bytes, uint64(n)+1)
	} else {
		w.int32(int32(n))
	}
}

// nullArray appends the length of an array that is null.
func (w *answerWriter) nullArray() {
	if w.flexible {
		w.bytes = append(w.bytes, 0)
	} else {
		w.int32(-1)
	}
}

func (w *answerWriter) text(s string) {
	s = cutText(s, maxStringBytes)
	if w.flexible {
		w.bytes = binary.AppendUvarint(w.bytes, uint64(len(s))+1)
	} else {
		w.int16(int16(len(s)))
	}
	w.bytes = append(w.bytes, s...)
}

// cutText returns the begin of a text, at most n bytes, without a part of a character at its end.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func (w *answerWriter) nullableText(s *string) {
	switch {
	case s != nil:
		w.text(*s)
	case w.flexible:
		w.bytes = append(w.bytes, 0)
	default:
		w.int16(-1)
	}
}

// noTags ends a structure that has no tagged fields.
func (w *answerWriter) noTags() {
	if w.flexible {
		w.bytes = append(w.bytes, 0)
	}
}
