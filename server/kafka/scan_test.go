package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field below v to something random. Slices have up to three elements.
func fill(random *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if random.IntN(4) == 0 {
			v.SetZero()
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		fill(random, v.Elem())
	case reflect.Struct:
		if tags, ok := reflect.TypeAssert[*kmsg.Tags](v.Addr()); ok {
			*tags = kmsg.Tags{}
			if random.IntN(2) == 0 {
				tags.Set(uint32(50+random.IntN(100)), []byte("tag"))
			}
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && v.Type().Field(i).Name != "Version" {
				fill(random, v.Field(i))
			}
		}
	case reflect.Slice:
		n := random.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(random, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(random, v.Index(i))
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", random.IntN(1000)))
	case reflect.Bool:
		v.SetBool(random.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(random.IntN(120)))
	case reflect.Uint8:
		v.SetUint(uint64(random.IntN(256)))
	default:
		panic("BUG: no random value for " + v.Type().String())
	}
}

// randomRequest returns a request of that key and version with random fields.
func randomRequest(random *rand.Rand, key, version int16) kmsg.Request {
	in := kmsg.RequestForKey(key)
	in.SetVersion(version)
	fill(random, reflect.ValueOf(in).Elem())
	in.SetVersion(version)
	return in
}

// The layouts are what kmsg writes: a scan of a request ends exactly at its end, and no shorter one passes unless kmsg
// reads it too.
func TestScanAgreesWithKmsg(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for i := range table {
		a := &table[i]
		if a.layout == nil {
			continue
		}
		for version := a.min; version <= a.max; version++ {
			t.Run(fmt.Sprintf("%s/%d", a.name, version), func(t *testing.T) {
				for range 50 {
					in := randomRequest(random, a.key, version)
					body := in.AppendTo(nil)
					if in.IsFlexible() != (version >= a.flexible) {
						t.Fatalf("kmsg says flexible %t", in.IsFlexible())
					}
					s := scanner{fields: fields{rest: body, flexible: version >= a.flexible}, version: version, limit: 1 << 20}
					s.structure(a.layout, 0)
					if s.bad != nil || len(s.rest) > 0 {
						t.Fatalf("%d bytes of %d left, error %v, of %+v", len(s.rest), len(body), s.bad, in)
					}
					if _, err := scan(a.layout, body, version, version >= a.flexible); err != nil {
						t.Fatalf("within its memory: %v", err)
					}
					for cut := range body {
						if _, err := scan(a.layout, body[:cut], version, version >= a.flexible); err == nil {
							t.Fatalf("%d bytes of %d pass", cut, len(body))
						} else if !errors.Is(err, errMalformed) {
							t.Fatalf("error of the wrong kind: %v", err)
						}
					}
				}
			})
		}
	}
}

// What kmsg would spend seconds or gigabytes on is refused by looking at a few bytes.
func TestScanRefusesHostileCounts(t *testing.T) {
	uvarint := func(x uint64) []byte { return binary.AppendUvarint(nil, x) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	layoutOf := func(name string) *api {
		for i := range table {
			if table[i].name == name {
				return &table[i]
			}
		}
		t.Fatalf("no api %s", name)
		return nil
	}
	manyTags := func(n int) []byte {
		out := uvarint(uint64(n))
		for i := range n {
			out = append(out, byte(i), 0)
		}
		return out
	}
	for _, c := range []struct {
		what    string
		api     string
		version int16
		body    []byte
	}{
		{"tag count", "api_versions", 3, join([]byte{2, 'a', 2, 'b'}, uvarint(1<<32-1))},
		{"33 tags", "api_versions", 3, join([]byte{2, 'a', 2, 'b'}, manyTags(33))},
		{"tag size", "api_versions", 3, join([]byte{2, 'a', 2, 'b'}, []byte{1, 0}, uvarint(1<<31))},
		{"large tag", "api_versions", 3, join([]byte{2, 'a', 2, 'b'}, []byte{1, 0}, uvarint(maxTagBytes+1), make([]byte, maxTagBytes+1))},
		{"tags not ascending", "api_versions", 3, join([]byte{2, 'a', 2, 'b'}, []byte{2, 5, 0, 5, 0})},
		{"array count", "metadata", 12, join(uvarint(1<<32-1), make([]byte, 100))},
		{"array count of an old version", "metadata", 1, join([]byte{0x7f, 0xff, 0xff, 0xff}, make([]byte, 100))},
		{"negative count", "metadata", 1, []byte{0xff, 0xff, 0xff, 0xfe, 0}},
		{"null where there is no null", "metadata", 0, []byte{0xff, 0xff, 0xff, 0xff}},
		{"string length", "heartbeat", 4, join(uvarint(1<<31), make([]byte, 100))},
		{"long string", "heartbeat", 4, join(uvarint(40_001), make([]byte, 50_000))},
		{"blob length", "join_group", 0, join([]byte{0, 1, 'g', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x7f, 0xff, 0xff, 0xff})},
		{"memory", "metadata", 9, join(uvarint(1<<20+1), bytes.Repeat([]byte{1, 0}, 1<<20), []byte{0, 0, 0, 0})},
		{"varint of many bytes", "api_versions", 3, bytes.Repeat([]byte{0xff}, 20)},
	} {
		a := layoutOf(c.api)
		memory, err := scan(a.layout, c.body, c.version, c.version >= a.flexible)
		if !errors.Is(err, errMalformed) {
			t.Errorf("%s: error %v", c.what, err)
		}
		if memory > 64<<20 {
			t.Errorf("%s: went on to %d bytes", c.what, memory)
		}
	}
	if _, err := scan(layoutOf("api_versions").layout, join([]byte{2, 'a', 2, 'b'}, manyTags(32)), 3, true); err != nil {
		t.Errorf("32 tags: %v", err)
	}
}

// FuzzRequest decodes the rest of a frame after its size as any key: whatever passes the scan, kmsg must read without
// an error and within the memory that the scan announced.
func FuzzRequest(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for i := range table {
		for version := table[i].min; version <= table[i].max; version++ {
			out := binary.BigEndian.AppendUint16(nil, uint16(table[i].key))
			out = binary.BigEndian.AppendUint16(out, uint16(version))
			out = append(out, 0, 0, 0, 1, 0, 2, 'm', 'e')
			if version >= table[i].flexible {
				out = append(out, 0)
			}
			f.Add(randomRequest(random, table[i].key, version).AppendTo(out))
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < headerBytes {
			return
		}
		h := parseHeaderStart(frame)
		for i := range table {
			a := &table[i]
			if a.key != h.key || !a.serves(h.version) || a.layout == nil {
				continue
			}
			in := fields{rest: frame[headerBytes:], flexible: h.version >= a.flexible}
			in.headerEnd()
			if in.bad != nil {
				return
			}
			memory, err := scan(a.layout, in.rest, h.version, in.flexible)
			if err != nil {
				if !errors.Is(err, errMalformed) {
					t.Fatalf("error of the wrong kind: %v", err)
				}
				return
			}
			if memory > memoryFloor+memoryFactor*len(in.rest) {
				t.Fatalf("%d bytes of memory for a body of %d", memory, len(in.rest))
			}
			decoded := kmsg.RequestForKey(h.key)
			decoded.SetVersion(h.version)
			if err := decoded.ReadFrom(in.rest); err != nil {
				t.Fatalf("passed the scan, kmsg says %v", err)
			}
		}
	})
}

// The memory that a scan announces is about what kmsg allocates.
func TestScanTellsMemory(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for i := range table {
		a := &table[i]
		if a.layout == nil {
			continue
		}
		body := largeRequest(random, a.key, a.max).AppendTo(nil)
		memory, err := scan(a.layout, body, a.max, a.max >= a.flexible)
		if err != nil {
			t.Errorf("%s: %v", a.name, err)
			continue
		}
		allocated := allocatedBy(t, a, body)
		if allocated > 3*memory/2+1024 {
			t.Errorf("%s: kmsg allocated %d bytes, the scan said %d, body of %d", a.name, allocated, memory, len(body))
		}
	}
}

// allocatedBy returns how many bytes kmsg allocates to read a body: the least of a few attempts, as others allocate too.
func allocatedBy(t *testing.T, a *api, body []byte) int {
	least := 1 << 40
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		in := kmsg.RequestForKey(a.key)
		in.SetVersion(a.max)
		if err := in.ReadFrom(body); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		least = min(least, int(after.TotalAlloc-before.TotalAlloc))
	}
	return least
}

// largeRequest returns a request with many short elements in each of its outermost slices.
func largeRequest(random *rand.Rand, key, version int16) kmsg.Request {
	in := randomRequest(random, key, version)
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Slice && v.Type().Field(i).IsExported() {
			const n = 500
			v.Field(i).Set(reflect.MakeSlice(v.Field(i).Type(), n, n))
			for j := range n {
				fill(random, v.Field(i).Index(j))
			}
		}
	}
	in.SetVersion(version)
	return in
}
