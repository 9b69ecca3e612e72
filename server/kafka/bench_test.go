package kafka_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// BenchmarkProduce sends Produce requests as fast as they are answered, a few under way at a time.
func BenchmarkProduce(b *testing.B) {
	for _, c := range []struct {
		name    string
		records int
		bytes   int
	}{{"1x100B", 1, 100}, {"500x1KiB", 500, 1024}} {
		b.Run(c.name, func(b *testing.B) {
			w := &walk{TB: b, conn: dialNode(b, node(b)), version: 9}
			w.topic("bench")
			values := make([]string, c.records)
			for i := range values {
				values[i] = strings.Repeat("v", c.bytes)
			}
			in := produceRequest(9, "bench", batch(b, 1000, values...))
			b.SetBytes(int64(c.records * c.bytes))
			b.ReportAllocs()
			const underWay = 8
			slots := make(chan struct{}, underWay)
			b.ResetTimer()
			go func() {
				for range b.N {
					slots <- struct{}{}
					if write(w.conn, in) != nil {
						return
					}
				}
			}()
			for range b.N {
				out := read(b, w.conn, in).(*kmsg.ProduceResponse)
				w.code("produce", out.Topics[0].Partitions[0].ErrorCode, 0)
				<-slots
			}
		})
	}
}

// BenchmarkFetch reads stored batches again and again.
func BenchmarkFetch(b *testing.B) {
	w := &walk{TB: b, conn: dialNode(b, node(b)), version: 9}
	w.topic("bench")
	value := strings.Repeat("v", 100<<10)
	for range 50 {
		ask(b, w.conn, produceRequest(9, "bench", batch(b, 1000, value, value)))
	}
	in := w.fetchVersion(11, "bench", 0, func(in *kmsg.FetchRequest) {
		in.MaxBytes, in.Topics[0].Partitions[0].PartitionMaxBytes = 4<<20, 4<<20
	})
	b.ReportAllocs()
	for b.Loop() {
		p := ask(b, w.conn, in).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		w.code("fetch", p.ErrorCode, 0)
		b.SetBytes(int64(len(p.RecordBatches)))
	}
}
