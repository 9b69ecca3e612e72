package group

import (
	"encoding/binary"
)

// consumerProtocol is the protocol type of Kafka's consumers. What members of other types say is never looked into.
const consumerProtocol = "consumer"

// A subscription is the topics that the members of a group consume.
type subscription struct {
	topics  map[string]bool
	unknown bool // they consume something, but did not say it in a way that is understood
}

// has reports whether the group consumes, or may consume, the topic.
func (s *subscription) has(topic string) bool { return s.unknown || s.topics[topic] }

// subscription returns what the members said in the chosen protocol.
func (l *live) subscription() subscription {
	if l.protocolType != consumerProtocol || len(l.members) == 0 {
		return subscription{}
	}
	s := subscription{topics: map[string]bool{}}
	for _, m := range l.members {
		topics, ok := parseSubscription(m.metadata(l.protocol))
		if l.protocol == "" || !ok {
			return subscription{unknown: true}
		}
		for _, topic := range topics {
			s.topics[topic] = true
		}
	}
	return s
}

// parseSubscription reads the topics of a consumer's metadata: version i16, then an array of strings, with
// lengths of i32 and i16. Later versions begin in the same way.
func parseSubscription(b []byte) (topics []string, ok bool) {
	if len(b) < 6 {
		return nil, false
	}
	count := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	if count < 0 || int(count) > len(b)/2 {
		return nil, false
	}
	for range count {
		if len(b) < 2 {
			return nil, false
		}
		n := int(int16(binary.BigEndian.Uint16(b)))
		if n < 0 || n > len(b)-2 {
			return nil, false
		}
		topics = append(topics, string(b[2:2+n]))
		b = b[2+n:]
	}
	return topics, true
}
