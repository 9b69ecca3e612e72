package kafka_test

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func walkAPIVersions(w *walk) {
	in := kmsg.NewPtrApiVersionsRequest()
	in.ClientSoftwareName, in.ClientSoftwareVersion = "test", "1.0"
	out := w.ask(in).(*kmsg.ApiVersionsResponse)
	w.want("keys", out.ErrorCode == 0 && len(out.ApiKeys) == 28, out)
}

func walkSASL(w *walk) {
	in := kmsg.NewPtrSASLHandshakeRequest()
	in.Mechanism = "PLAIN"
	w.code("handshake", w.ask(in).(*kmsg.SASLHandshakeResponse).ErrorCode, 33)
}

func walkSASLAuthenticate(w *walk) {
	w.code("authenticate", w.ask(kmsg.NewPtrSASLAuthenticateRequest()).(*kmsg.SASLAuthenticateResponse).ErrorCode, 34)
}

func walkMetadata(w *walk) {
	name := w.name(3)
	topic := func(name string) []kmsg.MetadataRequestTopic {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = new(name)
		return []kmsg.MetadataRequestTopic{t}
	}
	in := kmsg.NewPtrMetadataRequest()
	in.Topics = topic(name)
	out := w.ask(in).(*kmsg.MetadataResponse)
	w.want("one broker, the controller", len(out.Brokers) == 1 && (w.version < 1 || out.ControllerID == out.Brokers[0].NodeID), out)
	w.want("its address", out.Brokers[0].Host == "127.0.0.1" && out.Brokers[0].Port > 0, out.Brokers[0])
	w.want("cluster id", w.version < 2 || out.ClusterID != nil && *out.ClusterID != "", out)
	p := out.Topics[0].Partitions
	w.want("two partitions, led", len(p) == 2 && p[1].Partition == 1 && p[1].Leader == out.ControllerID && len(p[1].Replicas) == 1 && p[1].ErrorCode == 0 || w.version < 1, out.Topics[0])
	w.want("topic id", w.version < 10 || out.Topics[0].TopicID == w.topicID, out.Topics[0])

	all := kmsg.NewPtrMetadataRequest()
	w.want("all topics", len(w.ask(all).(*kmsg.MetadataResponse).Topics) > 0, "none")
	if w.version >= 1 {
		all.Topics = []kmsg.MetadataRequestTopic{}
		w.want("no topics", len(w.ask(all).(*kmsg.MetadataResponse).Topics) == 0, "some")
	}
	bad := kmsg.NewPtrMetadataRequest()
	bad.Topics, bad.AllowAutoTopicCreation = topic("no good name"), true
	w.code("a name that cannot be", w.ask(bad).(*kmsg.MetadataResponse).Topics[0].ErrorCode, 17)

	missing := kmsg.NewPtrMetadataRequest()
	missing.Topics = topic(fmt.Sprintf("made-by-metadata-%d", w.version))
	if w.version >= 4 {
		w.code("not allowed to create", w.ask(missing).(*kmsg.MetadataResponse).Topics[0].ErrorCode, 3)
	}
	missing.AllowAutoTopicCreation = true
	made := w.ask(missing).(*kmsg.MetadataResponse).Topics[0]
	w.want("created", made.ErrorCode == 0 && len(made.Partitions) == 1, made)
	if w.version >= 12 {
		byID := kmsg.NewPtrMetadataRequest()
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID = w.topicID
		byID.Topics = append(byID.Topics, t)
		got := w.ask(byID).(*kmsg.MetadataResponse).Topics[0]
		w.want("by id", got.ErrorCode == 0 && *got.Topic == name, got)
		byID.Topics[0].TopicID = [16]byte{9}
		got = w.ask(byID).(*kmsg.MetadataResponse).Topics[0]
		w.want("by an id that is not there", got.ErrorCode == 100 && got.Topic == nil, got)
	}
}

func walkDescribeCluster(w *walk) {
	in := kmsg.NewPtrDescribeClusterRequest()
	in.IncludeClusterAuthorizedOperations = true
	out := w.ask(in).(*kmsg.DescribeClusterResponse)
	w.want("a cluster of one", out.ErrorCode == 0 && out.ClusterID != "" && len(out.Brokers) == 1 && out.ControllerID == out.Brokers[0].NodeID && out.ClusterAuthorizedOperations > 0, out)
	if w.version >= 1 {
		in.EndpointType = 2
		w.code("controllers", w.ask(in).(*kmsg.DescribeClusterResponse).ErrorCode, 114)
	}
}

func walkCreateTopics(w *walk) {
	name := fmt.Sprintf("created-%d", w.version)
	in := kmsg.NewPtrCreateTopicsRequest()
	in.TimeoutMillis = 10_000
	add := func(name string, partitions int32, replication int16) *kmsg.CreateTopicsRequestTopic {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replication
		in.Topics = append(in.Topics, t)
		return &in.Topics[len(in.Topics)-1]
	}
	add(name, 3, -1)
	add("no good name", 1, 1)
	add(name+"-many-copies", 1, 7)
	add(name+"-no-partitions", 0, 1)
	add(w.name(19), 1, 1)
	config := kmsg.NewCreateTopicsRequestTopicConfig()
	config.Name, config.Value = "retention.ms", new("soon")
	bad := add(name+"-config", 1, 1)
	bad.Configs = append(bad.Configs, config)
	add(name+"-defaults", -1, -1)
	in.ValidateOnly = true
	for _, want := range []string{"tried", "done"} {
		out := w.ask(in).(*kmsg.CreateTopicsResponse)
		for i, code := range []int16{0, 17, 38, 37, 36, 40, 0} {
			w.code(want+" "+out.Topics[i].Topic, out.Topics[i].ErrorCode, code)
			w.want("message", (out.Topics[i].ErrorMessage != nil) == (code != 0), out.Topics[i])
		}
		t := out.Topics[0]
		w.want("configs", w.version < 5 || len(t.Configs) > 5 && t.NumPartitions == 3 && t.ReplicationFactor == 1, t)
		w.want("id", w.version < 7 || (t.TopicID != [16]byte{}) == (want == "done"), t)
		in.ValidateOnly = false
	}
}

func walkDeleteTopics(w *walk) {
	name := w.name(20)
	in := kmsg.NewPtrDeleteTopicsRequest()
	in.TimeoutMillis = 10_000
	in.TopicNames = []string{name, name + "-missing"}
	for _, n := range in.TopicNames {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = new(n)
		in.Topics = append(in.Topics, t)
	}
	out := w.ask(in).(*kmsg.DeleteTopicsResponse)
	w.code("delete", out.Topics[0].ErrorCode, 0)
	w.want("its name", *out.Topics[0].Topic == name, out.Topics[0])
	w.code("a topic that is not there", out.Topics[1].ErrorCode, 3)
	if w.version >= 6 {
		w.topic(name)
		in.Topics = in.Topics[:1]
		in.Topics[0].TopicID = w.topicID
		w.code("by name and id", w.ask(in).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, 42)
		in.Topics[0].Topic, in.Topics[0].TopicID = nil, [16]byte{}
		w.code("by nothing", w.ask(in).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, 42)
		in.Topics[0].Topic, in.Topics[0].TopicID = nil, w.topicID
		out := w.ask(in).(*kmsg.DeleteTopicsResponse)
		w.want("by id", out.Topics[0].ErrorCode == 0 && out.Topics[0].TopicID == w.topicID, out.Topics[0])
		w.code("by an id that is not there any more", w.ask(in).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode, 100)
	}
}

func walkCreatePartitions(w *walk) {
	name := w.name(37)
	in := kmsg.NewPtrCreatePartitionsRequest()
	in.TimeoutMillis = 10_000
	for _, t := range []struct {
		name  string
		count int32
	}{{name, 5}, {name + "-missing", 5}} {
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = t.name, t.count
		in.Topics = append(in.Topics, topic)
	}
	out := w.ask(in).(*kmsg.CreatePartitionsResponse)
	w.want("both answered", len(out.Topics) == 2 && out.Topics[0].Topic == name, out)
	w.code("five partitions", out.Topics[0].ErrorCode, 0)
	w.code("a topic that is not there", out.Topics[1].ErrorCode, 3)
	in.Topics[0].Count = 4
	w.code("fewer partitions", w.ask(in).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode, 37)
}

func walkDescribeConfigs(w *walk) {
	in := kmsg.NewPtrDescribeConfigsRequest()
	in.IncludeDocumentation, in.IncludeSynonyms = true, true
	for _, r := range []struct {
		kind kmsg.ConfigResourceType
		name string
	}{{kmsg.ConfigResourceTypeTopic, w.name(32)}, {kmsg.ConfigResourceTypeBroker, "1"}, {kmsg.ConfigResourceTypeTopic, "missing"}, {kmsg.ConfigResourceTypeBroker, "99"}, {kmsg.ConfigResourceTypeBrokerLogger, "1"}} {
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = r.kind, r.name
		in.Resources = append(in.Resources, resource)
	}
	out := w.ask(in).(*kmsg.DescribeConfigsResponse)
	for i, code := range []int16{0, 0, 3, 42, 42} {
		w.code("resource "+in.Resources[i].ResourceName, out.Resources[i].ErrorCode, code)
	}
	found := 0
	for _, c := range out.Resources[0].Configs {
		if c.Name == "cleanup.policy" || c.Name == "retention.ms" {
			found++
			w.want("default", c.Value != nil && c.Source == kmsg.ConfigSourceDefaultConfig, c)
			w.want("documentation", w.version < 3 || c.Documentation != nil && *c.Documentation != "" && c.ConfigType != 0, c)
		}
	}
	w.want("topic's configs", found == 2 && len(out.Resources[1].Configs) > 10, out.Resources[0])
	in.Resources = in.Resources[:1]
	in.Resources[0].ConfigNames = []string{"retention.ms"}
	out = w.ask(in).(*kmsg.DescribeConfigsResponse)
	w.want("one config", len(out.Resources[0].Configs) == 1, out.Resources[0].Configs)
}

// retention returns a topic's retention.ms as DescribeConfigs tells it.
func (w *walk) retention(name string) string {
	in := kmsg.NewPtrDescribeConfigsRequest()
	in.SetVersion(4)
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, name, []string{"retention.ms"}
	in.Resources = append(in.Resources, resource)
	return *ask(w, w.conn, in).(*kmsg.DescribeConfigsResponse).Resources[0].Configs[0].Value
}

func walkAlterConfigs(w *walk) {
	name := w.name(33)
	in := kmsg.NewPtrAlterConfigsRequest()
	for _, t := range []string{name, name + "-missing"} {
		resource := kmsg.NewAlterConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, t
		config := kmsg.NewAlterConfigsRequestResourceConfig()
		config.Name, config.Value = "retention.ms", new("12345")
		resource.Configs = append(resource.Configs, config)
		in.Resources = append(in.Resources, resource)
	}
	before := w.retention(name)
	in.ValidateOnly = true
	for _, want := range []string{before, "12345"} {
		out := w.ask(in).(*kmsg.AlterConfigsResponse)
		w.code("retention.ms", out.Resources[0].ErrorCode, 0)
		w.code("a topic that is not there", out.Resources[1].ErrorCode, 3)
		w.want("value", w.retention(name) == want, w.retention(name))
		in.ValidateOnly = false
	}
	in.Resources[0].Configs[0].Value = new("soon")
	w.code("a value that cannot be", w.ask(in).(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode, 40)
}

func walkIncrementalAlterConfigs(w *walk) {
	name := w.name(44)
	in := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "retention.ms", new("12345")
	resource.Configs = append(resource.Configs, config)
	in.Resources = append(in.Resources, resource)
	before := w.retention(name)
	w.code("set", w.ask(in).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode, 0)
	w.want("value", w.retention(name) == "12345", w.retention(name))
	in.Resources[0].Configs[0].Op, in.Resources[0].Configs[0].Value = kmsg.IncrementalAlterConfigOpDelete, nil
	w.code("delete", w.ask(in).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode, 0)
	w.want("default again", w.retention(name) == before, w.retention(name))
	in.Resources[0].Configs[0] = kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: "no.such.config", Value: new("1")}
	w.code("a config that is not there", w.ask(in).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode, 40)
}
