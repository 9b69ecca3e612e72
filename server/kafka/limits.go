package kafka

import "time"

// Limits bounds what clients can make a server hold. The zero value is usable: each
// field then has its default.
type Limits struct {
	Connections  int           // open at once; default 10,000
	PerAddress   int           // open at once from one IP address but loopback; default 0: no limit of its own
	RequestBytes int           // of one request that creates topics or alters configs, of others at most 10 MiB; default 32 MiB
	ProduceBytes int           // of one Produce request, whose batches are not held together; default 64 MiB
	AnswerBytes  int           // of batches in one Fetch answer; default 16 MiB
	InFlight     int           // Produce requests of one connection that are not answered yet; default 64
	TotalBytes   int64         // of requests of all connections that are being read or handled; default 256 MiB
	TotalAnswers int64         // of batches in Fetch answers being sent on all connections; default 256 MiB
	FirstRequest time.Duration // from the connection to its first request; default 10 s
	Idle         time.Duration // without a request, nothing being under way; default 10 min
	Read         time.Duration // for the next 256 KiB of a request that has begun; default 30 s
	Write        time.Duration // for the next 1 MiB of an answer; default 30 s
	Wait         time.Duration // for a part of TotalBytes or TotalAnswers; default 30 s
}

func (l Limits) withDefaults() Limits {
	setCount := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	setTotal := func(field *int64, value int64) {
		if *field <= 0 {
			*field = value
		}
	}
	setDuration := func(field *time.Duration, value time.Duration) {
		if *field <= 0 {
			*field = value
		}
	}
	setCount(&l.Connections, 10_000)
	setCount(&l.RequestBytes, 32<<20)
	setCount(&l.ProduceBytes, 64<<20)
	setCount(&l.AnswerBytes, 16<<20)
	setCount(&l.InFlight, 64)
	setTotal(&l.TotalBytes, 256<<20)
	setTotal(&l.TotalAnswers, 256<<20)
	setDuration(&l.FirstRequest, 10*time.Second)
	setDuration(&l.Idle, 10*time.Minute)
	setDuration(&l.Read, 30*time.Second)
	setDuration(&l.Write, 30*time.Second)
	setDuration(&l.Wait, 30*time.Second)
	// One request must fit into the whole, or it would wait for ever.
	l.TotalBytes = max(l.TotalBytes, int64(l.RequestBytes+memoryMost), 2*int64(l.ProduceBytes))
	l.TotalAnswers = max(l.TotalAnswers, 2*int64(l.AnswerBytes))
	return l
}

// largest returns the size of the largest request of a key but Produce.
func (l *Limits) largest(api *api) int {
	if api.large {
		return l.RequestBytes
	}
	return min(l.RequestBytes, otherBytes)
}

const (
	// otherBytes bounds requests that neither produce nor create nor alter: as much as the assignments of a group may take,
	// and something around them.
	otherBytes = 10 << 20
	// maxTrailing bounds what may follow the last field of a request. Nothing should, and whatever does is held for nothing.
	maxTrailing = 64
	// readStep and writeStep are the pieces for which Read and Write are granted.
	readStep  = 256 << 10
	writeStep = 1 << 20
	// maxTags bounds the tagged fields of one structure, maxTagBytes each of them.
	maxTags     = 32
	maxTagBytes = 128 << 10
	// maxDepth bounds the nesting of arrays; the deepest layout here has three.
	maxDepth = 8
	// What decoding a request may allocate: floor + factor times its bytes, but no more than most.
	memoryFloor  = 64 << 10
	memoryFactor = 24
	memoryMost   = 64 << 20
	// maxPartitions bounds the partitions of one Produce or Fetch request, and its topics, which may have none.
	maxPartitions = 100_000
	// maxNames bounds the topics, groups or resources of any other request, whose elements are at most maxPartitions in all.
	maxNames = 10_000
	// handOver is how many bytes of batches are collected before they go to the broker.
	handOver = 1 << 20
)
