package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/cmd/internal/command"
	"github.com/stela-db/stela/internal/process"
)

//go:embed snippet
var snippet embed.FS

const (
	articleTopic = "order-events"
	articleOrder = "9827"
	articleValue = `{"orderId":"9827","total":129.00,"status":"CREATED"}`

	// installTimeout bounds npm; without an answer franz-go takes over.
	installTimeout = 20 * time.Second
	snippetTimeout = 15 * time.Second
)

func (d *demo) showArticle(ctx context.Context) error {
	began := time.Now()
	if err := d.placeArticle(ctx); err != nil {
		return err
	}
	placed := time.Now()
	status, err := d.shop.await(ctx, articleOrder)
	if err != nil {
		return err
	}
	d.stage.say("order %s: placed after %.2f s, %s %.2f s later", articleOrder, placed.Sub(began).Seconds(), status, time.Since(placed).Seconds())
	if status != statusShipped {
		return fmt.Errorf("order %s is %s, it should be %s", articleOrder, status, statusShipped)
	}
	return d.history(ctx, articleOrder)
}

// placeArticle runs the article's snippet with kafkajs or, without it, sends the same record.
func (d *demo) placeArticle(ctx context.Context) error {
	dir, err := d.installKafkajs(ctx)
	if err != nil {
		d.stage.say("no kafkajs here (%s); franz-go sends the same record", command.OneLine(err.Error()))
		cl, err := d.cluster.client(kgo.DefaultProduceTopic(articleTopic))
		if err != nil {
			return err
		}
		defer cl.Close()
		if err := cl.ProduceSync(ctx, kgo.StringRecord(articleValue)).FirstErr(); err != nil {
			return fmt.Errorf("produce the article's order: %w", err)
		}
		return nil
	}
	d.stage.say("kafkajs 2.2.4, unmodified, runs the article's snippet:")
	text, err := snippet.ReadFile("snippet/order.mjs")
	if err != nil {
		return fmt.Errorf("read the snippet: %w", err)
	}
	_, body, _ := strings.Cut(string(text), "await producer.send")
	body, _, _ = strings.Cut("await producer.send"+body, "await producer.disconnect")
	for line := range strings.SplitSeq(strings.TrimSpace(body), "\n") {
		d.stage.code(line)
	}
	ctx, cancel := context.WithTimeout(ctx, snippetTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "order.mjs")
	cmd.Dir = dir
	cmd.Env = append(process.Environment(), "BROKERS="+joinAddresses(d.cluster.brokers()), "KAFKAJS_NO_PARTITIONER_WARNING=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run the snippet: %w: %s", err, command.OneLine(string(out)))
	}
	return nil
}

// installKafkajs makes a folder with the snippet and kafkajs.
func (d *demo) installKafkajs(ctx context.Context) (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is missing", program)
		}
	}
	dir := filepath.Join(d.cluster.Data, "kafkajs")
	files, err := fs.Sub(snippet, "snippet")
	if err != nil {
		return "", fmt.Errorf("read the snippet: %w", err)
	}
	if err := os.CopyFS(dir, files); err != nil {
		return "", fmt.Errorf("write the snippet: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("npm could not install it: %w", err)
	}
	return dir, nil
}
