package meta

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestTree compares a tree with a map, and older trees with what they were.
func TestTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tree tree[uint32, int]
			want map[uint32]int
		}
		var current version
		current.want = map[uint32]int{}
		var versions []version
		for step := range rapid.IntRange(1, 600).Draw(t, "steps") {
			key := uint32(rapid.IntRange(0, 700).Draw(t, "key"))
			want := maps.Clone(current.want)
			if rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				current.tree = current.tree.remove(key)
				delete(want, key)
			} else {
				if rapid.Bool().Draw(t, "ascending") {
					key = uint32(step)
				}
				current.tree = current.tree.put(key, step)
				want[key] = step
			}
			current.want = want
			if step%97 == 0 {
				versions = append(versions, current)
			}
		}
		for _, v := range append(versions, current) {
			if v.tree.count != len(v.want) || !maps.Equal(maps.Collect(v.tree.all()), v.want) {
				t.Fatalf("tree of %d holds something else than the %d pairs it should", v.tree.count, len(v.want))
			}
			keys := slices.Sorted(maps.Keys(v.want))
			from := uint32(rapid.IntRange(0, 701).Draw(t, "from"))
			i, found := slices.BinarySearch(keys, from)
			if value, ok := v.tree.get(from); ok != found || value != v.want[from] {
				t.Fatalf("get %d: %d, %v", from, value, ok)
			}
			var after []uint32
			for key := range v.tree.from(from) {
				after = append(after, key)
			}
			if !slices.Equal(after, keys[i:]) {
				t.Fatalf("from %d: %v, wanted %v", from, after, keys[i:])
			}
			floor, ok := v.tree.floor(from)
			switch {
			case found && floor.key != from, !found && i > 0 && floor.key != keys[i-1], ok != (found || i > 0):
				t.Fatalf("floor of %d: %v, %v", from, floor, ok)
			}
			for _, chunk := range v.tree.chunks {
				if len(chunk) == 0 || len(chunk) > chunkPairs {
					t.Fatalf("chunk of %d", len(chunk))
				}
			}
		}
	})
}
