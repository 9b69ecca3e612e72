package event

import (
	"regexp"
	"strconv"

	"github.com/google/uuid"
)

// namespace is where the ids of our events live (UUIDv5 of "stela:services" in the URL namespace).
var namespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("stela:services"))

// ID returns the id of the ordinal-th event with which a service answers a cause:
// the same for the same decision, however often and by whomever it is taken.
func ID(service, cause string, ordinal int) string {
	return derive(service, cause, strconv.Itoa(ordinal))
}

// StepID returns the id of an event that records the outcome of a call to the outside:
// each step happens at most once in a stream.
func StepID(service, step, stream string) string { return derive(service, step, stream) }

// ForeignID returns the id of a record that carries none: its place in the log.
func ForeignID(topic string, partition int32, offset int64) string {
	return derive(topic, strconv.Itoa(int(partition)), strconv.FormatInt(offset, 10))
}

// OrderID returns the id of the order that a customer's request with this key makes.
func OrderID(customer, idempotencyKey string) string {
	return derive("order-id", customer, idempotencyKey)
}

// derive hashes parts so that different lists of parts cannot meet.
func derive(parts ...string) string {
	var name []byte
	for _, part := range parts {
		name = strconv.AppendInt(name, int64(len(part)), 10)
		name = append(name, ':')
		name = append(name, part...)
	}
	return uuid.NewSHA1(namespace, name).String()
}

var orderID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// IsOrderID reports whether text may be an order's id.
func IsOrderID(text string) bool { return orderID.MatchString(text) }
