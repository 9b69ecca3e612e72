package frame

import (
	"fmt"
	"testing"
)

// BenchmarkGet takes a frame and gives it back, alone and from many goroutines.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 511 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			pool := NewPool(32 << 20)
			b.ReportAllocs()
			for b.Loop() {
				pool.Get(size).Release()
			}
		})
		b.Run(fmt.Sprintf("%d-shared", size), func(b *testing.B) {
			pool := NewPool(32 << 20)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					pool.Get(size).Release()
				}
			})
		})
	}
}

// BenchmarkFind leads from a tag back to its frame, as every entry's way through Raft does.
func BenchmarkFind(b *testing.B) {
	pool := NewPool(32 << 20)
	f := pool.Get(1000)
	defer f.Release()
	tag := f.Tag()
	b.ReportAllocs()
	for b.Loop() {
		if pool.Find(tag) != f {
			b.Fatal("another frame")
		}
	}
}
