package broker

import (
	"slices"
	"testing"
	"testing/synctest"
)

func TestProduceAndFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("t", 2)
		n := c.leader("t", 0)
		p := n.partition("t", 0)
		if at := n.mustProduce(p, testBatch{values: []string{"a", "b"}}); at != 0 {
			t.Errorf("first batch at %d", at)
		}
		if at := n.mustProduce(p, testBatch{values: []string{"c"}}); at != 2 {
			t.Errorf("second batch at %d", at)
		}
		if got, want := n.read(p, 0), []string{"0=a", "1=b", "2=c"}; !slices.Equal(got, want) {
			t.Errorf("read %v, want %v", got, want)
		}
		if got, want := n.read(p, 1), []string{"1=b", "2=c"}; !slices.Equal(got, want) {
			t.Errorf("read %v, want %v", got, want)
		}
	})
}
