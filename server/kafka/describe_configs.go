package kafka

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/broker"
	"github.com/stela-db/stela/server/meta"
)

// DescribeConfigs (key 32), versions 1 to 4.
//
// Behaviour: every config with its value, default ones included, of topics, of this broker, and (empty broker name) of
// the cluster. A broker does not know what others were started with: ask each itself, as clients do. No names, or an
// empty list of them, mean all.
//
// Versions: 1 adds sources and synonyms; 3 adds types and documentation; 4 is flexible.

func describeConfigs(r *request, in *kmsg.DescribeConfigsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.DescribeConfigsResponse)
	type key struct {
		kind kmsg.ConfigResourceType
		name string
	}
	first := once[key]()
	for i := range in.Resources {
		resource := &in.Resources[i]
		if !first(key{resource.ResourceType, resource.ResourceName}) {
			continue
		}
		answer := kmsg.NewDescribeConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = resource.ResourceType, resource.ResourceName
		entries, err := configEntries(r, resource)
		answer.ErrorCode, answer.ErrorMessage = r.code(err), message(err)
		answer.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		for j := range entries {
			if len(resource.ConfigNames) == 0 || slices.Contains(resource.ConfigNames, entries[j].Name) {
				if !r.room(configBytes(in, &entries[j])) {
					return nil
				}
				answer.Configs = append(answer.Configs, describedConfig(in, &entries[j]))
			}
		}
		out.Resources = append(out.Resources, answer)
	}
	return out
}

func configEntries(r *request, in *kmsg.DescribeConfigsRequestResource) ([]meta.ConfigEntry, error) {
	view := r.broker().View()
	switch in.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if err := meta.CheckTopicName(in.ResourceName); err != nil {
			return nil, err
		}
		topic := view.TopicByName(in.ResourceName)
		if topic == nil {
			return nil, broker.ErrUnknownTopicOrPartition
		}
		return view.DescribeTopic(topic), nil
	case kmsg.ConfigResourceTypeBroker:
		if in.ResourceName == "" {
			return view.DescribeCluster(), nil
		}
		if in.ResourceName != strconv.Itoa(int(r.broker().Node())) {
			return nil, fmt.Errorf("this is broker %d, not %q: %w", r.broker().Node(), in.ResourceName, errOtherBroker)
		}
		return view.DescribeBroker(), nil
	default:
		return nil, fmt.Errorf("%s: %w", in.ResourceType, errResourceType)
	}
}

// configBytes returns about what a config takes in an answer.
func configBytes(in *kmsg.DescribeConfigsRequest, entry *meta.ConfigEntry) int {
	n := len(entry.Name) + len(value(entry.Value))
	if in.IncludeDocumentation {
		n += len(entry.Documentation)
	}
	if in.IncludeSynonyms {
		for i := range entry.Synonyms {
			n += structBytes/2 + len(entry.Synonyms[i].Name) + len(value(entry.Synonyms[i].Value))
		}
	}
	return n
}

func describedConfig(in *kmsg.DescribeConfigsRequest, entry *meta.ConfigEntry) kmsg.DescribeConfigsResponseResourceConfig {
	c := kmsg.NewDescribeConfigsResponseResourceConfig()
	c.Name, c.Value, c.ReadOnly, c.IsSensitive = entry.Name, entry.Value, entry.ReadOnly, entry.Sensitive
	c.IsDefault = entry.IsDefault()
	c.Source = kmsg.ConfigSource(entry.Source)
	c.ConfigType = kmsg.ConfigType(entry.Type)
	if in.IncludeDocumentation {
		c.Documentation = new(entry.Documentation)
	}
	c.ConfigSynonyms = []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{}
	if in.IncludeSynonyms {
		for _, s := range entry.Synonyms {
			synonym := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			synonym.Name, synonym.Value, synonym.Source = s.Name, s.Value, kmsg.ConfigSource(s.Source)
			c.ConfigSynonyms = append(c.ConfigSynonyms, synonym)
		}
	}
	return c
}
