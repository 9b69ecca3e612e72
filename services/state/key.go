package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The key spaces.
const (
	spaceDomain = 'd'
	spaceFolded = 'f'
	spaceInput  = 'i'
	spaceAside  = 'a'
)

// appendPart appends a string so that it ends where it ends and sorts as it sorts.
func appendPart(dst []byte, part string) []byte {
	for i := range len(part) {
		dst = append(dst, part[i])
		if part[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0, 1)
}

var errKey = errors.New("not a key of this database")

// parsePart splits the first part from key.
func parsePart(key []byte) (part string, rest []byte, err error) {
	var b []byte
	for {
		i := bytes.IndexByte(key, 0)
		if i < 0 || i+1 >= len(key) {
			return "", nil, fmt.Errorf("part without an end in %q: %w", key, errKey)
		}
		b = append(b, key[:i]...)
		switch key[i+1] {
		case 1:
			return string(b), key[i+2:], nil
		case 0xff:
			b = append(b, 0)
		default:
			return "", nil, fmt.Errorf("escape %#02x in %q: %w", key[i+1], key, errKey)
		}
		key = key[i+2:]
	}
}

// domainKey returns the key of a row of a table.
func domainKey(table string, parts ...string) []byte {
	key := appendPart([]byte{spaceDomain}, table)
	for _, part := range parts {
		key = appendPart(key, part)
	}
	return key
}

// domainParts is the reverse of domainKey, without the table.
func domainParts(key []byte) ([]string, error) {
	_, rest, err := parsePart(key[1:])
	if err != nil {
		return nil, err
	}
	var parts []string
	for len(rest) > 0 {
		var part string
		if part, rest, err = parsePart(rest); err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func checkpointKey(space byte, topic string, partition int32) []byte {
	return binary.BigEndian.AppendUint32(appendPart([]byte{space}, topic), uint32(partition))
}

func parseCheckpointKey(key []byte) (topic string, partition int32, err error) {
	topic, rest, err := parsePart(key[1:])
	if err == nil && len(rest) != 4 {
		err = fmt.Errorf("checkpoint %q: %w", key, errKey)
	}
	if err != nil {
		return "", 0, err
	}
	return topic, int32(binary.BigEndian.Uint32(rest)), nil
}

func asideKey(topic string, partition int32, offset int64) []byte {
	return binary.BigEndian.AppendUint64(checkpointKey(spaceAside, topic, partition), uint64(offset))
}

func parseAsideKey(key []byte) (topic string, partition int32, offset int64, err error) {
	if len(key) < 8 {
		return "", 0, 0, fmt.Errorf("aside %q: %w", key, errKey)
	}
	topic, partition, err = parseCheckpointKey(key[:len(key)-8])
	return topic, partition, int64(binary.BigEndian.Uint64(key[len(key)-8:])), err
}

// prefixEnd returns the first key after all that begin with prefix; nil for none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
