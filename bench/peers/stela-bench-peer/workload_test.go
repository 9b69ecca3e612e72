package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A fake answers after a millisecond.
type fake struct {
	stored  atomic.Int64
	answer  func(n int64) (conflict bool, err error) // to the n-th request
	asked   atomic.Int64
	stopped bool
}

func (f *fake) version(context.Context) (string, error)               { return "1", nil }
func (f *fake) start(context.Context, string, workload) error         { return nil }
func (f *fake) processes() []int                                      { return []int{7} }
func (f *fake) stop()                                                 { f.stopped = true }
func (f *fake) replay(context.Context) (events, bytes int64, _ error) { return f.stored.Load(), 3, nil }

func (f *fake) store(ctx context.Context, _ int, _ []byte) (bool, error) {
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return false, ctx.Err()
	}
	var conflict bool
	var err error
	if n := f.asked.Add(1); f.answer != nil {
		conflict, err = f.answer(n)
	}
	if !conflict && err == nil {
		f.stored.Add(1)
	}
	return conflict, err
}

func measure(t *testing.T, f *fake, id, config string) (string, error) {
	t.Helper()
	w, err := parseWorkload(id, []string{config})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = run(t.Context(), f, "", w, &events{out: &out})
	if !f.stopped {
		t.Error("the peer was not stopped")
	}
	return regexp.MustCompile(`,"latency":\[.*?\]`).ReplaceAllString(out.String(), ""), err
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		every3rd := func(n int64) (bool, error) { return n%3 == 0, nil }
		got, err := measure(t, &fake{answer: every3rd}, stream, `{"records":3,"warm":2,"record_bytes":10,"keys":5,"clients":1}`)
		want := `{"event":"ready","processes":[7]}
{"event":"begin"}
{"event":"end","seconds":0.005,"records":3,"bytes":30,"figures":{"conflicts":2}}
{"event":"begin","part":"replay"}
{"event":"end","part":"replay","records":5,"bytes":3}
`
		if err != nil || got != want {
			t.Errorf("%v, and told\n%s", err, got)
		}
	})
}

func TestEveryRecordIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		some := func(n int64) (bool, error) {
			if n%300 == 0 {
				return false, errors.New("refused")
			}
			return n%2 == 0, nil
		}
		got, err := measure(t, &fake{answer: some}, stream, `{"records":1000,"warm":0,"clients":64}`)
		if err != nil {
			t.Fatal(err)
		}
		end := regexp.MustCompile(`"records":(\d+),"bytes":\d+,"errors":(\d+)`).FindStringSubmatch(got)
		if end == nil {
			t.Fatalf("told\n%s", got)
		}
		if sum := atoi(t, end[1]) + atoi(t, end[2]); sum != 1000 {
			t.Errorf("%s acknowledged and %s failed, of 1000", end[1], end[2])
		}
	})
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, err := measure(t, &fake{}, single, `{"records":1000,"warm":0,"limit_ns":10000000}`)
		if err != nil || !strings.Contains(got, `"seconds":0.01,"records":10,`) {
			t.Errorf("%v, and told\n%s", err, got)
		}
	})
}

func TestLostEventsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.answer = func(int64) (bool, error) { f.stored.Add(-1); return false, nil }
		if _, err := measure(t, f, stream, `{"records":5,"warm":1}`); err == nil || !strings.Contains(err.Error(), "0 events came of 6") {
			t.Errorf("events that are not there: %v", err)
		}
		refuse := func(int64) (bool, error) { return false, errors.New("disk is full") }
		if _, err := measure(t, &fake{answer: refuse}, bulk, `{"records":5,"warm":0}`); err == nil || !strings.Contains(err.Error(), "disk is full") {
			t.Errorf("nothing was stored: %v", err)
		}
	})
}

func TestWorkloads(t *testing.T) {
	if w, err := parseWorkload(bulk, []string{`{"id":"B1","records":5,"outstanding":8,"clients":3,"title":"x"}`}); err != nil ||
		w.ID != bulk || w.Records != 5 || w.Clients != 8 || w.RecordBytes != 1024 {
		t.Errorf("%+v: %v", w, err)
	}
	for config, why := range map[string]string{
		`{"nodes":2}`: "use 1 or 3", `{"records":-1}`: "positive", `{"keys":1}`: "streams", `{`: "JSON",
	} {
		if _, err := parseWorkload(stream, []string{config}); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", config, err)
		}
	}
	if _, err := parseWorkload("B1", nil); err == nil {
		t.Error("took B1")
	}
}

// TestVersions keeps the module and the list of versions together.
func TestVersions(t *testing.T) {
	versions, err := os.ReadFile("../versions")
	if err != nil {
		t.Fatal(err)
	}
	module, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	pinned := regexp.MustCompile(`(?m)^NATS=(.*)$`).FindSubmatch(versions)
	if pinned == nil || !bytes.Contains(module, []byte("github.com/nats-io/nats-server/v2 v"+string(pinned[1])+" ")) {
		t.Errorf("versions has NATS=%s, go.mod another", pinned[1])
	}
}
