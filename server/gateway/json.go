package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"unicode/utf8"
)

const (
	// maxDepth bounds how deep arrays and objects of a request may nest, the batch and the event included.
	maxDepth = 64
	// maxNumberBytes bounds the digits of one number.
	maxNumberBytes = 64
)

// checkJSON checks that b is one valid JSON value in UTF-8 within the limits above.
// It allocates nothing that grows with b. After it, the functions below may walk b
// without looking for errors.
func checkJSON(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("the body is not valid utf-8")
	}
	depth, number := 0, 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c >= '0' && c <= '9' || number > 0 && (c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-') {
			if number++; number > maxNumberBytes {
				return fmt.Errorf("a number at byte %d has more than %d characters", i-number+1, maxNumberBytes)
			}
			continue
		}
		number = 0
		switch c {
		case '"':
			i = endOfString(b, i) - 1
		case '[', '{':
			if depth++; depth > maxDepth {
				return fmt.Errorf("the body nests deeper than %d at byte %d", maxDepth, i)
			}
		case ']', '}':
			depth--
		}
	}
	if !json.Valid(b) {
		var discard json.RawMessage
		if err := json.Unmarshal(b, &discard); err != nil {
			return fmt.Errorf("the body is not json: %w", err)
		}
		return errors.New("the body is not json")
	}
	return nil
}

// endOfString returns the place after the string that begins at b[i], or len(b) when it does not end.
func endOfString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// endOfValue returns the place after the value that begins at b[i].
func endOfValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = endOfString(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 {
				return i // the end of what holds a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

// elements yields the values of an array, as they are written.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		i := skipSpace(array, skipSpace(array, 0)+1)
		for i < len(array) && array[i] != ']' {
			end := endOfValue(array, i)
			if !yield(array[i:end:end]) {
				return
			}
			if i = skipSpace(array, end); i < len(array) && array[i] == ',' {
				i = skipSpace(array, i+1)
			}
		}
	}
}

// members yields the names and values of an object, as they are written: names in their quotes.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		i := skipSpace(object, skipSpace(object, 0)+1)
		for i < len(object) && object[i] != '}' {
			nameEnd := endOfString(object, i)
			start := skipSpace(object, skipSpace(object, nameEnd)+1)
			end := endOfValue(object, start)
			if !yield(object[i:nameEnd:nameEnd], object[start:end:end]) {
				return
			}
			if i = skipSpace(object, end); i < len(object) && object[i] == ',' {
				i = skipSpace(object, i+1)
			}
		}
	}
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) (string, error) {
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return "", fmt.Errorf("parse string: %w", err)
	}
	return text, nil
}

// appendString appends s as a JSON string. What is not UTF-8 in it becomes the replacement character.
func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range string(s) {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < ' ' || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
