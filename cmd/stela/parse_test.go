package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestParseListener(t *testing.T) {
	for text, want := range map[string]listener{
		"127.0.0.1:9092":                  {Bind: "127.0.0.1:9092"},
		":9092":                           {Bind: ":9092"},
		"[::1]:0":                         {Bind: "[::1]:0"},
		"0.0.0.0:9092,broker1:19092":      {Bind: "0.0.0.0:9092", Advertised: "broker1:19092"},
		"internal://0.0.0.0:1,10.0.0.1:2": {Name: "internal", Bind: "0.0.0.0:1", Advertised: "10.0.0.1:2"},
		"PLAINTEXT_2://localhost:9093":    {Name: "PLAINTEXT_2", Bind: "localhost:9093"},
	} {
		if got, err := parseListener(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "9092", "a:b", "://a:1", "a:1,", "a:1,:2", "a:1,0.0.0.0:2", "a:70000", "a:01", "a:-1"} {
		if got, err := parseListener(text); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

func TestParsePeers(t *testing.T) {
	got, err := parsePeers([]string{"1=a:1, 2=b:2", "3=[::1]:3"})
	if diff := cmp.Diff(map[int32]string{1: "a:1", 2: "b:2", 3: "[::1]:3"}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if text := formatPeers(got); text != "1=a:1,2=b:2,3=[::1]:3" {
		t.Errorf("formatted as %s", text)
	}
	for _, text := range []string{"a:1", "x=a:1", "1=a", "1=a:1,1=b:2", "-1=a:1", "5000000000=a:1"} {
		if got, err := parsePeers([]string{text}); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func TestByteCount(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "17": 17, "64KiB": 64 << 10, "64 MiB": 64 << 20, "1GB": 1e9, "5B": 5, "2TiB": 2 << 40} {
		var b byteCount
		if err := b.Set(text); err != nil || int64(b) != want {
			t.Errorf("%s: %d, %v", text, b, err)
		}
		var again byteCount
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%s is printed as %s, which is %d, %v", text, b.String(), again, err)
		}
	}
	for _, text := range []string{"", "x", "1.5MiB", "99999999999999TiB", "MiB"} {
		var b byteCount
		if err := b.Set(text); err == nil {
			t.Errorf("%q was read as %d", text, b)
		}
	}
}

func TestFormat(t *testing.T) {
	record := &kgo.Record{
		Topic: "t", Partition: 3, Offset: 9, Key: []byte("k"), Timestamp: time.UnixMilli(1_700_000_000_123),
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}},
	}
	for text, want := range map[string]string{
		`%t/%p@%o %k=%v\n`: "t/3@9 k=\n",
		`%K %V %h %%`:      "1 -1 a=1,b=2 %",
		`%d\t%T`:           "1700000000123\t2023-11-14T22:13:20.123Z",
		`plain\\`:          `plain\`,
	} {
		f, err := parseFormat(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := string(f.append(nil, record)); got != want {
			t.Errorf("%s printed %q, wanted %q", text, got, want)
		}
	}
	for _, text := range []string{`%`, `%x`, `\q`, `\`} {
		if _, err := parseFormat(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	want := `{"topic":"t","partition":3,"offset":9,"time":"2023-11-14T22:13:20.123Z","key":"k","value":null,"headers":{"a":"1","b":"2"}}` + "\n"
	if got := string((&format{}).append(nil, record)); got != want {
		t.Errorf("as JSON %s", got)
	}
	record.Value = []byte{0xff}
	if got := string((&format{}).append(nil, record)); !strings.Contains(got, `"value":{"base64":"/w=="}`) {
		t.Errorf("bytes as JSON %s", got)
	}
}

func TestExplain(t *testing.T) {
	err := explain(errors.Join(errors.New("listen on 127.0.0.1:1"), syscall.EADDRINUSE))
	if !strings.Contains(err.Error(), "choose another address") {
		t.Errorf("no next step in %q", err)
	}
}

// invoke runs a command line in this process.
func invoke(stdin string, args ...string) (out, problems string, status int) {
	var stdout, stderr bytes.Buffer
	status = run(context.Background(), &terminal{
		In: strings.NewReader(stdin), Out: &stdout, Err: &stderr, Getenv: func(string) (string, bool) { return "", false },
	}, args)
	return stdout.String(), stderr.String(), status
}

// TestUsage runs wrong command lines: one line, status 2.
func TestUsage(t *testing.T) {
	for _, line := range []string{
		"bogus", "topic bogus", "topic create", "--bogus", "serve extra", "serve --node x", "topic list -o xml",
		"consume t --exit", "consume t --from-beginning --tail 3", "consume t -f %q", "produce", "produce t -z rar",
		"stream append t k --expect maybe", "stream append t k", "group seek g", "topic alter t", "cluster up --nodes 0", "cluster up --nodes 10",
		"cluster up --kafka-port 99999", "dump segment", "replay",
	} {
		out, problems, status := invoke("", strings.Fields(line)...)
		if status != 2 || strings.Count(problems, "\n") != 1 || out != "" {
			t.Errorf("stela %s: status %d, printed %q and %q", line, status, out, problems)
		}
	}
}

// TestHelp wants every command to say what it is for and to show an example.
func TestHelp(t *testing.T) {
	root := newRoot(&terminal{})
	for _, cmd := range allCommands(root) {
		if cmd.Short == "" {
			t.Errorf("%s has no short help", cmd.CommandPath())
		}
		if !cmd.HasSubCommands() && cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if len(strings.TrimRight(line, "\n")) > 100 {
				t.Errorf("%s: a line of its help has %d columns: %s", cmd.CommandPath(), len(line), line)
			}
		}
	}
}

func allCommands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, child := range cmd.Commands() {
		all = append(all, allCommands(child)...)
	}
	return all
}
