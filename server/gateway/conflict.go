package gateway

import "github.com/stela-db/stela/server/broker"

// unseen writes the events that a conflict tells of, if there is memory for them until p is
// sent. Else the list is empty: the version that is there is what the client must know, and
// it can read the rest.
func (s *Server) unseen(p *problem, topic string, events []broker.StreamEvent) []byte {
	var needed int64
	for i := range events {
		needed += int64(len(events[i].Value))
		for _, header := range events[i].Headers {
			needed += int64(len(header.Key) + len(header.Value))
		}
	}
	needed *= 2 // the list, and the answer that it is copied to
	list := []byte{'['}
	if !s.answers.tryTake(needed) {
		return append(list, ']')
	}
	p.release = func() { s.answers.give(needed) }
	for i := range events {
		if i > 0 {
			list = append(list, ',')
		}
		list = appendEvent(list, topic, &events[i])
	}
	return append(list, ']')
}
