package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/internal/process"
)

// A demoCluster is the tour's three nodes.
type demoCluster struct {
	localCluster
	nodes []*process.Process // by node number less one
	files []*os.File         // their logs
}

// logs returns the folder of all processes' logs.
func (c *demoCluster) logs() string { return filepath.Join(c.Data, "logs") }

// running returns the processes that were started.
func (c *demoCluster) running() []*process.Process {
	var all []*process.Process
	for _, node := range c.nodes {
		if node != nil {
			all = append(all, node)
		}
	}
	return all
}

// logFile opens a process's log for appending.
func (c *demoCluster) logFile(name string) (*os.File, error) {
	if err := os.MkdirAll(c.logs(), 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for logs: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(c.logs(), name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open a log: %w", err)
	}
	c.files = append(c.files, file)
	return file, nil
}

// startNode starts or restarts a node; its log goes on.
func (c *demoCluster) startNode(node int) error {
	log, err := c.logFile("node-" + strconv.Itoa(node))
	if err != nil {
		return err
	}
	p, err := c.start(node, log, "")
	if err != nil {
		return err
	}
	c.nodes[node-1] = p
	return nil
}

// findPorts takes the default ports or, when somebody has them, others.
func (c *demoCluster) findPorts() (moved bool, err error) {
	for _, ports := range []struct {
		port     *int
		standard int
	}{{&c.KafkaPort, defaultKafkaPort}, {&c.HTTPPort, defaultHTTPPort}, {&c.RaftPort, defaultRaftPort}} {
		if *ports.port, err = process.FreePorts(c.Host, ports.standard, c.Nodes); err != nil {
			return false, err
		}
		moved = moved || *ports.port != ports.standard
	}
	return moved, nil
}

func (d *demo) showCluster(ctx context.Context) error {
	c := &d.cluster
	c.Nodes, c.Host = demoNodes, "127.0.0.1"
	c.nodes = make([]*process.Process, c.Nodes)
	moved, err := c.findPorts()
	if err != nil {
		return err
	}
	if moved {
		d.stage.say("the usual ports are taken; this cluster has Kafka from %d, HTTP from %d", c.KafkaPort, c.HTTPPort)
	}
	began := time.Now()
	for node := 1; node <= c.Nodes; node++ {
		if err := c.startNode(node); err != nil {
			return err
		}
		d.stage.say("node %d: process %d, kafka %s, http %s", node, c.nodes[node-1].ID(), c.kafka(node), c.http(node))
	}
	if err := c.allReady(ctx); err != nil {
		return err
	}
	d.stage.say("formed and ready after %.2f s; data in %s", time.Since(began).Seconds(), c.Data)
	return nil
}

// allReady waits for all nodes and gives up when one ends.
func (c *demoCluster) allReady(ctx context.Context) error {
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for i, p := range c.nodes {
		go func() { // cancel ends it, if the node does not
			select {
			case <-p.Done():
				cancel(fmt.Errorf("node %d ended: %s", i+1, describeEnd(p.Err())))
			case <-waiting.Done():
			}
		}()
	}
	if err := c.waitReady(waiting); err != nil {
		return errors.Join(context.Cause(waiting), err)
	}
	return nil
}

// client returns a Kafka client of the cluster.
func (c *demoCluster) client(options ...kgo.Opt) (*kgo.Client, error) {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.brokers()...), kgo.MetadataMinAge(50 * time.Millisecond), kgo.DialTimeout(dialTimeout),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("set up a client: %w", err)
	}
	return cl, nil
}

// leader returns the node that leads partition 0 of a topic.
func (c *demoCluster) leader(ctx context.Context, topic string) (int, error) {
	cl, err := c.client()
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	ticker := time.NewTicker(readyEvery)
	defer ticker.Stop()
	for {
		metadata, err := kadm.NewClient(cl).Metadata(ctx, topic)
		if leader := int(metadata.Topics[topic].Partitions[0].Leader); err == nil && leader >= 1 && leader <= c.Nodes {
			return leader, nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("find the leader of %s: %w", topic, errors.Join(ctx.Err(), err))
		case <-ticker.C:
		}
	}
}
