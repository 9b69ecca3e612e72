package metrics

// Gateway is what the HTTP front counts.
type Gateway struct {
	registry *Registry
}

// GatewayRoute is what is counted for one route of the HTTP front.
type GatewayRoute struct {
	Latency *Histogram // from the whole request read to the answer made

	classes [6]*Counter // by the status's first digit
}

// NewGateway registers the front's series; the registry may be nil.
func NewGateway(registry *Registry) *Gateway { return &Gateway{registry: registry} }

// Route registers the series of one route, named in lower case, such as
// "stream_append". It must be called once per name.
func (g *Gateway) Route(name string) *GatewayRoute {
	route := &GatewayRoute{
		Latency: g.registry.Histogram("stela_http_request_latency_seconds",
			"Time from an HTTP request read to its answer.", "route", name),
	}
	for class, label := range map[int]string{2: "2xx", 4: "4xx", 5: "5xx"} {
		route.classes[class] = g.registry.Counter("stela_http_responses_total",
			"HTTP answers by status class.", "route", name, "status", label)
	}
	return route
}

// Answered counts an answer with an HTTP status.
func (r *GatewayRoute) Answered(status int) {
	if class := status / 100; class >= 0 && class < len(r.classes) {
		r.classes[class].Add(1)
	}
}

// Answers returns how many answers had a status of the given class, such as 4 for 4xx.
func (r *GatewayRoute) Answers(class int) int64 { return r.classes[class].Value() }
