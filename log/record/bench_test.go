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
