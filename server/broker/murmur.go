package broker

import "encoding/binary"

// PartitionFor returns the partition of a key as Kafka's default partitioner chooses
// it: murmur2 of the key, sign bit off, modulo the number of partitions.
func PartitionFor(key []byte, partitions int) int32 {
	return int32(murmur2(key)&0x7fffffff) % int32(partitions)
}

// murmur2 is the hash of Kafka's Java client, seed included.
func murmur2(b []byte) uint32 {
	const (
		seed   = 0x9747b28c
		factor = 0x5bd1e995
		shift  = 24
	)
	h := uint32(seed) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * factor
		k = (k ^ k>>shift) * factor
		h = h*factor ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * factor
	}
	h = (h ^ h>>13) * factor
	return h ^ h>>15
}
