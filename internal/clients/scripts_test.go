package clients

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func TestKafkajs(t *testing.T) {
	dir := kafkajs(t)
	topic := unique("kafkajs")
	t.Log(command(t, []string{"BROKERS=" + brokers, "TOPIC=" + topic}, "", "node", filepath.Join(dir, "smoke.mjs")))
	checkStored(t, topic, perCodec, append([]string{"idempotent"}, codecs...)...)
}

// TestArticle runs the article's snippet as it stands and reads its order in a group.
func TestArticle(t *testing.T) {
	dir := kafkajs(t)
	command(t, []string{"BROKERS=" + brokers}, "", "node", filepath.Join(dir, "order.mjs"))
	env := []string{"BROKERS=" + brokers, "TOPIC=order-events", "WANTED=1", "GROUP=" + unique("article")}
	out := command(t, env, "", "node", filepath.Join(dir, "consume.mjs"))
	var order struct {
		OrderID string      `json:"orderId"`
		Total   json.Number `json:"total"`
		Status  string      `json:"status"`
	}
	if err := json.Unmarshal([]byte(strings.TrimSpace(out)), &order); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if order.OrderID != "9827" || order.Total != "129" || order.Status != "CREATED" {
		t.Errorf("read %q", out)
	}
}

func TestLibrdkafka(t *testing.T) {
	python := librdkafka(t)
	topic := unique("librdkafka")
	t.Log(command(t, []string{"BROKERS=" + brokers, "TOPIC=" + topic}, "", python, "librdkafka/smoke.py"))
	checkStored(t, topic, perCodec, codecs...)
}

func TestKcat(t *testing.T) {
	kcat := kcat(t)
	topic := unique("kcat")
	if binary != "" {
		command(t, nil, "", binary, "topic", "create", topic, "-p", "3", "-b", brokers)
	}
	for _, codec := range codecs {
		var lines strings.Builder
		for i := range perCodec {
			fmt.Fprintf(&lines, "k%d:%s\n", i, padded(codec, i))
		}
		command(t, nil, lines.String(), kcat, "-P", "-b", brokers, "-t", topic, "-K:", "-z", codec, "-X", "acks=all", "-X", "enable.idempotence=true")
	}
	read := func(wanted int) []string {
		out := command(t, nil, "", kcat, "-b", brokers, "-G", topic+"-group", "-c", fmt.Sprint(wanted), "-f", "%s\n", "-q",
			"-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=10000", topic)
		values := strings.Split(strings.TrimSpace(out), "\n")
		if len(values) != wanted {
			t.Fatalf("the group read %d records, wanted %d", len(values), wanted)
		}
		return values
	}
	read(len(codecs) * perCodec)
	command(t, nil, "later-1\nlater-2\nlater-3\n", kcat, "-P", "-b", brokers, "-t", topic)
	for _, value := range read(3) {
		if !strings.HasPrefix(value, "later-") {
			t.Errorf("after coming back the group read %q", value)
		}
	}
	checkStored(t, topic, perCodec, codecs...)
	listed := command(t, nil, "", kcat, "-L", "-J", "-b", brokers)
	if !json.Valid([]byte(listed)) || !strings.Contains(listed, topic) {
		t.Errorf("kcat -L: %s", listed)
	}
	if offset := command(t, nil, "", kcat, "-Q", "-b", brokers, "-t", topic+":0:0"); !strings.Contains(offset, "offset 0") {
		t.Errorf("kcat -Q: %s", offset)
	}
	tail := command(t, nil, "", kcat, "-C", "-b", brokers, "-t", topic, "-p", "0", "-o", "-1", "-e", "-q")
	if strings.Count(tail, "\n") != 1 {
		t.Errorf("kcat -o -1 printed %q", tail)
	}
}
