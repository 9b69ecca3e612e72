package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/stela-db/stela/cmd/internal/command"
)

func newTopic(g *general) *cobra.Command {
	return parent("topic", "Make, show, change and delete topics",
		newTopicCreate(g), newTopicList(g), newTopicDescribe(g), newTopicAlter(g), newTopicDelete(g))
}

// parseAssignments splits "name=value" texts.
func parseAssignments(texts []string) (map[string]*string, error) {
	pairs := map[string]*string{}
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, command.Usagef("%q is not name=value", text)
		}
		pairs[name] = &value
	}
	return pairs, nil
}

// describeTopics returns the details of the named topics, in order, or of all when none is named.
func describeTopics(ctx context.Context, adm *kadm.Client, names []string) ([]kadm.TopicDetail, error) {
	details, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("list topics: %w", err)
	}
	sorted := details.Sorted()
	if len(names) > 0 {
		sorted = sorted[:0]
		for _, name := range names {
			sorted = append(sorted, details[name])
		}
	}
	for _, detail := range sorted {
		if detail.Err != nil {
			return nil, fmt.Errorf("topic %s: %w", detail.Topic, detail.Err)
		}
	}
	return sorted, nil
}

// firstFailure joins a broker's error code and its message.
func firstFailure(err error, message string) error {
	if err == nil || message == "" || strings.Contains(err.Error(), message) {
		return err
	}
	return fmt.Errorf("%w (%s)", err, message)
}
