package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
)

// settle parses a serve command line with a configuration file and an environment.
func settle(t *testing.T, file string, env map[string]string, args ...string) (*cobra.Command, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stela.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	root := newRoot(&terminal{Getenv: func(string) (string, bool) { return "", false }})
	cmd, rest, err := root.Find(append([]string{"serve", "--config", path}, args...))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	return cmd, command.ApplySettings(cmd, environment, func(name string) (string, bool) { value, ok := env[name]; return value, ok })
}

func TestPrecedence(t *testing.T) {
	file := "data: from-file\nhttp: 127.0.0.1:1\nraft: 127.0.0.1:2\n"
	env := map[string]string{"STELA_DATA": "from-env", "STELA_HTTP": "127.0.0.1:3"}
	cmd, err := settle(t, file, env, "--data", "from-flag")
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{
		"data": "from-flag", "http": "127.0.0.1:3", "raft": "127.0.0.1:2", "log-level": "info",
	} {
		if got := cmd.Flag(flag).Value.String(); got != want {
			t.Errorf("%s is %s, wanted %s", flag, got, want)
		}
	}
}

func TestFileValues(t *testing.T) {
	file := `
kafka:
  - internal://0.0.0.0:9092,broker1:9092
  - 127.0.0.1:9093
peers: {1: "a:33145", 2: "b:33145"}
broker-config:
  num.partitions: 6
  cleanup.policy: compact,delete
segment-bytes: 128MiB
read-cache-bytes: -1
auto-create: false
data-shards: 3
`
	cmd, err := settle(t, file, nil)
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"segment-bytes": "128MiB", "read-cache-bytes": "-1", "auto-create": "false", "data-shards": "3"} {
		if got := cmd.Flag(flag).Value.String(); got != want {
			t.Errorf("%s is %s, wanted %s", flag, got, want)
		}
	}
	for flag, want := range map[string][]string{
		"kafka":         {"internal://0.0.0.0:9092,broker1:9092", "127.0.0.1:9093"},
		"peers":         {"1=a:33145", "2=b:33145"},
		"broker-config": {"num.partitions=6", "cleanup.policy=compact,delete"},
	} {
		got, err := cmd.Flags().GetStringArray(flag)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is %q, wanted %q, %v", flag, got, want, err)
		}
	}
}

func TestEnvironmentValues(t *testing.T) {
	cmd, err := settle(t, "", map[string]string{"STELA_KAFKA": "a:1  x://b:2,c:3", "STELA_AUTO_CREATE": "false", "STELA_CONFIG": "/no/such"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := cmd.Flags().GetStringArray("kafka"); err != nil || !slices.Equal(got, []string{"a:1", "x://b:2,c:3"}) {
		t.Errorf("kafka is %q, %v", got, err)
	}
}

func TestBadSettings(t *testing.T) {
	for _, test := range []struct{ name, file, env, want string }{
		{"unknown key", "kafak: x\n", "", `line 1: unknown key "kafak"; did you mean "kafka"?`},
		{"nearest", "data: a\ndata-shard: 2\n", "", `line 2: unknown key "data-shard"; did you mean "data-shards"?`},
		{"underscore", "log_level: debug\n", "", `did you mean "log-level"?`},
		{"twice", "data: a\ndata: b\n", "", "data"},
		{"not a mapping", "- a\n- b\n", "", "not a list of 'key: value' lines"},
		{"not yaml", "data: [\n", "", "config file"},
		{"nested", "data: {a: {b: c}}\n", "", "plain values"},
		{"number", "node: one\n", "", `line 1: key node: "one" is not right`},
		{"environment", "", "one", `environment variable STELA_NODE: "one" is not right`},
		{"size", "segment-bytes: 64 potatoes\n", "", "not a number of bytes"},
		{"alias bomb", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a]\n", "", "unknown key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := map[string]string{}
			if test.env != "" {
				env["STELA_NODE"] = test.env
			}
			_, err := settle(t, test.file, env)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, wanted %q", err, test.want)
			}
			if line := command.OneLine(explain(err).Error()); strings.Contains(line, "\n") {
				t.Errorf("more than one line: %q", line)
			}
		})
	}
}

// Whoever writes to a topic of the order services first makes it what they need.
func TestShopTopicsKeepStreams(t *testing.T) {
	const name = "eventstore.topics"
	for want, settings := range map[string][]string{
		"order-commands,order-events,payment-events,inventory-events,shipping-events": nil,
		"ledger": {name + "=ledger"},
		"":       {name + "="},
	} {
		c := &serve{general: &general{terminal: &terminal{}}, settings: settings, data: t.TempDir(), node: 1, dataShards: 1, telling: telling{level: "info", format: "text"}}
		config, err := c.config()
		if err != nil || config.BrokerConfigs[name] != want {
			t.Errorf("%q: %q, %v", settings, config.BrokerConfigs[name], err)
		}
	}
}
