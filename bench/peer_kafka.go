package bench

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stela-db/stela/internal/process"
)

// systemKafka is the name of Kafka's processes, whatever its topics' configs.
const systemKafka = "kafka"

// installPeers is the command that gets what is missing.
const installPeers = "make bench-peers"

// heapFlags and virtualMachineFlags are those of Kafka's own start scripts.
var (
	heapFlags           = []string{"-Xms1g", "-Xmx1g"}
	virtualMachineFlags = []string{
		"-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
		"-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
	}
)

// Kafka is Apache Kafka without ZooKeeper: each node is broker and controller, in a JVM of its own.
type Kafka struct {
	Dir string // where the install script put it: version and libs/*.jar
}

// Name implements System.
func (k *Kafka) Name() string { return systemKafka }

// Version implements System.
func (k *Kafka) Version(context.Context) (string, error) {
	version, err := os.ReadFile(filepath.Join(k.Dir, "version"))
	if err != nil {
		return "", fmt.Errorf("kafka is not installed (%s): %w", installPeers, err)
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("kafka needs Java (%s): %w", installPeers, err)
	}
	return strings.TrimSpace(string(version)), nil
}

// Prepare implements System. It formats each node's storage, which takes a JVM's start per node.
func (k *Kafka) Prepare(ctx context.Context, layout Layout) (*Cluster, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("find Java: %w", err)
	}
	first, err := process.FreePorts(host, layout.Port, 2*layout.Nodes)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(layout.Dir) // The JVMs run in folders of their own.
	if err != nil {
		return nil, fmt.Errorf("find the cluster's folder: %w", err)
	}
	cluster, id := &Cluster{}, clusterID()
	for number := 1; number <= layout.Nodes; number++ {
		node := kafkaNode{Number: number, Nodes: layout.Nodes, Port: first, Dir: filepath.Join(dir, "node-"+strconv.Itoa(number))}
		if err := os.MkdirAll(node.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("make a folder for a broker: %w", err)
		}
		if err := os.WriteFile(node.file(), []byte(node.properties()), 0o644); err != nil {
			return nil, fmt.Errorf("write a broker's configuration: %w", err)
		}
		format := exec.CommandContext(ctx, java, k.arguments([]string{"-Xmx256m"}, "kafka.tools.StorageTool", "format", "-t", id, "-c", node.file())...)
		if out, err := format.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("format the storage of broker %d: %w\n%s", number, err, out)
		}
		cluster.Nodes = append(cluster.Nodes, &Node{
			ID: int32(number), Data: node.data(),
			Command: process.Config{
				Path: java, Dir: node.Dir,
				Args: k.arguments(slices.Concat(heapFlags, virtualMachineFlags), "kafka.Kafka", node.file()),
			},
		})
		cluster.Brokers = append(cluster.Brokers, node.address(number))
	}
	return cluster, nil
}

// arguments returns the command line of a program of Kafka's.
func (k *Kafka) arguments(flags []string, program ...string) []string {
	libs, err := filepath.Abs(filepath.Join(k.Dir, "libs"))
	if err != nil {
		libs = filepath.Join(k.Dir, "libs") // Without a working folder a relative path is as good.
	}
	// Only warnings: Kafka's own configuration writes more, to files.
	return slices.Concat(flags, []string{"-Dorg.apache.logging.log4j.level=WARN", "-cp", filepath.Join(libs, "*")}, program)
}

// clusterID returns a new cluster id in Kafka's spelling.
func clusterID() string {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	id[0] &= 0x7f        // A "-" in front would be taken for a flag.
	return base64.RawURLEncoding.EncodeToString(id)
}

// A kafkaNode is one broker and controller. Nodes are numbered from 1.
type kafkaNode struct {
	Number int
	Nodes  int
	Port   int // of the first node for clients; the others' follow, then the controllers'
	Dir    string
}

func (n kafkaNode) file() string { return filepath.Join(n.Dir, "server.properties") }
func (n kafkaNode) data() string { return filepath.Join(n.Dir, "data") }

func (n kafkaNode) address(number int) string {
	return net.JoinHostPort(host, strconv.Itoa(n.Port+number-1))
}

func (n kafkaNode) controller(number int) string { return n.address(n.Nodes + number) }

// properties returns the broker's configuration: Kafka's defaults, but three replicas of
// everything of which two must have a record, and no topics that nobody made.
func (n kafkaNode) properties() string {
	var voters []string
	for number := 1; number <= n.Nodes; number++ {
		voters = append(voters, fmt.Sprintf("%d@%s", number, n.controller(number)))
	}
	replicas, inSync := strconv.Itoa(n.Nodes), strconv.Itoa(n.Nodes/2+1)
	var b strings.Builder
	for _, property := range [][2]string{
		{"process.roles", "broker,controller"},
		{"node.id", strconv.Itoa(n.Number)},
		{"controller.quorum.voters", strings.Join(voters, ",")},
		{"listeners", "PLAINTEXT://" + n.address(n.Number) + ",CONTROLLER://" + n.controller(n.Number)},
		{"advertised.listeners", "PLAINTEXT://" + n.address(n.Number)},
		{"controller.listener.names", "CONTROLLER"},
		{"listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"},
		{"inter.broker.listener.name", "PLAINTEXT"},
		{"log.dirs", n.data()},
		{"default.replication.factor", replicas},
		{"min.insync.replicas", inSync},
		{"offsets.topic.replication.factor", replicas},
		{"transaction.state.log.replication.factor", replicas},
		{"transaction.state.log.min.isr", inSync},
		{"share.coordinator.state.topic.replication.factor", replicas},
		{"share.coordinator.state.topic.min.isr", inSync},
		{"auto.create.topics.enable", "false"},
	} {
		// In Java's properties a backslash begins an escape.
		b.WriteString(property[0] + "=" + strings.ReplaceAll(property[1], `\`, `\\`) + "\n")
	}
	return b.String()
}
