package group

import "github.com/stela-db/stela/server/rows"

// A decoder reads what the append functions wrote.
type decoder struct{ rows.Decoder }

func newDecoder(b []byte) *decoder { return &decoder{rows.NewDecoder("group record", b)} }
