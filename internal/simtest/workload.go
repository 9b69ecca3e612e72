package simtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/internal/network"
)

const (
	workTopic      = "work"
	workPartitions = 6
	workGroup      = "workers"
	streamTopic    = "entities"
	streamCount    = 4
)

// Workload is the clients of one run: producers, a reader that follows, a consumer
// group that commits, and appenders that race for the versions of a few streams.
type Workload struct {
	history *History
	network network.Network
	seeds   []string // Kafka addresses
	doors   []string // HTTP addresses
	stop    context.CancelFunc
	group   sync.WaitGroup
	random  func() *rand.Rand
}

func (w *Workload) options(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(w.seeds...),
		kgo.Dialer(func(ctx context.Context, _, address string) (net.Conn, error) { return w.network.Dial(ctx, address) }),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.RequestTimeoutOverhead(5 * time.Second),
		kgo.ProduceRequestTimeout(5 * time.Second),
	}, more...)
}

// Create makes the topics; it tries until ctx ends, since the cluster may still be forming.
func (w *Workload) Create(ctx context.Context) error {
	client, err := kgo.NewClient(w.options()...)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	yes := "true"
	for name, configs := range map[string]map[string]*string{workTopic: nil, streamTopic: {"eventstore.enable": &yes}} {
		for {
			answer, err := admin.CreateTopic(ctx, workPartitions, -1, configs, name)
			if err == nil && (answer.Err == nil || errors.Is(answer.Err, kerr.TopicAlreadyExists)) || errors.Is(err, kerr.TopicAlreadyExists) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("create topic %s: %w (last: %w, %w)", name, ctx.Err(), err, answer.Err)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

// Start runs the clients until Stop. It returns after each producer has its id: kgo
// holds a lock while it asks for one, and a goroutine that waits for a lock stops
// virtual time, which would be for ever if a fault came in between.
func (w *Workload) Start(producers, appenders int) {
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	var begun sync.WaitGroup
	for i := range producers {
		begun.Add(1)
		w.run(func() { w.produce(ctx, fmt.Sprint("p", i), begun.Done) })
	}
	begun.Wait()
	for i := range appenders {
		w.run(func() { w.append(ctx, fmt.Sprint("a", i)) })
	}
	w.run(func() { w.follow(ctx, "follower") })
	w.run(func() { w.consume(ctx) })
}

func (w *Workload) run(f func()) {
	w.group.Go(f) // ends by Stop
}

// Stop ends the clients and waits for them.
func (w *Workload) Stop() {
	w.stop()
	w.group.Wait()
}

// produce sends rising numbers to random partitions, idempotently, a few in flight. It calls begun after the first.
func (w *Workload) produce(ctx context.Context, name string, begun func()) {
	client, err := kgo.NewClient(w.options(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.DefaultProduceTopic(workTopic))...)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	defer client.Close()
	random := w.random()
	for sequence := 0; ctx.Err() == nil; sequence++ {
		value := fmt.Sprintf("%s %d", name, sequence)
		record := &kgo.Record{Partition: int32(random.IntN(workPartitions)), Value: []byte(value)}
		client.Produce(ctx, record, func(r *kgo.Record, err error) {
			if err == nil {
				w.history.Acked(r.Partition, r.Offset, value)
			}
		})
		if sequence == 0 {
			_ = client.Flush(ctx)
			begun()
		}
		if pause(ctx, time.Duration(random.IntN(200))*time.Millisecond) != nil {
			break
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow reads every partition from its beginning and never goes back.
func (w *Workload) follow(ctx context.Context, name string) {
	client, err := kgo.NewClient(w.options(kgo.ConsumePartitions(fromStart()), kgo.FetchMaxWait(500*time.Millisecond))...)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			w.history.Read(name, r.Partition, r.Offset, string(r.Value))
		})
	}
}

func fromStart() map[string]map[int32]kgo.Offset {
	partitions := map[int32]kgo.Offset{}
	for i := range int32(workPartitions) {
		partitions[i] = kgo.NewOffset().At(0)
	}
	return map[string]map[int32]kgo.Offset{workTopic: partitions}
}

// consume is one member of a group that commits what it read, leaves now and then and comes back.
func (w *Workload) consume(ctx context.Context) {
	random := w.random()
	for ctx.Err() == nil {
		client, err := kgo.NewClient(w.options(kgo.ConsumerGroup(workGroup), kgo.ConsumeTopics(workTopic), kgo.DisableAutoCommit(),
			kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(time.Second), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		first := map[int32]bool{}
		until := time.Now().Add(time.Duration(5+random.IntN(20)) * time.Second)
		for ctx.Err() == nil && time.Now().Before(until) {
			poll, cancel := context.WithTimeout(ctx, time.Second)
			fetches := client.PollFetches(poll)
			cancel()
			fetches.EachRecord(func(r *kgo.Record) {
				if !first[r.Partition] {
					first[r.Partition] = true
					w.history.Resumed(workGroup, r.Partition, r.Offset)
				}
				w.history.Saw(r.Partition, r.Offset, string(r.Value))
			})
			w.commit(ctx, client, fetches.Records())
		}
		client.Close()
	}
}

func (w *Workload) commit(ctx context.Context, client *kgo.Client, records []*kgo.Record) {
	if len(records) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if client.CommitRecords(limited, records...) != nil {
		return // unknown: it may have been stored
	}
	for _, r := range records {
		w.history.Committed(workGroup, r.Partition, r.Offset+1)
	}
}

// append races with the other appenders: each reads a stream's head and appends one event at the version it saw.
func (w *Workload) append(ctx context.Context, name string) {
	random := w.random()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return w.network.Dial(ctx, address) }}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	expected := map[string]string{}
	for number := 0; ctx.Err() == nil; number++ {
		stream := fmt.Sprint("s", random.IntN(streamCount))
		id := fmt.Sprint(name, "-", number)
		if expected[stream] == "" {
			expected[stream] = "none"
		}
		for ctx.Err() == nil { // the same event until its fate is known
			url := fmt.Sprintf("http://%s/v1/topics/%s/streams/%s", w.doors[random.IntN(len(w.doors))], streamTopic, stream)
			outcome := w.post(ctx, client, url, expected[stream], id)
			if outcome.version >= 0 && outcome.done {
				w.history.Appended(stream, outcome.version, id)
			}
			if outcome.version >= 0 {
				expected[stream] = fmt.Sprint(outcome.version)
			}
			if pause(ctx, time.Duration(random.IntN(300))*time.Millisecond) != nil || outcome.done || outcome.conflict {
				break
			}
		}
	}
}

type outcome struct {
	version  int64 // the stream's head as far as the answer tells, -1 unknown
	done     bool
	conflict bool
}

func (w *Workload) post(ctx context.Context, client *http.Client, url, expected, id string) outcome {
	body, _ := json.Marshal([]map[string]any{{"specversion": "1.0", "id": id, "type": "sim.happened.v1", "source": "/sim", "data": map[string]string{"id": id}}})
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return outcome{version: -1}
	}
	request.Header.Set("Content-Type", "application/cloudevents-batch+json")
	request.Header.Set("Expected-Version", expected)
	response, err := client.Do(request)
	if err != nil {
		return outcome{version: -1}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return outcome{version: -1}
	}
	var answer struct {
		LastVersion int64 `json:"lastVersion"`
		Actual      int64 `json:"actual"`
	}
	if json.Unmarshal(text, &answer) != nil {
		return outcome{version: -1}
	}
	switch response.StatusCode {
	case http.StatusCreated, http.StatusOK:
		return outcome{version: answer.LastVersion, done: true}
	case http.StatusConflict:
		return outcome{version: answer.Actual, conflict: true}
	default:
		return outcome{version: -1}
	}
}

// ReadAll reads the whole log at rest.
func (w *Workload) ReadAll(ctx context.Context) (Final, error) {
	final := Final{Partitions: map[int32][]string{}, Streams: map[string][]string{}}
	client, err := kgo.NewClient(w.options(kgo.ConsumePartitions(fromStart()))...)
	if err != nil {
		return final, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, workTopic)
	if err != nil {
		return final, fmt.Errorf("list end offsets: %w", err)
	}
	if err := ends.Error(); err != nil {
		return final, fmt.Errorf("list end offsets: %w", err)
	}
	left := 0
	ends.Each(func(o kadm.ListedOffset) { left += int(o.Offset) })
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return final, fmt.Errorf("read all: %d records are missing: %w", left, ctx.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			final.Partitions[r.Partition] = append(final.Partitions[r.Partition], string(r.Value))
			left--
		})
	}
	return final, w.readStreams(ctx, &final)
}

func (w *Workload) readStreams(ctx context.Context, final *Final) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return w.network.Dial(ctx, address) }}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	for i := range streamCount {
		stream := fmt.Sprint("s", i)
		for {
			url := fmt.Sprintf("http://%s/v1/topics/%s/streams/%s?from=%d&limit=1000", w.doors[0], streamTopic, stream, len(final.Streams[stream]))
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			response, err := client.Do(request)
			if err != nil {
				return fmt.Errorf("read stream %s: %w", stream, err)
			}
			var events []struct {
				ID string `json:"id"`
			}
			text, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil {
				return fmt.Errorf("read stream %s: %w", stream, err)
			}
			if response.StatusCode == http.StatusNotFound {
				break
			}
			if response.StatusCode != http.StatusOK {
				return fmt.Errorf("read stream %s: status %d: %s", stream, response.StatusCode, text)
			}
			if err := json.Unmarshal(text, &events); err != nil {
				return fmt.Errorf("read stream %s: %w", stream, err)
			}
			if len(events) == 0 {
				break
			}
			for _, event := range events {
				final.Streams[stream] = append(final.Streams[stream], event.ID)
			}
		}
	}
	return nil
}
