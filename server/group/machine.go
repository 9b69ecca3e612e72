package group

import (
	"io"
	"time"
)

// A Machine holds all groups of one shard.
type Machine struct {
	config Config
}

// Effects is what a request or the passing of time leads to.
type Effects struct {
	Records [][]byte  // to be replicated in this order, then replayed
	Answers []Answer  // to be given once all Records so far are committed
	Wake    time.Time // when Tick is due next; zero for never
}

// An Answer belongs to the request that was handled with its Token.
type Answer struct {
	Token    uint64
	Response Response // may be there beside Err
	Err      error
}

// New returns a machine without groups.
func New(config Config) *Machine { return &Machine{config: config.withDefaults()} }

// Handle decides a request of a client.
func (m *Machine) Handle(now time.Time, token uint64, request Request) Effects { return Effects{} }

// Tick lets time pass.
func (m *Machine) Tick(now time.Time) Effects { return Effects{} }

// Lead begins a leadership.
func (m *Machine) Lead(now time.Time) Effects { return Effects{} }

// Follow ends a leadership.
func (m *Machine) Follow() Effects { return Effects{} }

// Replay applies a committed record.
func (m *Machine) Replay(record []byte, changed func(key, value []byte)) error { return nil }

// Load takes a row that Replay gave to its caller before.
func (m *Machine) Load(key, value []byte) error { return nil }

// Export writes the replicated state.
func (m *Machine) Export(w io.Writer) error { return nil }

// Import replaces the replicated state.
func (m *Machine) Import(r io.Reader) error { return nil }
