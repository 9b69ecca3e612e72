package meta

import (
	"encoding/binary"
	"fmt"
	"time"
)

// producerIDBlock is how many producer ids a broker takes at once.
const producerIDBlock = 1000

// A Machine holds the cluster's metadata. Its methods must not be called concurrently; the
// views that it gives out may be read by anyone.
type Machine struct {
	config     *Config
	view       *View
	dataShards int // that new partitions are spread over
}

// New returns a machine without metadata.
func New(config Config) *Machine {
	c := config.withDefaults()
	return &Machine{config: c, view: &View{config: c}, dataShards: 1}
}

// View returns the metadata as of the last record that was replayed.
func (m *Machine) View() *View { return m.view }

// Fork returns a machine with the same state, in which requests can be tried one upon the other before their
// records are committed. It costs nothing.
func (m *Machine) Fork() *Machine {
	return &Machine{config: m.config, view: m.view, dataShards: m.dataShards}
}

// SpreadOver tells how many data shards there are, which is known when the cluster was formed: from 1 to 255. Before it is 1.
func (m *Machine) SpreadOver(dataShards int) { m.dataShards = min(max(dataShards, 1), 255) }

// Handle decides a request. It changes nothing: the records do, once committed and replayed in their order. Without
// records the response may be given at once. An error means that all of the request is refused; what can fail
// by itself (one topic of many) has its error in the response.
func (m *Machine) Handle(now time.Time, request Request) (records [][]byte, response Response, err error) {
	switch r := request.(type) {
	case *CreateTopics:
		return m.createTopics(now, r)
	case *DeleteTopics:
		return m.deleteTopics(r)
	case *CreatePartitions:
		return m.createPartitions(r)
	case *AlterConfigs:
		return m.replaceConfigs(r)
	case *IncrementalAlterConfigs:
		return m.changeConfigs(r)
	case *RegisterBroker:
		return m.registerBroker(r)
	case *AllocateProducerIDs:
		first := m.view.nextProducerID
		entry := binary.AppendUvarint([]byte{recordProducerIDs}, uint64(first+producerIDBlock))
		return [][]byte{entry}, &ProducerIDBlock{First: first, Count: producerIDBlock}, nil
	default:
		return nil, nil, fmt.Errorf("metadata request %T: %w", request, ErrInvalidRequest)
	}
}

func (m *Machine) registerBroker(r *RegisterBroker) ([][]byte, Response, error) {
	b := &r.Broker
	if b.Node < 0 {
		return nil, nil, fmt.Errorf("broker number %d: %w", b.Node, ErrInvalidRequest)
	}
	for _, l := range b.Listeners {
		if l.Port < 0 || l.Port > 1<<16-1 {
			return nil, nil, fmt.Errorf("listener %s of broker %d has port %d: %w", l.Name, b.Node, l.Port, ErrInvalidRequest)
		}
	}
	if known := m.view.Broker(b.Node); known != nil && known.Equal(b) {
		return nil, nil, nil
	}
	return [][]byte{appendBroker([]byte{recordBroker}, b)}, nil, nil
}
