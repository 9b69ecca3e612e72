package bench

import (
	"context"
	"fmt"
	"time"
)

// idleFor is how long a fresh cluster is left alone before its idle memory is read.
const idleFor = 5 * time.Second

// start measures empty folders to first acknowledgement, with one node and with three.
func (r *run) start(ctx context.Context) error {
	for _, nodes := range []int{1, r.config.Nodes} {
		for range r.config.Trials {
			r.tell(fmt.Sprintf("start %d", nodes), 0)
			took, err := r.startOnce(ctx, nodes)
			if err != nil {
				return err
			}
			err = r.report(finding{
				part: nodesPart(nodes), began: time.Now(), config: r.config, figures: Figures{FigureReady: took.Seconds()},
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func nodesPart(nodes int) string {
	if nodes == 1 {
		return partOneNode
	}
	return partThreeNodes
}

func (r *run) startOnce(ctx context.Context, nodes int) (time.Duration, error) {
	if err := r.settle(ctx); err != nil {
		return 0, err
	}
	h, err := r.prepare(ctx, r.peer, nodes)
	if err != nil {
		return 0, err
	}
	defer h.close()
	return h.startAll(ctx)
}

// fresh starts a cluster of the run's own. The caller closes it.
func (r *run) fresh(ctx context.Context) (*hosted, error) {
	r.tell("start", 0)
	h, err := r.prepare(ctx, r.peer, r.config.Nodes)
	if err != nil {
		return nil, err
	}
	if _, err := h.startAll(ctx); err != nil {
		h.close()
		return nil, err
	}
	return h, nil
}

// memory measures what the nodes keep resident: idle, after bulk load, with many loaded partitions.
func (r *run) memory(ctx context.Context) error {
	h, err := r.fresh(ctx)
	if err != nil {
		return err
	}
	defer h.close()
	r.tell("idle", 0)
	if err := pause(ctx, idleFor); err != nil {
		return err
	}
	idle := float64(r.kernel.LargestMemory(h.processes())) / megabyte
	if idle == 0 {
		return fmt.Errorf("read the memory of %s: this system does not tell", r.peer.Name)
	}
	err = r.report(finding{part: partIdle, began: time.Now(), config: r.config, figures: Figures{FigureIdleMemory: idle}})
	if err != nil {
		return err
	}
	bulk := r.config
	bulk.Partitions, bulk.Keys = 12, 0
	if err := r.loaded(ctx, h, partBulk, bulk); err != nil {
		return err
	}
	return r.loaded(ctx, h, partMany, r.config)
}

// loaded reports the memory at the end of a load.
func (r *run) loaded(ctx context.Context, h *hosted, part string, config Config) error {
	f, err := r.produceOn(ctx, h.Cluster, config)
	if err != nil {
		return err
	}
	f.part, f.config = part, config
	return r.report(f)
}
