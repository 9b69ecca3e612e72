package services_test

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/client"
	"github.com/stela-db/stela/server"
	"github.com/stela-db/stela/services/event"
	"github.com/stela-db/stela/services/framework"
	"github.com/stela-db/stela/services/web"
)

// A service is not ready while the log is away, and ready again when that is back.
func TestReadyFollowsTheLog(t *testing.T) {
	config := server.Config{Data: "data", Storage: vfs.NewMem(), Kafka: []server.Listener{{Bind: "127.0.0.1:0"}}, HTTP: "127.0.0.1:0"}
	open := func() *server.Server {
		node, err := server.New(config)
		if err != nil {
			t.Fatal(err)
		}
		config.Kafka[0].Bind, config.HTTP = node.Addresses().Kafka["PLAINTEXT"], node.Addresses().HTTP
		return node
	}
	node := open()
	s := start(t, client.Config{Brokers: []string{config.Kafka[0].Bind}, HTTP: []string{config.HTTP}}, vfs.NewMem(), event.Query)
	c := web.NewClient(s.address(event.Query), nil)
	defer c.Close()
	ready := func() int {
		answer, _ := c.Do(t.Context(), web.Call{Path: "/readyz"})
		return answer.Status
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	s.until("not ready", func() bool { return ready() == 503 })
	status, err := framework.NewClient(s.address(event.Query), nil).Status(t.Context())
	if err != nil || status.State == "ready" || !strings.Contains(status.Detail, "log has not answered") && status.LagEvents != -1 {
		t.Errorf("status %+v, %v", status, err)
	}
	node = open()
	s.until("ready again", func() bool { return ready() == 200 })
	s.stop()
	if err := node.Close(); err != nil {
		t.Error(err)
	}
}
