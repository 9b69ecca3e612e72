package gateway

import "github.com/stela-db/stela/internal/metrics"

// counts are the front's own counters beside those of its routes.
type counts struct {
	unrouted   *metrics.Counter
	unreadable *metrics.Counter
	panics     *metrics.Counter
}

func newCounts(registry *metrics.Registry) counts {
	return counts{
		unrouted: registry.Counter("stela_http_unrouted_requests_total",
			"HTTP requests whose path or method leads nowhere."),
		unreadable: registry.Counter("stela_http_unreadable_requests_total",
			"Connections closed because what came could not be read as an HTTP request."),
		panics: registry.Counter("stela_http_panics_total",
			"HTTP requests that ended in a bug of the server."),
	}
}

// observe registers what is read from the broker at each scrape.
func (s *Server) observe() {}
