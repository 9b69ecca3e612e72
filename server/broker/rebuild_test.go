package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stela-db/stela/log"
	"github.com/stela-db/stela/log/index"
	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
)

// rebuild stops all nodes, deletes their indexes and starts them again.
func (c *testCluster) rebuild() {
	c.t.Helper()
	for _, n := range c.nodes {
		n.stop()
	}
	for _, n := range c.nodes {
		if err := n.fs.RemoveAll("data/index"); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.ready()
}

// state returns all rows of the data shards as lines, except for what every start changes.
func (n *testNode) state() []string {
	t := n.cluster.t
	t.Helper()
	var lines []string
	err := index.Dump(n.fs, "data/index", func(row index.Row) error {
		switch {
		case row.Kind == "applied", row.Kind == "state": // see rows
		case row.Kind == "segment": // see segments
		default:
			lines = append(lines, row.Kind+" "+row.Text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// segments returns the sums of the sealed segments. Those in which a start interrupted the summing are made now, as the
// cleaner would.
func (n *testNode) segments() []string {
	var lines []string
	for _, segment := range n.log.Segments() {
		for _, s := range n.dataShards() {
			if !segment.Sealed || s.machine.segment.number.Load() <= segment.Number {
				continue
			}
			sums, err := n.cleaner.sums(s, segment.Number)
			if err != nil {
				n.cluster.t.Fatal(err)
			}
			if len(sums) == 0 {
				rows, err := n.index.Segment(segment.Number)
				if err != nil {
					n.cluster.t.Fatal(err)
				}
				sums = rows[s.id]
			}
			lines = append(lines, fmt.Sprintf("segment %d shard %d %+v", segment.Number, s.id, sums))
		}
	}
	return lines
}

// rows returns the state machines' rows of the data shards of a running node.
func (n *testNode) rows() []string {
	var lines []string
	for _, s := range n.dataShards() {
		rows, scanError := n.index.Scan(s.id, nil)
		for key, value := range rows {
			if key[0] != rowSegment {
				lines = append(lines, fmt.Sprintf("%d %x %x", s.id, key, value))
			}
		}
		if err := scanError(); err != nil {
			n.cluster.t.Fatal(err)
		}
	}
	return lines
}

func digest(lines []string) string {
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:])
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if digest(got) == digest(want) {
		return
	}
	for i := range max(len(got), len(want)) {
		g, w := "", ""
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("%s: line %d of %d is %q, of %d before %q", what, i, len(got), g, len(want), w)
			return
		}
	}
}

// TestRebuild deletes the index of every node, with and without snapshots, and compares all that was in it.
func TestRebuild(t *testing.T) {
	for name, snapshots := range map[string]uint64{"from the log alone": 0, "from a snapshot and the log": 50} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 3, func(c *testConfig) {
					c.segment, c.tail, c.shards = 128<<10, 64<<10, 2
					c.replication = func(r *replication.Config) {
						if snapshots > 0 {
							r.SnapshotEntries, r.TrailingEntries = snapshots, 10
						}
					}
				})
				c.create("t", 3)
				c.create("es", 3, "eventstore.enable", "true")
				for i := range 200 {
					number := int32(i % 3)
					n := c.leader("t", number)
					n.mustProduce(n.partition("t", number), testBatch{
						values: []string{strings.Repeat("v", 1500)}, producer: int64(1 + i%2), sequence: n.sequence(n.partition("t", number), int64(1+i%2)),
					})
					if _, err := c.nodes[int32(1+i%3)].append(fmt.Sprint("key-", i%7), ExpectAny, fmt.Sprint("id-", i)); err != nil {
						t.Fatal(err)
					}
					if i == 120 {
						if _, err := n.DeleteRecords(context.Background(), n.partition("t", number), 11); err != nil {
							t.Fatal(err)
						}
						c.depose(c.leader("t", 0))
					}
				}
				time.Sleep(2 * time.Second) // followers hear of the last commit
				rows, states, segments := map[int32][]string{}, map[int32][]string{}, map[int32][]string{}
				for id, n := range c.nodes {
					rows[id], segments[id] = n.rows(), n.segments()
					if len(segments[id]) < 3 {
						t.Errorf("node %d has sums of %d segments", id, len(segments[id]))
					}
				}
				for id := range c.nodes {
					same(t, fmt.Sprintf("replica %d", id), rows[id], rows[1])
				}
				records := c.everything()
				for id, n := range c.nodes {
					n.stop()
					states[id] = n.state()
				}
				for _, n := range c.nodes {
					n.start()
				}
				c.rebuild()
				time.Sleep(2 * time.Second)
				for id, n := range c.nodes {
					same(t, fmt.Sprintf("rows of node %d", id), n.rows(), rows[id])
					same(t, fmt.Sprintf("segments of node %d", id), n.segments()[:len(segments[id])], segments[id])
				}
				same(t, "records", c.everything(), records)
				for id, n := range c.nodes {
					n.stop()
					same(t, fmt.Sprintf("index of node %d", id), n.state(), states[id])
				}
			})
		})
	}
}

// everything returns all records of topic t and all streams of topic es.
func (c *testCluster) everything() []string {
	c.t.Helper()
	var lines []string
	for number := range int32(3) {
		n := c.leader("t", number)
		p := n.partition("t", number)
		start, _ := bounds(c.t, p)
		for _, line := range n.read(p, start) {
			lines = append(lines, fmt.Sprintf("t/%d %s", number, line))
		}
	}
	for i := range 7 {
		key := fmt.Sprint("key-", i)
		lines = append(lines, fmt.Sprintf("es %s %v", key, c.any().history(key)))
	}
	return lines
}

// TestWipedNodeCatchesUp: a node that lost its folder gets everything from the others, though they have snapshots only
// of their state and have forgotten the entries' window.
func TestWipedNodeCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3, small)
		c.create("t", 1)
		c.create("es", 1, "eventstore.enable", "true")
		n := c.leader("t", 0)
		n.fill(n.partition("t", 0), 1<<20)
		for i := range 20 {
			if _, err := n.append("k", ExpectAny, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		lost := c.nodes[n.id%3+1]
		lost.stop()
		if err := lost.fs.RemoveAll("data"); err != nil {
			t.Fatal(err)
		}
		lost.start()
		c.ready()
		c.until("caught up", func() error {
			p, err := lost.Partition("t", 0)
			if err != nil {
				return err
			}
			_, want := bounds(t, n.partition("t", 0))
			if next, err := p.HighWatermark(); err != nil || next != want {
				return fmt.Errorf("at %d of %d: %w", next, want, err)
			}
			if head, _, err := lost.index.StreamHead(lost.partition("es", 0).ID(), []byte("k")); err != nil || head != 19 {
				return fmt.Errorf("stream at %d: %w", head, err)
			}
			return nil
		})
		c.until("the others make it a member", func() error {
			if _, err := n.DeleteRecords(context.Background(), n.partition("t", 0), 1); err != nil {
				return err
			}
			if got, want := lost.rows(), n.rows(); !slices.Equal(got, want) {
				return fmt.Errorf("%d rows, want %d", len(got), len(want))
			}
			return nil
		})
	})
}

// entriesBefore returns the shard's entries in the log up to an index, as a restore gets them.
func (n *testNode) entriesBefore(t *testing.T, s *shard, end record.Index) []replication.Committed {
	t.Helper()
	var entries []replication.Committed
	err := n.log.Shard(s.id).Scan(1, end-1, func(e log.EntryInfo, tail []byte) error {
		c := replication.Committed{Index: e.Index, Term: e.Term, Position: e.Position, Bytes: e.Bytes}
		if e.Kind == 0 {
			c.Tail = slices.Clone(tail)
		}
		entries = append(entries, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// restoreOwn takes a snapshot of a shard's machine and restores it from that and the entries.
func (s *shard) restoreOwn(t *testing.T, entries []replication.Committed) {
	t.Helper()
	write, release, err := s.machine.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var state bytes.Buffer
	if err := write(&state); err != nil {
		t.Fatal(err)
	}
	release()
	err = s.machine.Restore(&state, s.machine.Applied(), func(visit func(replication.Committed) error) error {
		for _, e := range entries {
			if err := visit(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
