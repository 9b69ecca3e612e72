package server

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/stela-db/stela/internal/network"
	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/meta"
)

// TestBrokerConfigsTakeEffect: what is set under Kafka's names does what it says, and clients are told what is.
func TestBrokerConfigsTakeEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := onDisk(vfs.NewMem(), network.NewPipes())
		config.Node, config.DataShards = 7, 3
		config.BrokerConfigs = map[string]string{meta.KeyAutoCreateTopics: "false", meta.KeyNodeID: "7", meta.KeyNumPartitions: "4"}
		s := open(t, config)
		defer closeNode(t, s)
		if _, err := s.broker.AutoCreate(t.Context(), "t"); !errors.Is(err, broker.ErrUnknownTopicOrPartition) {
			t.Errorf("a topic is created though %s is false: %v", meta.KeyAutoCreateTopics, err)
		}
		want := map[string]string{
			meta.KeyAutoCreateTopics: "false", meta.KeyNodeID: "7", meta.KeyBrokerID: "7", meta.KeyDataShards: "3", meta.KeyNumPartitions: "4",
			meta.KeyDefaultReplication: "1", meta.KeyLogDirs: DefaultData, meta.KeyListeners: "PLAINTEXT://" + s.Addresses().Kafka["PLAINTEXT"],
			meta.KeyAdvertisedListeners: "PLAINTEXT://" + s.Addresses().Kafka["PLAINTEXT"],
		}
		for _, entry := range s.broker.View().DescribeBroker() {
			if told, ok := want[entry.Name]; ok && (entry.Value == nil || *entry.Value != told) {
				t.Errorf("%s is told as %v, wanted %s", entry.Name, entry.Value, told)
			}
		}
	})
}

// TestNoAutoCreateIsTold: the same, said the other way.
func TestNoAutoCreateIsTold(t *testing.T) {
	if !(Config{}).autoCreate() || (Config{NoAutoCreate: true}).autoCreate() {
		t.Error("topics are created unless that is forbidden")
	}
	synctest.Test(t, func(t *testing.T) {
		config := onDisk(vfs.NewMem(), network.NewPipes())
		config.NoAutoCreate = true
		s := open(t, config)
		defer closeNode(t, s)
		if got := s.broker.View().BrokerValue(meta.KeyAutoCreateTopics); got != "false" {
			t.Errorf("%s is told as %s", meta.KeyAutoCreateTopics, got)
		}
	})
}

func TestContradictionsAreRefused(t *testing.T) {
	for name, value := range map[string]string{
		meta.KeyAutoCreateTopics: "true", meta.KeyNodeID: "2", meta.KeyBrokerID: "2", meta.KeyDataShards: "2", meta.KeyDefaultReplication: "3",
		meta.KeyListeners: "PLAINTEXT://:9092", meta.KeyAdvertisedListeners: "PLAINTEXT://a:9092", meta.KeyLogDirs: "/somewhere",
	} {
		config := Config{NoAutoCreate: true, BrokerConfigs: map[string]string{name: value}}
		if err := config.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	agreeing := map[string]string{meta.KeyAutoCreateTopics: "false", meta.KeyNodeID: "1", meta.KeyDataShards: "1", meta.KeyDefaultReplication: "1"}
	if err := (Config{NoAutoCreate: true, BrokerConfigs: agreeing}).Validate(); err != nil {
		t.Errorf("what agrees: %v", err)
	}
}

// TestEveryBrokerConfigIsRead: a key that does not say of itself that it has no effect is named where something is done with it.
func TestEveryBrokerConfigIsRead(t *testing.T) {
	constants := map[string]string{} // names of constants by value
	named := map[string]bool{}       // identifiers and texts outside the table
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		table := filepath.Base(path) == "broker_keys.go"
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				if table && len(n.Values) == 1 {
					if text, ok := n.Values[0].(*ast.BasicLit); ok {
						value, _ := strconv.Unquote(text.Value)
						constants[value] = n.Names[0].Name
					}
				}
			case *ast.Ident:
				named[n.Name] = named[n.Name] || !table
			case *ast.BasicLit:
				value, _ := strconv.Unquote(n.Value)
				named[value] = named[value] || !table
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range meta.BrokerKeys() {
		constant, ok := constants[key.Name]
		if !strings.Contains(key.Documentation, "no effect") && !named[key.Name] && !(ok && named[constant]) {
			t.Errorf("nothing is done with %s", key.Name)
		}
	}
}
