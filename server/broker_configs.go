package server

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/stela-db/stela/server/kafka"
	"github.com/stela-db/stela/server/meta"
)

// autoCreate reports whether clients make topics by naming them.
func (c Config) autoCreate() bool {
	said, ok := c.BrokerConfigs[meta.KeyAutoCreateTopics]
	return !c.NoAutoCreate && (!ok || isTrue(said))
}

func isTrue(text string) bool { return strings.EqualFold(strings.TrimSpace(text), "true") }

// nodes returns how many nodes the cluster has.
func (c Config) nodes() int { return max(len(c.Peers), 1) }

// checkSaidTwice refuses broker configs that contradict what the node is told otherwise: they would be told to clients and
// have no effect.
func (c Config) checkSaidTwice() error {
	for _, name := range []string{meta.KeyListeners, meta.KeyAdvertisedListeners, meta.KeyLogDirs} {
		if _, ok := c.BrokerConfigs[name]; ok {
			return fmt.Errorf("broker config %s: a node is told its listeners and its folder otherwise, and tells clients of them", name)
		}
	}
	for name, real := range map[string]int{
		meta.KeyNodeID: int(c.Node), meta.KeyBrokerID: int(c.Node), meta.KeyDataShards: c.DataShards, meta.KeyDefaultReplication: c.nodes(),
	} {
		if said, ok := c.BrokerConfigs[name]; ok && c.brokerNumber(name) != real {
			return fmt.Errorf("broker config %s is %s, but it is %d here", name, said, real)
		}
	}
	if said, ok := c.BrokerConfigs[meta.KeyAutoCreateTopics]; ok && c.NoAutoCreate && isTrue(said) {
		return fmt.Errorf("broker config %s is %s, but topics are not to be created", meta.KeyAutoCreateTopics, said)
	}
	return nil
}

// metaConfigs returns the broker configs and what is said otherwise of this node, as clients are told.
func (s *Server) metaConfigs(bound []kafka.Bound) map[string]string {
	c := &s.config
	shards := c.DataShards
	if formed := s.replication.Shards(); formed > 0 { // by a configuration that may have been another
		shards = formed
	}
	var listening, advertised []string
	for i := range bound {
		told := &bound[i].Advertised
		listening = append(listening, told.Name+"://"+bound[i].Addr().String())
		if told.Host != "" {
			advertised = append(advertised, told.Name+"://"+net.JoinHostPort(told.Host, strconv.Itoa(int(told.Port))))
		}
	}
	configs := map[string]string{
		meta.KeyAutoCreateTopics:   strconv.FormatBool(c.autoCreate()),
		meta.KeyBrokerID:           strconv.Itoa(int(c.Node)),
		meta.KeyDataShards:         strconv.Itoa(shards),
		meta.KeyDefaultReplication: strconv.Itoa(c.nodes()),
		meta.KeyListeners:          strings.Join(listening, ","),
		meta.KeyLogDirs:            c.Data,
		meta.KeyNodeID:             strconv.Itoa(int(c.Node)),
	}
	if len(advertised) > 0 {
		configs[meta.KeyAdvertisedListeners] = strings.Join(advertised, ",")
	}
	for name, value := range c.BrokerConfigs {
		if _, ok := configs[name]; !ok {
			configs[name] = value
		}
	}
	return configs
}
