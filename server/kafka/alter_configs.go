package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/meta"
)

// AlterConfigs (key 33), versions 0 to 2.
//
// Behaviour: replaces all configs that were set for a topic, a broker, or (empty broker name) the cluster; each resource
// by itself; validate_only tries without doing.
//
// Versions: 2 is flexible.

func alterConfigs(r *request, in *kmsg.AlterConfigsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.AlterConfigsResponse)
	wanted := &meta.AlterConfigs{ValidateOnly: in.ValidateOnly}
	places := make([]int, len(in.Resources)) // in wanted, or -1
	for i := range in.Resources {
		resource := &in.Resources[i]
		places[i] = -1
		if !hasConfigs(resource.ResourceType) {
			continue
		}
		replace := meta.ReplaceConfigs{Resource: meta.Resource{Type: meta.ResourceType(resource.ResourceType), Name: resource.ResourceName}}
		for _, c := range resource.Configs {
			replace.Configs = append(replace.Configs, meta.Setting{Name: c.Name, Value: c.Value})
		}
		places[i] = len(wanted.Resources)
		wanted.Resources = append(wanted.Resources, replace)
	}
	result, err := r.broker().AlterConfigs(r.ctx, wanted)
	for i := range in.Resources {
		answer := kmsg.NewAlterConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = in.Resources[i].ResourceType, in.Resources[i].ResourceName
		refusal := alterResult(result, err, places[i], answer.ResourceType)
		answer.ErrorCode, answer.ErrorMessage = r.code(refusal), message(refusal)
		out.Resources = append(out.Resources, answer)
	}
	return out
}

// hasConfigs reports whether configs of resources of that type can be altered here.
func hasConfigs(kind kmsg.ConfigResourceType) bool {
	return kind == kmsg.ConfigResourceTypeTopic || kind == kmsg.ConfigResourceTypeBroker
}

// alterResult returns how it went for the resource at place of what the metadata was asked, -1 for one it was not asked.
func alterResult(result *meta.AlterConfigsResult, err error, place int, kind kmsg.ConfigResourceType) error {
	switch {
	case place < 0:
		return fmt.Errorf("%s: %w", kind, errResourceType)
	case err != nil:
		return err
	}
	return result.Resources[place].Err
}
