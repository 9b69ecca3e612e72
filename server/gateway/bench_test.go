package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server/broker"
)

// What an append and a read cost besides HTTP and the broker.

func BenchmarkParseEvents(b *testing.B) {
	for _, count := range []int{1, 100} {
		events := make([]string, count)
		for i := range events {
			events[i] = event1(i)
		}
		body := []byte("[" + strings.Join(events, ",") + "]")
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if _, err := parseEvents(body, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func event1(i int) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"id-%d","type":"order.placed","source":"/services/order","time":"2026-11-22T10:00:00Z",`+
		`"correlationid":"c-1","data":{"orderId":"9827","lines":[{"sku":"BOOK","qty":2,"price":12900}],"currency":"EUR"}}`, i)
}

func BenchmarkAppendEvent(b *testing.B) {
	events, err := parseEvents([]byte("["+event1(1)+"]"), false)
	if err != nil {
		b.Fatal(err)
	}
	stored := broker.StreamEvent{
		Headers: append([]record.Header{header("ce_id", "id-1")}, events[0].Headers...), Value: events[0].Value,
	}
	var body []byte
	b.ReportAllocs()
	for b.Loop() {
		body = appendEvent(body[:0], "orders", &stored)
	}
	b.SetBytes(int64(len(body)))
}
