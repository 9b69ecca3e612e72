package record

import (
	"fmt"
	"testing"
)

// BenchmarkRecords is what the broker does with every batch that a client sends.
func BenchmarkRecords(b *testing.B) {
	for _, codec := range allCodecs {
		b.Run(codec.String(), func(b *testing.B) {
			builder := NewBuilder()
			builder.Codec = codec
			for i := range 1000 {
				builder.Add(int64(i), fmt.Appendf(nil, "order-%d", i), fmt.Appendf(nil, `{"order":%d,"customer":"c-%d","total":"12.50","currency":"EUR","lines":[{"sku":"a","count":1}]}`, i, i%50), nil)
			}
			codecs := new(Codecs)
			batch, err := builder.AppendBatch(nil, codecs)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(builder.Bytes()))
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range codecs.Records(batch, 1<<24) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkReader is the same for batches of one record, where every allocation of the way there would count.
func BenchmarkReader(b *testing.B) {
	for _, count := range []int{1, 62, 1000} {
		b.Run(fmt.Sprintf("%d-records", count), func(b *testing.B) {
			builder := NewBuilder()
			for i := range count {
				builder.Add(int64(i), nil, make([]byte, 100), nil)
			}
			codecs := new(Codecs)
			batch, err := builder.AppendBatch(nil, codecs)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				var reader Reader
				err := codecs.Read(&reader, batch, 1<<24)
				for reader.Next() {
				}
				if err != nil || reader.Err() != nil {
					b.Fatal(err, reader.Err())
				}
			}
		})
	}
}
