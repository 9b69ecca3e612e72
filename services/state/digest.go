package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"strings"

	"github.com/stela-db/stela/client"
)

// A Digest is a fingerprint of the domain rows at a cut.
type Digest struct {
	Sum  [sha256.Size]byte
	Keys int64      // rows
	Cut  client.Cut // what had been folded
}

// String returns the sum in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d.Sum[:]) }

// Digest reads all domain rows that the transaction sees.
func (t *Tx) Digest() (Digest, error) {
	digest := Digest{Cut: t.Folded()}
	hash := sha256.New()
	var length [8]byte
	for key, value := range t.scan([]byte{spaceDomain}, []byte{spaceDomain + 1}) {
		digest.Keys++
		for _, part := range [][]byte{key[1:], value} {
			binary.BigEndian.PutUint64(length[:], uint64(len(part)))
			hash.Write(length[:])
			hash.Write(part)
		}
	}
	if t.err != nil {
		return Digest{}, t.err
	}
	hash.Sum(digest.Sum[:0])
	return digest, nil
}

// A Difference is the first row in which two databases differ. A row that one of them
// lacks is "".
type Difference struct {
	Key   string `json:"key"`
	Left  string `json:"left"`
	Right string `json:"right"`
}

// Compare returns the first difference between the domain rows of two transactions,
// nil when there is none.
func Compare(left, right *Tx) (*Difference, error) {
	nextLeft, stopLeft := iter.Pull2(left.scan([]byte{spaceDomain}, []byte{spaceDomain + 1}))
	defer stopLeft()
	nextRight, stopRight := iter.Pull2(right.scan([]byte{spaceDomain}, []byte{spaceDomain + 1}))
	defer stopRight()
	for {
		leftKey, leftValue, moreLeft := nextLeft()
		rightKey, rightValue, moreRight := nextRight()
		if left.err != nil || right.err != nil {
			return nil, fmt.Errorf("compare states: %w", firstError(left.err, right.err))
		}
		switch {
		case !moreLeft && !moreRight:
			return nil, nil //nolint:nilnil // no difference is the good answer
		case moreLeft && moreRight && string(leftKey) == string(rightKey):
			if string(leftValue) != string(rightValue) {
				return &Difference{Key: readable(leftKey), Left: string(leftValue), Right: string(rightValue)}, nil
			}
		case moreLeft && (!moreRight || string(leftKey) < string(rightKey)):
			return &Difference{Key: readable(leftKey), Left: string(leftValue)}, nil
		default:
			return &Difference{Key: readable(rightKey), Right: string(rightValue)}, nil
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// readable writes a domain key as table/part/part.
func readable(key []byte) string {
	table, _, err := parsePart(key[1:])
	if err != nil {
		return fmt.Sprintf("%q", key)
	}
	parts, err := domainParts(key)
	if err != nil {
		return fmt.Sprintf("%q", key)
	}
	return strings.Join(append([]string{table}, parts...), "/")
}
