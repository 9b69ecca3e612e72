package kafka

import (
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// RandomRequests calls visit with a few random requests of every key in every version that is served.
func RandomRequests(visit func(kmsg.Request)) {
	random := rand.New(rand.NewPCG(15, 16))
	for i := range table {
		for version := table[i].min; version <= table[i].max; version++ {
			if table[i].serves(version) {
				visit(randomRequest(random, table[i].key, version))
			}
		}
	}
}
