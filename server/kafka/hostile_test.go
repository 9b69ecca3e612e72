package kafka_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/server"
)

// bomb returns a small batch whose records are as many zeroes once they are decompressed.
func bomb(t testing.TB, codec record.Codec, zeroes int) []byte {
	t.Helper()
	times := 1
	if codec == record.CodecGzip || codec == record.CodecZstd { // frames may follow one another
		times, zeroes = zeroes>>20, 1<<20
	}
	packed, err := new(record.Codecs).Compress(nil, codec, make([]byte, zeroes))
	if err != nil {
		t.Fatal(err)
	}
	packed = bytes.Repeat(packed, times)
	b := record.Batch(append(batch(t, 1000, "x")[:record.BatchHeaderBytes], packed...))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint16(b[21:], uint16(codec))
	b.SetCRC()
	return b
}

func TestBombsAreRefused(t *testing.T) {
	address := node(t)
	w := &walk{TB: t, conn: dialNode(t, address), version: 9}
	w.topic("bombs")
	const zeroes = 80 << 20 // the broker takes 64 MiB
	for codec, size := range map[record.Codec]int{record.CodecGzip: zeroes, record.CodecSnappy: 20 << 20, record.CodecLZ4: zeroes, record.CodecZstd: zeroes} {
		packed := bomb(t, codec, size)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		out := ask(t, w.conn, produceRequest(9, "bombs", packed)).(*kmsg.ProduceResponse)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		code := out.Topics[0].Partitions[0].ErrorCode
		if code != 2 && code != 10 && code != 87 {
			t.Errorf("%s: code %d", codec, code)
		}
		if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 400 || took > 10*time.Second {
			t.Errorf("%s: a batch of %d bytes took %d MiB and %s", codec, len(packed), allocated, took)
		}
	}
	out := ask(t, w.conn, produceRequest(9, "bombs", batch(t, 1000, "good"))).(*kmsg.ProduceResponse)
	w.code("a good batch", out.Topics[0].Partitions[0].ErrorCode, 0)
}

// TestRepetitionsAreAnsweredOnce: a name takes a few bytes in a request, what is told of it may take thousands in the answer.
func TestRepetitionsAreAnsweredOnce(t *testing.T) {
	w := &walk{TB: t, conn: dialNode(t, node(t)), version: 9}
	w.topic("repeated")
	const times = 5000
	configs := kmsg.NewPtrDescribeConfigsRequest()
	configs.SetVersion(4)
	topics := kmsg.NewPtrMetadataRequest()
	topics.SetVersion(9)
	groups := kmsg.NewPtrDescribeGroupsRequest()
	groups.SetVersion(5)
	offsets := kmsg.NewPtrOffsetFetchRequest()
	offsets.SetVersion(8)
	coordinators := kmsg.NewPtrFindCoordinatorRequest()
	coordinators.SetVersion(4)
	for range times {
		configs.Resources = append(configs.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "repeated"})
		topics.Topics = append(topics.Topics, kmsg.MetadataRequestTopic{Topic: new("repeated")})
		groups.Groups = append(groups.Groups, "g")
		offsets.Groups = append(offsets.Groups, kmsg.OffsetFetchRequestGroup{Group: "g"})
		coordinators.CoordinatorKeys = append(coordinators.CoordinatorKeys, "g")
	}
	for what, n := range map[string]int{
		"configs":      len(ask(t, w.conn, configs).(*kmsg.DescribeConfigsResponse).Resources),
		"topics":       len(ask(t, w.conn, topics).(*kmsg.MetadataResponse).Topics),
		"groups":       len(ask(t, w.conn, groups).(*kmsg.DescribeGroupsResponse).Groups),
		"offsets":      len(ask(t, w.conn, offsets).(*kmsg.OffsetFetchResponse).Groups),
		"coordinators": len(ask(t, w.conn, coordinators).(*kmsg.FindCoordinatorResponse).Coordinators),
	} {
		if n != 1 {
			t.Errorf("%s: %d answers to a name that is asked for %d times", what, n, times)
		}
	}
}

func TestHostileBatches(t *testing.T) {
	address := node(t)
	w := &walk{TB: t, conn: dialNode(t, address), version: 9}
	w.topic("hostile")
	edit := func(change func(b record.Batch)) []byte {
		b := record.Batch(batch(t, 1000, "one", "two"))
		change(b)
		b.SetCRC()
		return b
	}
	for what, c := range map[string]struct {
		records []byte
		codes   []int16
	}{
		"wrong crc":          {func() []byte { b := batch(t, 1000, "one"); b[len(b)-1] ^= 1; return b }(), []int16{2}},
		"format 1":           {edit(func(b record.Batch) { b[16] = 1 }), []int16{2, 87}},
		"length too long":    {edit(func(b record.Batch) { b[8] = 1 }), []int16{2, 87}},
		"length negative":    {edit(func(b record.Batch) { b[8] = 0xff }), []int16{2, 87}},
		"codec 5":            {edit(func(b record.Batch) { b[22] |= 5 }), []int16{76}},
		"codec without data": {edit(func(b record.Batch) { b[22] |= 4 }), []int16{2, 87}},
		"count too large":    {edit(func(b record.Batch) { b[57] = 0x7f }), []int16{2, 87}},
		"no records":         {edit(func(b record.Batch) { b[60] = 0 }), []int16{2, 87}},
		"last delta":         {edit(func(b record.Batch) { b[26] = 9 }), []int16{2, 87}},
		"control":            {edit(func(b record.Batch) { b[22] |= 0x20 }), []int16{2, 87}},
		"transactional":      {edit(func(b record.Batch) { b[22] |= 0x10 }), []int16{48}},
		"two batches":        {append(batch(t, 1000, "one"), batch(t, 1000, "two")...), []int16{87}},
		"nothing":            {nil, []int16{87}},
		"a few bytes":        {[]byte("record"), []int16{87}},
	} {
		out := ask(t, w.conn, produceRequest(9, "hostile", c.records)).(*kmsg.ProduceResponse)
		found := false
		for _, code := range c.codes {
			found = found || out.Topics[0].Partitions[0].ErrorCode == code
		}
		if !found {
			t.Errorf("%s: code %d, wanted %v", what, out.Topics[0].Partitions[0].ErrorCode, c.codes)
		}
	}
	if got := w.listOffset("hostile", -1); got.Offset != 10 {
		t.Errorf("the partition ends at %d, wanted 10: something hostile was stored", got.Offset)
	}
}

// Hundreds of connections send what they should not, while one produces and fetches as if nothing happened.
func TestOthersNoticeNothing(t *testing.T) {
	address := node(t, func(c *server.Config) { c.Logger = nil })
	good := &walk{TB: t, conn: dialNode(t, address), version: 9}
	good.topic("good")
	quiet := heap()
	random := rand.New(rand.NewPCG(1, 2))
	const rounds, each = 30, 10
	for range rounds {
		ended := make(chan error, each)
		for range each {
			attack := attack(t, random)
			go func() { ended <- throw(address, attack) }()
		}
		out := ask(t, good.conn, produceRequest(9, "good", batch(t, 1000, "more"))).(*kmsg.ProduceResponse)
		good.code("produce", out.Topics[0].Partitions[0].ErrorCode, 0)
		p := ask(t, good.conn, func() *kmsg.FetchRequest { in := good.fetchRequest("good", 0); in.Version = 9; return in }()).(*kmsg.FetchResponse)
		good.code("fetch", p.Topics[0].Partitions[0].ErrorCode, 0)
		for range each {
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
	}
	if grown := heap() - quiet; grown > 100<<20 {
		t.Errorf("%d MiB more are in use", grown>>20)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// attack returns bytes that begin like something and go wrong.
func attack(t testing.TB, random *rand.Rand) []byte {
	noise := make([]byte, random.IntN(2000))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	keys := []int16{0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 32, 33, 36, 37, 42, 44, 47, 60, 99}
	switch random.IntN(4) {
	case 0: // bytes of no kind
		return noise
	case 1: // a header, and noise for a body
		out := binary.BigEndian.AppendUint32(nil, uint32(10+len(noise)))
		out = binary.BigEndian.AppendUint16(out, uint16(keys[random.IntN(len(keys))]))
		out = binary.BigEndian.AppendUint16(out, uint16(random.IntN(14)))
		out = append(out, 0, 0, 0, 1, 0xff, 0xff)
		return append(out, noise...)
	case 2: // a header that announces much, and little more
		out := binary.BigEndian.AppendUint32(nil, uint32(random.IntN(64<<20)))
		out = binary.BigEndian.AppendUint16(out, uint16(keys[random.IntN(len(keys))]))
		return append(append(out, 0, 7, 0, 0, 0, 1, 0xff, 0xff), noise...)
	default: // a good request with one byte changed
		in := produceRequest(9, "good", batch(t, 1000, "evil"))
		out := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 0}, 0)
		out = append(out, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0)
		out = in.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		out[13+random.IntN(len(out)-13)] ^= byte(1 + random.IntN(255))
		return out
	}
}

// throw sends bytes, says no more, and reads until the server closes.
func throw(address string, attack []byte) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(attack); err != nil {
		return nil // closed already
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return nil
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server keeps a connection open after %x", attack[:min(len(attack), 100)])
	}
	return nil
}
