package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Waiting for an order is a success only if it came to where it was waited for.
func TestWaiting(t *testing.T) {
	status := ""
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{"orderId":"9827","status":"SUBMITTED"}`)
			return
		}
		if r.URL.Query().Get("until") != "" && r.URL.Query().Get("wait") != "30" {
			t.Errorf("asked for %s", r.URL)
		}
		fmt.Fprintf(w, `{"orderId":"9827","status":%q}`, status)
	}))
	defer gateway.Close()
	for _, c := range []struct {
		status, line string
		exit         int
		says         string
	}{
		{"SHIPPED", "submit --sku A --wait", 0, ""},
		{"DECLINED", "submit --sku A --wait", 0, ""},
		{"PAID", "submit --sku A --wait", 1, "order 9827 is PAID after 30s; wait on with 'shop get 9827"},
		{"PAID", "get 9827 --until SHIPPED --wait 30s", 1, "wait on with"},
		{"PAID", "get 9827 --until PAID --wait 30s", 0, ""},
		{"PAID", "get 9827", 0, ""},
		{"PAID", "get 9827 --until SHIPPED --wait 31s", 2, "use at most 30s"},
	} {
		status = c.status
		var out, problem bytes.Buffer
		args := append(strings.Fields(c.line), "--gateway", strings.TrimPrefix(gateway.URL, "http://"))
		exit := run(t.Context(), terminal{Out: &out, Err: &problem, Getenv: func(string) (string, bool) { return "", false }}, args)
		if exit != c.exit || !strings.Contains(problem.String(), c.says) || (exit != 2 && !strings.Contains(out.String(), c.status)) {
			t.Errorf("%s of an order that is %s: status %d, %q", c.line, c.status, exit, problem.String())
		}
	}
}
