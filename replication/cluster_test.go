package replication

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestElectProposeApply(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(t, 3, nil)
		began := time.Now()
		c.startAll()
		c.leader(1)
		t.Logf("first leader after %v", time.Since(began))
		var want []string
		for i := range 100 {
			text := fmt.Sprint("text ", i)
			c.must(1, text)
			want = append(want, text)
		}
		c.agree(1, want)
		if err := c.leader(1).propose(1, "refuse"); !errors.Is(err, errRefused) {
			t.Errorf("the machine's answer: %v", err)
		}
		id, formed := c.nodes[2].node.Cluster()
		if other, _ := c.nodes[3].node.Cluster(); !formed || id != other {
			t.Errorf("clusters %s and %s", id, other)
		}
	})
}
