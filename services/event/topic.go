package event

// The topics of the order services.
const (
	OrderCommands   = "order-commands"
	OrderEvents     = "order-events"
	PaymentEvents   = "payment-events"
	InventoryEvents = "inventory-events"
	ShippingEvents  = "shipping-events"
)

// The services, as ce_source names them.
const (
	Gateway   = "gateway"
	Order     = "order"
	Payment   = "payment"
	Inventory = "inventory"
	Shipping  = "shipping"
	Query     = "query"
)

// DefaultWarehouse is the only warehouse unless others are configured.
const DefaultWarehouse = "wh-1"

// A Topic says who writes a topic and how it is spread.
type Topic struct {
	Name       string
	Writer     string // the one service that appends to it
	Partitions int32
}

// Topics returns all topics. Each is an event store that keeps everything.
// inventory-events has one partition per warehouse.
func Topics() []Topic {
	return []Topic{
		{OrderCommands, Gateway, 6},
		{OrderEvents, Order, 6},
		{PaymentEvents, Payment, 6},
		{InventoryEvents, Inventory, 1},
		{ShippingEvents, Shipping, 6},
	}
}

// Writer returns the service that writes a topic, "" when the topic is not ours.
func Writer(topic string) string {
	for _, t := range Topics() {
		if t.Name == topic {
			return t.Writer
		}
	}
	return ""
}

// Source returns ce_source of a service.
func Source(service string) string { return "/services/" + service }
