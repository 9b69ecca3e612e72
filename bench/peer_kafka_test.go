package bench

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKafkaProperties(t *testing.T) {
	node := kafkaNode{Number: 2, Nodes: 3, Port: 24000, Dir: "/d"}
	want := `process.roles=broker,controller
node.id=2
controller.quorum.voters=1@127.0.0.1:24003,2@127.0.0.1:24004,3@127.0.0.1:24005
listeners=PLAINTEXT://127.0.0.1:24001,CONTROLLER://127.0.0.1:24004
advertised.listeners=PLAINTEXT://127.0.0.1:24001
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=/d/data
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
auto.create.topics.enable=false
`
	if diff := cmp.Diff(want, node.properties()); diff != "" {
		t.Error(diff)
	}
	if alone := (kafkaNode{Number: 1, Nodes: 1, Port: 24000, Dir: "/d"}).properties(); !strings.Contains(alone, "\nmin.insync.replicas=1\n") {
		t.Errorf("one node alone:\n%s", alone)
	}
}

func TestClusterID(t *testing.T) {
	for range 100 {
		if id := clusterID(); !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{21}$`).MatchString(id) {
			t.Fatalf("%q is not how Kafka writes an id", id)
		}
	}
}

// TestKafkaIsPrepared lets a script stand for Java: what is run is seen without a JVM.
func TestKafkaIsPrepared(t *testing.T) {
	programs, kafka := t.TempDir(), t.TempDir()
	t.Setenv("PATH", programs)
	k := &Kafka{Dir: kafka}
	if _, err := k.Version(t.Context()); err == nil || !strings.Contains(err.Error(), installPeers) {
		t.Errorf("of nothing: %v", err)
	}
	write(t, filepath.Join(kafka, "version"), "4.3.1\n", 0o644)
	if _, err := k.Version(t.Context()); err == nil || !strings.Contains(err.Error(), "Java") {
		t.Errorf("without Java: %v", err)
	}
	said := filepath.Join(programs, "said")
	write(t, filepath.Join(programs, "java"), "#!/bin/sh\necho \"$@\" >> "+said+"\n", 0o755)
	if version, err := k.Version(t.Context()); err != nil || version != "4.3.1" {
		t.Errorf("version %q: %v", version, err)
	}
	dir := t.TempDir()
	cluster, err := k.Prepare(context.Background(), Layout{Dir: dir, Nodes: 3, Port: 24000})
	if err != nil {
		t.Fatal(err)
	}
	if len(cluster.Nodes) != 3 || len(cluster.Brokers) != 3 {
		t.Fatalf("%d nodes at %v", len(cluster.Nodes), cluster.Brokers)
	}
	formatted, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	if got := regexp.MustCompile(`kafka.tools.StorageTool format -t \S{22} -c \S+/node-\d/server.properties\n`).FindAllString(string(formatted), -1); len(got) != 3 {
		t.Errorf("formatted with\n%s", formatted)
	}
	last := cluster.Nodes[2]
	if command := strings.Join(last.Command.Args, " "); !strings.HasPrefix(command, "-Xms1g -Xmx1g -server -XX:+UseG1GC ") ||
		!strings.HasSuffix(command, " -cp "+filepath.Join(kafka, "libs", "*")+" kafka.Kafka "+filepath.Join(dir, "node-3", "server.properties")) {
		t.Errorf("node 3 is started by %s", command)
	}
}

func TestOthersSayWhatIsMissing(t *testing.T) {
	for _, peer := range Others(t.TempDir()) {
		if _, err := peer.Version(t.Context()); err == nil || !strings.Contains(err.Error(), installPeers) {
			t.Errorf("%s: %v", peer.Name, err)
		}
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
