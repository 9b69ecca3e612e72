package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/meta"
)

// controller waits for the node that leads the metadata.
func (c *testCluster) controller() *testNode {
	c.t.Helper()
	var found *testNode
	c.until("controller", func() error {
		for _, n := range c.nodes {
			if n.Broker != nil && n.cluster_().group.Leader().Local {
				found = n
				return nil
			}
		}
		return errors.New("nobody leads")
	})
	return found
}

// cluster_ returns the broker's replica of the metadata; testNode.cluster is the cluster of the test.
func (n *testNode) cluster_() *cluster { return n.Broker.cluster }

// other returns a running node that is not n.
func (c *testCluster) other(n *testNode) *testNode {
	c.t.Helper()
	for id := range int32(len(c.nodes)) {
		if o := c.nodes[id+1]; o != n && o.Broker != nil {
			return o
		}
	}
	c.t.Fatal("no other node runs")
	return nil
}

func plainTopic(name string, partitions int32) meta.CreateTopic {
	return meta.CreateTopic{Name: name, Partitions: partitions, ReplicationFactor: -1}
}

// TestMetadataFromAnyNode asks a node that does not lead the metadata: what it answers is what the leader decided, and it
// knows the outcome itself by then.
func TestMetadataFromAnyNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		n := c.other(c.controller())
		ctx := t.Context()
		bad := plainTopic("bad", 1)
		value := "x"
		bad.Configs = []meta.Setting{{Name: meta.KeyRetentionMs, Value: &value}}
		created, err := n.CreateTopics(ctx, &meta.CreateTopics{Topics: []meta.CreateTopic{plainTopic("t", 3), plainTopic("a/b", 1), bad}})
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []error{nil, meta.ErrInvalidTopic, meta.ErrInvalidConfig} {
			if !errors.Is(created.Topics[i].Err, want) || want == nil && created.Topics[i].Err != nil {
				t.Errorf("topic %d: error %v, wanted %v", i, created.Topics[i].Err, want)
			}
		}
		topic := n.View().TopicByName("t")
		first := created.Topics[0]
		if topic == nil || topic.ID != first.ID || first.Partitions != 3 || first.ReplicationFactor != 3 || len(first.Configs) != len(meta.TopicKeys()) {
			t.Errorf("created %+v, topic %v", first, topic)
		}
		grown, err := n.CreatePartitions(ctx, &meta.CreatePartitions{Topics: []meta.GrowTopic{{Name: "t", Count: 5}, {Name: "u", Count: 5}}})
		if err != nil || grown.Topics[0].Err != nil || !errors.Is(grown.Topics[1].Err, meta.ErrUnknownTopic) || len(n.View().TopicByName("t").Partitions) != 5 {
			t.Errorf("more partitions: %v, %v", grown, err)
		}
		resource := meta.Resource{Type: meta.ResourceTopic, Name: "t"}
		value = "1000"
		altered, err := n.IncrementalAlterConfigs(ctx, &meta.IncrementalAlterConfigs{Resources: []meta.ChangeConfigs{
			{Resource: resource, Changes: []meta.ConfigChange{{Name: meta.KeyRetentionMs, Value: &value}}},
		}})
		if err != nil || altered.Resources[0] != (meta.AlterConfigsResourceResult{Resource: resource}) || n.View().TopicByName("t").Options.RetentionMs != 1000 {
			t.Errorf("alter: %v, %v", altered, err)
		}
		replaced, err := n.AlterConfigs(ctx, &meta.AlterConfigs{Resources: []meta.ReplaceConfigs{{Resource: resource}}})
		if err != nil || replaced.Resources[0].Err != nil || len(n.View().TopicByName("t").Configs) != 0 {
			t.Errorf("replace: %v, %v", replaced, err)
		}
		deleted, err := n.DeleteTopics(ctx, &meta.DeleteTopics{Topics: []meta.TopicRef{{ID: topic.ID}, {Name: "u"}}})
		if err != nil || deleted.Topics[0].Err != nil || deleted.Topics[0].Name != "t" || !errors.Is(deleted.Topics[1].Err, meta.ErrUnknownTopic) || n.View().TopicCount() != 0 {
			t.Errorf("delete: %v, %v", deleted, err)
		}
	})
}

// TestLargeMetadataRequest: what is too large is refused on the metadata's leader as on any other node, and so are
// records that no segment has room for; the node goes on.
func TestLargeMetadataRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, func(c *testConfig) { c.segment = 256 << 10 })
		n := c.controller()
		create := func(topics, bytes int) error {
			request := &meta.CreateTopics{}
			for i := range topics {
				topic := plainTopic(fmt.Sprintf("%d-%s", i, strings.Repeat("x", 200)), 1)
				if bytes > 0 {
					topic.Configs = []meta.Setting{{Name: "no.such.config", Value: new(strings.Repeat("y", bytes))}}
				}
				request.Topics = append(request.Topics, topic)
			}
			_, err := n.CreateTopics(t.Context(), request)
			return err
		}
		wantError(t, "a request of 5 MB", create(5000, 1000), ErrInvalidRequest)
		wantError(t, "records of more than a segment", create(1500, 0), ErrInvalidRequest)
		wantError(t, "a few topics", create(5, 0), nil)
	})
}

func TestManyPartitionsAreOneRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		leader := c.controller()
		c.until("all nodes have registered", func() error {
			if n := len(leader.View().Brokers()); n != 3 {
				return fmt.Errorf("%d brokers", n)
			}
			return nil
		})
		version := leader.View().Version()
		c.create("wide", 10_000)
		if records := leader.View().Version() - version; records != 1 {
			t.Errorf("%d records, wanted 1", records)
		}
		if n := c.other(leader).View().PartitionCount(); n != 10_000 {
			t.Errorf("%d partitions", n)
		}
	})
}

// TestAutoCreate lets many clients of all nodes ask for few topics at once.
func TestAutoCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(config *testConfig) {
			config.settings.AutoCreate = true
			config.settings.MetaConfigs = map[string]string{meta.KeyNumPartitions: "4"}
		})
		var wait sync.WaitGroup
		var mu sync.Mutex
		ids := map[string]map[record.TopicID]bool{}
		for i := range 60 {
			n := c.nodes[int32(i%3+1)]
			name := fmt.Sprint("topic", i%4)
			wait.Go(func() {
				topic, err := n.AutoCreate(t.Context(), name)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if ids[name] == nil {
					ids[name] = map[record.TopicID]bool{}
				}
				ids[name][topic.ID] = true
				if len(topic.Partitions) != 4 {
					t.Errorf("%s has %d partitions", name, len(topic.Partitions))
				}
			})
		}
		wait.Wait()
		for name, set := range ids {
			if len(set) != 1 {
				t.Errorf("%s has %d ids", name, len(set))
			}
		}
		if _, err := c.any().AutoCreate(t.Context(), "a b"); !errors.Is(err, meta.ErrInvalidTopic) {
			t.Errorf("error %v, wanted %v", err, meta.ErrInvalidTopic)
		}
	})
}

func TestAutoCreateForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, nil)
		c.create("there", 1)
		if _, err := c.any().AutoCreate(t.Context(), "t"); !errors.Is(err, ErrUnknownTopicOrPartition) {
			t.Errorf("error %v", err)
		}
		if topic, err := c.any().AutoCreate(t.Context(), "there"); err != nil || topic.Name != "there" {
			t.Errorf("topic %v, error %v", topic, err)
		}
	})
}

// TestMetadataSurvivesItsLeader creates topics and takes producer ids while leaders die: what was acknowledged is there on
// every node, nothing was done twice.
func TestMetadataSurvivesItsLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		blocks := map[int64]bool{}
		ids := map[string]record.TopicID{}
		for round := range 4 {
			victim := c.controller()
			n := c.other(victim)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range 20 {
					name := fmt.Sprintf("topic-%d-%d", round, i)
					result, err := n.CreateTopics(context.Background(), &meta.CreateTopics{Topics: []meta.CreateTopic{plainTopic(name, 1)}})
					switch {
					case err == nil && result.Topics[0].Err == nil:
						ids[name] = result.Topics[0].ID
					case err == nil:
						t.Errorf("%s: %v", name, result.Topics[0].Err)
					case !errors.Is(err, ErrTimedOut) && !errors.Is(err, ErrNotController):
						t.Errorf("%s: %v", name, err)
					}
					block, err := n.Broker.cluster.allocateProducerIDs(context.Background())
					if err != nil {
						t.Errorf("producer ids: %v", err)
						continue
					}
					if blocks[block.First] {
						t.Errorf("producer ids from %d were given out twice", block.First)
					}
					blocks[block.First] = true
					time.Sleep(20 * time.Millisecond)
				}
			}()
			time.Sleep(time.Duration(50+100*round) * time.Millisecond)
			victim.crash()
			<-done
			victim.start()
			c.ready()
		}
		if len(ids) < 60 {
			t.Errorf("only %d of 80 topics were created", len(ids))
		}
		c.until("all nodes know all", func() error {
			for _, n := range c.nodes {
				for name, id := range ids {
					if topic := n.View().TopicByName(name); topic == nil || topic.ID != id {
						return fmt.Errorf("node %d has %v for %s", n.id, topic, name)
					}
				}
			}
			return nil
		})
	})
}

// TestMetadataAfterRestart stops all nodes, moves one to another address, and starts them again.
func TestMetadataAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		c.create("t", 3, meta.KeyRetentionMs, "77")
		want := *c.any().View().TopicByName("t")
		for _, n := range c.nodes {
			n.stop()
		}
		for _, n := range c.nodes {
			n.start()
		}
		c.ready()
		for _, n := range c.nodes {
			if diff := cmp.Diff(&want, n.View().TopicByName("t")); diff != "" {
				t.Errorf("node %d: %s", n.id, diff)
			}
			if len(n.View().Brokers()) != 3 {
				t.Errorf("node %d knows the brokers %v", n.id, n.View().Brokers())
			}
		}
	})
}

// TestNodesRegister checks that a node is in the metadata as it is now, not as it once was.
func TestNodesRegister(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		n := c.nodes[2]
		stale := meta.Broker{Node: 2, Listeners: []meta.Listener{{Name: "PLAINTEXT", Host: "elsewhere", Port: 1}}}
		if _, err := n.cluster_().ask(t.Context(), &meta.RegisterBroker{Broker: stale}); err != nil {
			t.Fatal(err)
		}
		c.until("node 2 as it is", func() error {
			for _, o := range c.nodes {
				if b := o.View().Broker(2); b == nil || b.Listeners[0].Host != "n2" {
					return fmt.Errorf("node %d has %v", o.id, b)
				}
			}
			return nil
		})
	})
}

// TestMetadataSnapshot lets a node fall behind what the others keep of their logs.
func TestMetadataSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, func(config *testConfig) {
			config.replication = func(rc *replication.Config) { rc.SnapshotEntries, rc.TrailingEntries = 20, 5 }
		})
		c.create("before", 1)
		behind := c.other(c.controller())
		behind.crash()
		for i := range 60 {
			c.create(fmt.Sprint("t", i), 2)
		}
		if _, err := c.any().DeleteTopics(t.Context(), &meta.DeleteTopics{Topics: []meta.TopicRef{{Name: "before"}}}); err != nil {
			t.Fatal(err)
		}
		c.until("a snapshot is taken", func() error {
			for _, n := range c.nodes {
				if n.Broker != nil && n.cluster_().group.Status().Snapshot == 0 {
					return fmt.Errorf("node %d has none", n.id)
				}
			}
			return nil
		})
		behind.start()
		c.ready()
		c.until("the metadata is the same", func() error {
			want := c.controller().View()
			got := behind.View()
			if got.Version() != want.Version() || got.TopicCount() != 60 || got.PartitionCount() != 120 {
				return fmt.Errorf("version %d with %d topics, wanted %d with 60", got.Version(), got.TopicCount(), want.Version())
			}
			return nil
		})
		behind.stop()
		behind.start()
		c.ready()
		if n := behind.View().TopicCount(); n != 60 {
			t.Errorf("%d topics after another start", n)
		}
	})
}

func TestMetadataWithoutMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, nil)
		survivor := c.controller()
		for _, n := range c.nodes {
			if n != survivor {
				n.crash()
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := survivor.CreateTopics(ctx, &meta.CreateTopics{Topics: []meta.CreateTopic{plainTopic("t", 1)}})
		if !errors.Is(err, ErrTimedOut) && !errors.Is(err, ErrNotController) {
			t.Errorf("error %v", err)
		}
		if waited := time.Since(begun); waited > 4*time.Second {
			t.Errorf("the answer took %v", waited)
		}
	})
}

func TestWire(t *testing.T) {
	value := "v"
	id := record.TopicID{1, 2}
	requests := []meta.Request{
		&meta.CreateTopics{Topics: []meta.CreateTopic{{
			Name: "t", Partitions: -1, ReplicationFactor: 2, Configs: []meta.Setting{{Name: "a", Value: &value}, {Name: "b"}},
			Assignments: []meta.ReplicaAssignment{{Partition: 1, Nodes: []int32{1, 2}}},
		}}, ValidateOnly: true},
		&meta.DeleteTopics{Topics: []meta.TopicRef{{Name: "t"}, {ID: id}}},
		&meta.CreatePartitions{Topics: []meta.GrowTopic{{Name: "t", Count: 5, Assignments: [][]int32{{1}}}}},
		&meta.AlterConfigs{Resources: []meta.ReplaceConfigs{{Resource: meta.Resource{Type: meta.ResourceTopic, Name: "t"}, Configs: []meta.Setting{{Name: "a"}}}}},
		&meta.IncrementalAlterConfigs{Resources: []meta.ChangeConfigs{{Changes: []meta.ConfigChange{{Name: "a", Operation: meta.ConfigAppend, Value: &value}}}}},
		&meta.RegisterBroker{Broker: meta.Broker{Node: 3, Incarnation: [16]byte{9}, Rack: "r", Listeners: []meta.Listener{{Name: "a", Host: "b", Port: 3}}}},
		&meta.AllocateProducerIDs{Node: 2},
	}
	odd := fmt.Errorf("topic %q: %w", "t", meta.ErrInvalidTopic)
	responses := []meta.Response{
		&meta.CreateTopicsResult{Topics: []meta.CreateTopicResult{
			{Name: "t", ID: id, Partitions: 3, ReplicationFactor: 2, Set: map[string]string{"a": "b"}}, {Name: "u", Err: odd},
		}},
		&meta.DeleteTopicsResult{Topics: []meta.DeleteTopicResult{{TopicRef: meta.TopicRef{Name: "t", ID: id}, Err: meta.ErrUnknownTopicID}}},
		&meta.CreatePartitionsResult{Topics: []meta.GrowTopicResult{{Name: "t", Err: meta.ErrPolicyViolation}, {Name: "u"}}},
		&meta.AlterConfigsResult{Resources: []meta.AlterConfigsResourceResult{{Resource: meta.Resource{Type: meta.ResourceBroker, Name: "1"}, Err: odd}}},
		&meta.AlterConfigsResult{},
		nil,
		&meta.ProducerIDBlock{First: 1 << 40, Count: 1000},
	}
	sameError := cmp.Comparer(func(a, b error) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return a.Error() == b.Error() && errors.Is(a, meta.ErrInvalidTopic) == errors.Is(b, meta.ErrInvalidTopic)
	})
	for i, request := range requests {
		b, err := encodeRequest(request)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := decodeRequest(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(request, decoded); diff != "" {
			t.Error(diff)
		}
		answered, err := encodeAnswer(metaAnswer{response: responses[i], version: 7})
		if err != nil {
			t.Fatal(err)
		}
		answer := decodeAnswer(request, answered)
		if diff := cmp.Diff(responses[i], answer.response, sameError); diff != "" || answer.err != nil || answer.version != 7 {
			t.Errorf("%T: %s %v", request, diff, answer.err)
		}
	}
	for _, sentinel := range append(wireSentinels(), errors.New("something else")) {
		b, err := encodeAnswer(metaAnswer{err: fmt.Errorf("context: %w", sentinel)})
		if err != nil {
			t.Fatal(err)
		}
		got := decodeAnswer(requests[0], b)
		if got.response != nil || got.err.Error() != "context: "+sentinel.Error() {
			t.Errorf("%v became %v", sentinel, got.err)
		}
		if known := errors.Is(got.err, sentinel); known != (sentinel.Error() != "something else") {
			t.Errorf("%v: known %v", sentinel, known)
		}
	}
}

func TestLargeAnswersLoseTheirDetails(t *testing.T) {
	result := &meta.CreateTopicsResult{Topics: make([]meta.CreateTopicResult, 10_000)}
	for i := range result.Topics {
		result.Topics[i] = meta.CreateTopicResult{Name: fmt.Sprintf("%0240d", i), Set: map[string]string{"a": fmt.Sprintf("%0200d", i)}}
		if i%2 == 0 {
			result.Topics[i] = meta.CreateTopicResult{Name: fmt.Sprintf("%0240d", i), Err: fmt.Errorf("%0200d: %w", i, meta.ErrTopicExists)}
		}
	}
	b, err := encodeAnswer(metaAnswer{response: result})
	if err != nil || len(b) > wireBytes {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	got := decodeAnswer(&meta.CreateTopics{}, b).response.(*meta.CreateTopicsResult)
	if len(got.Topics) != 10_000 || !errors.Is(got.Topics[0].Err, meta.ErrTopicExists) || got.Topics[1].Err != nil {
		t.Errorf("%d topics, errors %v and %v", len(got.Topics), got.Topics[0].Err, got.Topics[1].Err)
	}
	if _, err := encodeRequest(&meta.DeleteTopics{Topics: make([]meta.TopicRef, 200_000)}); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("error %v", err)
	}
}

// FuzzWire: what another node says is a request, an answer, or an error.
func FuzzWire(f *testing.F) {
	f.Add([]byte(`{"Create":{"Topics":[{"Name":"t"}]}}`))
	f.Add([]byte(`{"Version":1,"Items":[{"Name":"t","ID":[1,2],"Err":{"Code":3,"Text":"x"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRequest(b); err == nil && r == nil {
			t.Fatal("neither a request nor an error")
		}
		for _, r := range []meta.Request{&meta.CreateTopics{}, &meta.DeleteTopics{}, &meta.AlterConfigs{}, &meta.CreatePartitions{}, &meta.AllocateProducerIDs{}} {
			decodeAnswer(r, b)
		}
	})
}
