package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/stela-db/stela/cmd/internal/command"
)

// Whatever the log answers comes with a next step.
func TestKafkaErrorsAreExplained(t *testing.T) {
	for _, err := range []error{kerr.UnknownTopicOrPartition, kerr.OffsetOutOfRange, kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.PolicyViolation} {
		if !command.IsAdvised(explain(fmt.Errorf("rebuild payment: %w", err))) {
			t.Errorf("%v has no next step", err)
		}
	}
	if command.IsAdvised(explain(errors.New("something else"))) {
		t.Error("an error that is not known has a next step")
	}
}
