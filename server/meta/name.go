package meta

import (
	"fmt"
	"strings"
)

// MaxTopicName is the most bytes that a topic's name may have.
const MaxTopicName = 249

// reservedPrefix begins the names under which single streams can be read as if they were topics.
const reservedPrefix = "__stream."

// CheckTopicName returns an error that wraps ErrInvalidTopic when no topic can have this name.
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("topic name is empty: %w", ErrInvalidTopic)
	case name == "." || name == "..":
		return fmt.Errorf("topic name cannot be %q: %w", name, ErrInvalidTopic)
	case len(name) > MaxTopicName:
		return fmt.Errorf("topic name has %d bytes, at most %d are allowed: %w", len(name), MaxTopicName, ErrInvalidTopic)
	case strings.HasPrefix(name, reservedPrefix):
		return fmt.Errorf("topic name %q begins with %q, which is reserved for streams: %w", name, reservedPrefix, ErrInvalidTopic)
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("topic name %q has characters other than letters and digits of ASCII, '.', '_' and '-': %w", name, ErrInvalidTopic)
		}
	}
	return nil
}
