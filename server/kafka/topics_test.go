package kafka

import (
	"encoding/binary"
	"errors"
	"testing"
)

// Topics without partitions take three bytes in a request and many more in memory.
func TestTopicsAreBounded(t *testing.T) {
	const topics = maxPartitions + 1
	empty := make([]byte, 0, 3*topics)
	for range topics {
		empty = append(empty, 0x01, 0x01, 0x00) // no name, no partitions, no tags
	}
	array := append(binary.AppendUvarint(nil, topics+1), empty...)

	produce := []byte{0, 0, 0, 1, 0, 0, 0, 0} // tags of the header, no transaction, acks, timeout
	produce = append(append(produce, array...), 0)
	if _, _, err := fakeProduce(t, idle(t, Limits{}), frameOf(keyProduce, 9, 42, produce)); !errors.Is(err, errMalformed) {
		t.Errorf("produce: %v", err)
	}

	fetch := make([]byte, 4+4+4+4+1+4+4)
	fetch = append(append(fetch, array...), 1, 1, 0) // nothing is forgotten, no rack, no tags
	if _, err := decodeFetch(12, fetch); !errors.Is(err, errMalformed) {
		t.Errorf("fetch: %v", err)
	}
}
