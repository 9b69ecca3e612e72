// Package event holds the contracts of the order services: the events that they
// exchange, the topics these lie in, and how an event looks as a record.
//
// It knows types, JSON, identifiers and money. It does no I/O, knows no service's
// rules and imports nothing of this module, so that anybody can read our topics with it.
//
// An event is a record whose headers are a CloudEvent 1.0 in binary mode and whose
// value is JSON. The key is the stream, an order's id or a warehouse's name:
//
//	ce_specversion    1.0
//	ce_id             UUIDv5 of (service, id of the cause, ordinal): the same whenever the
//	                  same decision is taken again, so that a repetition is recognised
//	ce_type           order.placed, ...
//	ce_source         /services/order: who wrote it; each topic has one writer
//	ce_subject        the stream
//	ce_time           RFC 3339 in UTC, set once by the writer, and the only clock that a fold may see
//	ce_correlationid  id of the command that everything about an order follows from
//	ce_causationid    id of the event that this one answers
//	ce_traceparent    W3C trace context, handed on
//	content-type      application/json
//
// Money is whole minor units (cents) and an ISO 4217 currency. There are no floats and
// nothing whose encoding has no order.
//
// A record of our topics that another program wrote is foreign: Decode says so and
// leaves it to the reader. A type is never changed in a way that old readers misread;
// such a change is a new type name, and old records are understood for ever.
package event
