package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stela-db/stela/log/record"
	"github.com/stela-db/stela/replication"
	"github.com/stela-db/stela/server/meta"
)

const (
	// metaQueue is how many requests may wait at the metadata's leader. Those who find no room wait outside.
	metaQueue = 1024
	// metaBatch is how many requests, and metaBatchBytes about how many bytes of records, go into one entry.
	metaBatch      = 256
	metaBatchBytes = 1 << 20
	// metaTimeout bounds a request whose caller did not say how long it waits.
	metaTimeout = 30 * time.Second
	// metaRetry is how long to wait before the leader is asked for again when nothing tells of a change.
	metaRetry = 50 * time.Millisecond
)

// A metaCall is one request at the metadata's leader.
type metaCall struct {
	request meta.Request
	answer  chan metaAnswer // has room for the one answer
}

type metaAnswer struct {
	response meta.Response
	version  uint64 // of the view that has it
	err      error
}

// decideAll takes requests until close, as many at once as there are: they become one entry.
func (c *cluster) decideAll() {
	batch := make([]*metaCall, 0, metaBatch)
	for {
		select {
		case <-c.ctx.Done():
			return
		case call := <-c.calls:
			batch = append(batch[:0], call)
		}
		for more := true; more && len(batch) < metaBatch; {
			select {
			case call := <-c.calls:
				batch = append(batch, call)
			default:
				more = false
			}
		}
		for rest := batch; len(rest) > 0; {
			rest = rest[c.decide(rest):]
		}
	}
}

// decide answers some of the calls, at least the first, and returns how many.
func (c *cluster) decide(calls []*metaCall) int {
	c.mu.Lock()
	leading, term, fork := c.leading, c.term, c.state.Fork()
	c.mu.Unlock()
	if !leading {
		for _, call := range calls {
			call.answer <- metaAnswer{err: ErrNotController}
		}
		return len(calls)
	}
	var notes []byte
	answers := make([]metaAnswer, 0, len(calls))
	for _, call := range calls {
		if len(notes) > metaBatchBytes {
			break
		}
		records, response, err := fork.Handle(time.Now(), call.request)
		answers = append(answers, metaAnswer{response: response, err: err})
		for _, entry := range records {
			if err := fork.Replay(entry, nil); err != nil {
				panic(fmt.Sprintf("BUG: metadata record of our own is refused: %v", err))
			}
			notes = record.AppendNote(notes, noteMeta, entry)
		}
	}
	err := c.commit(notes, term)
	if errors.Is(err, record.ErrTooLarge) && len(answers) > 1 {
		return c.decide(calls[:1]) // so that nobody is refused for what others ask
	}
	if err == nil && len(notes) > 0 {
		c.spread(fork.View().Version())
	}
	for i := range answers {
		answers[i].version = fork.View().Version()
		if err != nil {
			answers[i] = metaAnswer{err: err}
		}
		calls[i].answer <- answers[i]
	}
	return len(answers)
}

// commit replicates notes. Without notes it makes sure that what was decided was decided by the leader.
func (c *cluster) commit(notes []byte, term record.Term) error {
	if len(notes) == 0 {
		ctx, cancel := context.WithTimeout(c.ctx, metaTimeout)
		defer cancel()
		if err := c.group.VerifyLeader(ctx); err != nil {
			return ErrNotController
		}
		return nil
	}
	f := c.broker.config.Pool.Get(record.TailBytes(0, len(notes)))
	record.AppendTail(f.Bytes()[:0], nil, notes, term)
	proposal, err := c.group.Propose(f, term)
	if err == nil {
		_, err = proposal.Wait()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, record.ErrTooLarge):
		return fmt.Errorf("metadata: %w: %w", ErrInvalidRequest, err)
	case errors.Is(err, replication.ErrNotLeader), errors.Is(err, replication.ErrSkipped), errors.Is(err, replication.ErrNotReady):
		return ErrNotController
	default:
		return fmt.Errorf("metadata: %w: %w", ErrTimedOut, err)
	}
}

// submit hands a request to the leader, which this node is or was a moment ago.
func (c *cluster) submit(ctx context.Context, request meta.Request) metaAnswer {
	call := &metaCall{request: request, answer: make(chan metaAnswer, 1)}
	select {
	case c.calls <- call:
	case <-ctx.Done():
		return metaAnswer{err: ErrNotController}
	case <-c.ctx.Done():
		return metaAnswer{err: ErrShuttingDown}
	}
	select {
	case answer := <-call.answer:
		return answer
	case <-ctx.Done():
		return metaAnswer{err: ErrTimedOut}
	case <-c.ctx.Done():
		return metaAnswer{err: ErrTimedOut}
	}
}

// ask brings a request to the metadata's leader, wherever that is, and returns when this node knows what came of it.
func (c *cluster) ask(ctx context.Context, request meta.Request) (meta.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, metaTimeout)
	defer cancel()
	for {
		changed := c.watch()
		answer := c.askOnce(ctx, request)
		if answer.err == nil {
			c.await(ctx, answer.version)
			return answer.response, nil
		}
		if !c.mayRetry(request, answer.err) {
			return nil, answer.err
		}
		retry := time.NewTimer(metaRetry)
		select {
		case <-changed:
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			return nil, answer.err
		case <-c.ctx.Done():
			retry.Stop()
			return nil, ErrShuttingDown
		}
		retry.Stop()
	}
}

func (c *cluster) askOnce(ctx context.Context, request meta.Request) metaAnswer {
	switch leader := c.group.Leader(); {
	case leader.Local:
		if _, err := encodeRequest(request); err != nil { // what is too large is that on every node
			return metaAnswer{err: err}
		}
		return c.submit(ctx, request)
	case leader.Node >= 0 && leader.Node != c.broker.config.Node:
		return c.forward(ctx, leader.Node, request)
	default:
		return metaAnswer{err: ErrNotController}
	}
}

// mayRetry reports whether a request may be made again: when it surely was not decided, or when twice does no harm.
func (c *cluster) mayRetry(request meta.Request, err error) bool {
	if errors.Is(err, ErrNotController) {
		return true
	}
	if !errors.Is(err, ErrTimedOut) {
		return false
	}
	switch request.(type) {
	case *meta.RegisterBroker, *meta.AllocateProducerIDs:
		return true
	default:
		return false
	}
}

// await waits until this node's view has a version. When ctx ends before, the request was a success all the same.
func (c *cluster) await(ctx context.Context, version uint64) {
	for {
		changed := c.watch()
		if c.view().Version() >= version {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-c.ctx.Done():
			return
		}
	}
}

// askFor is ask with the type of the answer.
func askFor[R any](ctx context.Context, c *cluster, request meta.Request) (*R, error) {
	response, err := c.ask(ctx, request)
	if err != nil {
		return nil, err
	}
	typed, ok := response.(*R)
	if !ok {
		return nil, fmt.Errorf("metadata answered %T with %T: %w", request, response, ErrInvalidRequest)
	}
	return typed, nil
}

// CreateTopics asks the metadata's leader. When it returns, this node knows the topics.
func (b *Broker) CreateTopics(ctx context.Context, request *meta.CreateTopics) (*meta.CreateTopicsResult, error) {
	result, err := askFor[meta.CreateTopicsResult](ctx, b.cluster, request)
	if err != nil {
		return nil, err
	}
	view := b.View()
	for i := range result.Topics {
		if t := &result.Topics[i]; t.Err == nil {
			t.Configs = view.DescribeConfigs(t.Set)
		}
	}
	return result, nil
}

// DeleteTopics asks the metadata's leader. When it returns, this node knows that the topics are gone.
func (b *Broker) DeleteTopics(ctx context.Context, request *meta.DeleteTopics) (*meta.DeleteTopicsResult, error) {
	return askFor[meta.DeleteTopicsResult](ctx, b.cluster, request)
}

// CreatePartitions asks the metadata's leader. When it returns, this node knows the partitions.
func (b *Broker) CreatePartitions(ctx context.Context, request *meta.CreatePartitions) (*meta.CreatePartitionsResult, error) {
	return askFor[meta.CreatePartitionsResult](ctx, b.cluster, request)
}

// AlterConfigs asks the metadata's leader. When it returns, this node knows the configs.
func (b *Broker) AlterConfigs(ctx context.Context, request *meta.AlterConfigs) (*meta.AlterConfigsResult, error) {
	return askFor[meta.AlterConfigsResult](ctx, b.cluster, request)
}

// IncrementalAlterConfigs asks the metadata's leader. When it returns, this node knows the configs.
func (b *Broker) IncrementalAlterConfigs(ctx context.Context, request *meta.IncrementalAlterConfigs) (*meta.AlterConfigsResult, error) {
	return askFor[meta.AlterConfigsResult](ctx, b.cluster, request)
}

// allocateProducerIDs takes a block of producer ids.
func (c *cluster) allocateProducerIDs(ctx context.Context) (*meta.ProducerIDBlock, error) {
	return askFor[meta.ProducerIDBlock](ctx, c, &meta.AllocateProducerIDs{Node: c.broker.config.Node})
}
