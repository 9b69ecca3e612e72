package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/meta"
)

// IncrementalAlterConfigs (key 44), versions 0 and 1.
//
// Behaviour: sets or unsets single configs, and adds to or takes from lists; each resource by itself; validate_only tries
// without doing.
//
// Versions: 1 is flexible.

func incrementalAlterConfigs(r *request, in *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	wanted := &meta.IncrementalAlterConfigs{ValidateOnly: in.ValidateOnly}
	places := make([]int, len(in.Resources)) // in wanted, or -1
	for i := range in.Resources {
		resource := &in.Resources[i]
		places[i] = -1
		if !hasConfigs(resource.ResourceType) {
			continue
		}
		change := meta.ChangeConfigs{Resource: meta.Resource{Type: meta.ResourceType(resource.ResourceType), Name: resource.ResourceName}}
		for _, c := range resource.Configs {
			change.Changes = append(change.Changes, meta.ConfigChange{Name: c.Name, Operation: meta.ConfigOperation(c.Op), Value: c.Value})
		}
		places[i] = len(wanted.Resources)
		wanted.Resources = append(wanted.Resources, change)
	}
	result, err := r.broker().IncrementalAlterConfigs(r.ctx, wanted)
	for i := range in.Resources {
		answer := kmsg.NewIncrementalAlterConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = in.Resources[i].ResourceType, in.Resources[i].ResourceName
		refusal := alterResult(result, err, places[i], answer.ResourceType)
		answer.ErrorCode, answer.ErrorMessage = r.code(refusal), message(refusal)
		out.Resources = append(out.Resources, answer)
	}
	return out
}
