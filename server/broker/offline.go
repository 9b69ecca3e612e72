package broker

import "fmt"

// Replay takes the place of Start for a node that is only looked at: the state machines are
// brought to what the data folder says for certain, and nothing else runs. Afterwards View,
// Partition, and a partition's LogStart and HighWatermark may be asked for.
func Replay(b *Broker) error {
	if err := b.config.Replication.Replay(b.machine); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	return nil
}
