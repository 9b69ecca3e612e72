package broker

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/record"
)

// BenchmarkProduce puts batches through one node on a real disk: what the node costs per byte beside the protocol.
func BenchmarkProduce(b *testing.B) {
	for _, shape := range []struct {
		name       string
		records    int
		size       int
		partitions int32
	}{{"1KB-records", 64, 1024, 12}, {"100B-records", 640, 100, 12}, {"small-batches", 1, 1024, 12}, {"1000-partitions", 4, 1024, 1000}} {
		b.Run(shape.name, func(b *testing.B) {
			c := &testCluster{t: b, pipes: network.NewPipes(), nodes: map[int32]*testNode{}}
			c.tune = func(config *testConfig) { config.segment, config.tail = 64<<20, 32<<20 }
			n := &testNode{cluster: c, id: 1, fs: log.OSFS(), dir: b.TempDir()}
			c.nodes[1] = n
			n.start()
			defer n.stop()
			c.ready()
			c.create("t", shape.partitions)
			var values []string
			for range shape.records {
				values = append(values, strings.Repeat("v", shape.size))
			}
			made, f := n.batch(testBatch{values: values})
			f.Release()
			template := append(record.Batch(nil), made...)
			var partitions []*Partition
			for i := range shape.partitions {
				partitions = append(partitions, n.partition("t", i))
			}
			b.SetBytes(int64(len(template)))
			b.ReportAllocs()
			b.ResetTimer()
			var pending sync.WaitGroup
			for i := range b.N {
				f := n.pool.Get(len(template))
				copy(f.Bytes(), template)
				pending.Add(1)
				n.Produce([]ProduceBatch{{Partition: partitions[i%len(partitions)], Batch: f.Bytes(), Frame: f, Receiver: ReceiverFunc(func(r ProduceResult) {
					if r.Err != nil {
						panic(fmt.Sprint("BUG: ", r.Err))
					}
					pending.Done()
				})}})
			}
			pending.Wait()
		})
	}
}
