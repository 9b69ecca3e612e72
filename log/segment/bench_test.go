package segment

import "testing"

// BenchmarkHeader writes a record's header and reads it again.
func BenchmarkHeader(b *testing.B) {
	seed := Seed([16]byte{1})
	h := Header{Shard: 1, Position: 4096, Index: 7, Term: 3, PayloadBytes: 511 << 10, TailBytes: 600, Durable: 2048, Applied: 5}
	buffer := make([]byte, HeaderBytes)
	b.ReportAllocs()
	for b.Loop() {
		h.Put(buffer, seed)
		if _, err := ParseHeader(buffer, h.Position, seed); err != nil {
			b.Fatal(err)
		}
	}
}
