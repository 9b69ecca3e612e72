package group

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stela-db/stela/log/record"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios print into their files")

// TestScenarios runs the files of testdata: commands, a line of dashes, and what they print.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("scenarios: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScenario(t, file) })
	}
}

func runScenario(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, Config{})
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		commands, _, found := strings.Cut(block+"\n", "----\n")
		if !found { // prose
			out.WriteString(block + "\n\n")
			continue
		}
		out.WriteString(commands + "----\n")
		for line := range strings.SplitSeq(strings.TrimSpace(commands), "\n") {
			s.run(line)
		}
		out.WriteString(s.printed() + "\n")
	}
	got := strings.TrimSpace(out.String()) + "\n"
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// A scene is a leader, a follower that replays the same records, and a clock.
type scene struct {
	t        *testing.T
	config   Config
	now      time.Time
	leader   *Machine
	follower *Machine
	wake     time.Time
	token    uint64
	names    map[uint64]string // of requests that were not answered yet
	out      strings.Builder
	held     []Effects // while commits are held back
	holding  bool
	ids      int
}

func newScene(t *testing.T, config Config) *scene {
	s := &scene{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), names: map[uint64]string{}}
	config.NewMemberID = func() string { s.ids++; return strconv.Itoa(s.ids) }
	s.config = config
	s.leader, s.follower = New(config), New(config)
	s.commit(s.leader.Lead(s.now))
	return s
}

func (s *scene) printed() string {
	text := s.out.String()
	s.out.Reset()
	return text
}

func (s *scene) printf(format string, arguments ...any) {
	fmt.Fprintf(&s.out, format+"\n", arguments...)
}

// commit replays records on both machines, then prints the answers.
func (s *scene) commit(e Effects) {
	s.wake = e.Wake
	if s.holding {
		s.held = append(s.held, e)
		return
	}
	for _, entry := range e.Records {
		for _, m := range []*Machine{s.leader, s.follower} {
			if err := m.Replay(entry, nil); err != nil {
				s.t.Fatalf("replay: %v", err)
			}
		}
	}
	for _, a := range e.Answers {
		name, ok := s.names[a.Token]
		if !ok {
			s.t.Fatalf("answer to token %d, which waits for none", a.Token)
		}
		delete(s.names, a.Token)
		s.printf("%s: %s", name, formatAnswer(a))
	}
}

func (s *scene) advance(d time.Duration) {
	end := s.now.Add(d)
	for !s.wake.IsZero() && !s.wake.After(end) {
		if s.wake.After(s.now) {
			s.now = s.wake
		}
		s.commit(s.leader.Tick(s.now))
	}
	s.now = end
}

func (s *scene) run(line string) {
	words := strings.Fields(line)
	arguments := map[string]string{}
	var rest []string
	for _, w := range words[1:] {
		if key, value, ok := strings.Cut(w, "="); ok {
			arguments[key] = value
		} else {
			rest = append(rest, w)
		}
	}
	switch words[0] {
	case "config":
		s.configure(arguments)
	case "advance":
		d, err := time.ParseDuration(rest[0])
		if err != nil {
			s.t.Fatal(err)
		}
		s.advance(d)
	case "failover":
		s.commit(s.leader.Follow())
		s.leader, s.follower = s.follower, New(s.config)
		s.copyTo(s.follower)
		s.commit(s.leader.Lead(s.now))
	case "hold":
		s.holding = true
	case "release":
		s.holding = false
		held := s.held
		s.held = nil
		wake := s.wake
		for _, e := range held {
			s.commit(e)
		}
		s.wake = wake
	case "waiting":
		s.printf("waiting: %s", strings.Join(slices.Sorted(maps.Values(s.names)), " "))
	default:
		s.token++
		name := arguments["as"]
		if name == "" {
			name = words[0]
		}
		s.names[s.token] = name
		s.commit(s.leader.Handle(s.now, s.token, s.request(words[0], arguments, rest)))
	}
}

func (s *scene) configure(arguments map[string]string) {
	config := s.config
	for key, value := range arguments {
		n, _ := strconv.Atoi(value)
		d, _ := time.ParseDuration(value)
		switch key {
		case "delay":
			config.InitialRebalanceDelay = d
		case "members":
			config.MaxMembers = n
		case "groups":
			config.MaxGroups = n
		case "group-bytes":
			config.MaxGroupBytes = n
		case "retention":
			config.OffsetsRetention = d
		case "check":
			config.RetentionCheckInterval = d
		case "metadata":
			config.MaxOffsetMetadataBytes = n
		default:
			s.t.Fatalf("config %s", key)
		}
	}
	s.config = config
	s.leader, s.follower = New(config), New(config)
	clear(s.names)
	s.commit(s.leader.Lead(s.now))
}

func (s *scene) copyTo(m *Machine) {
	if err := s.leader.Rows(m.Load); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) request(verb string, a map[string]string, rest []string) Request {
	number := func(key string, fallback int) int {
		if a[key] == "" {
			return fallback
		}
		n, err := strconv.Atoi(a[key])
		if err != nil {
			s.t.Fatalf("%s: %v", key, err)
		}
		return n
	}
	length := func(key string, fallback time.Duration) time.Duration {
		if a[key] == "" {
			return fallback
		}
		d, err := time.ParseDuration(a[key])
		if err != nil {
			s.t.Fatal(err)
		}
		return d
	}
	switch verb {
	case "join":
		r := &Join{
			Group: a["g"], MemberID: a["m"], InstanceID: a["i"], ClientID: a["c"], ClientHost: "/127.0.0.1", ProtocolType: "consumer",
			SessionTimeout: length("session", 10*time.Second), RebalanceTimeout: length("rebalance", time.Minute),
			RequireKnownMember: number("v", 5) >= 4, CanSkipAssignment: number("v", 5) >= 9,
		}
		if a["type"] != "" {
			r.ProtocolType = a["type"]
		}
		for p := range strings.SplitSeq(cmpOr(a["p"], "range:t"), ",") {
			name, topics, _ := strings.Cut(p, ":")
			r.Protocols = append(r.Protocols, Protocol{Name: name, Metadata: subscriptionOf(topics)})
		}
		return r
	case "sync":
		r := &Sync{
			Group: a["g"], MemberID: a["m"], InstanceID: a["i"], Generation: int32(number("gen", 1)),
			ProtocolType: a["type"], Protocol: a["p"],
		}
		for _, w := range rest {
			id, data, _ := strings.Cut(w, "->")
			r.Assignments = append(r.Assignments, Assignment{MemberID: id, Data: []byte(data)})
		}
		return r
	case "heartbeat":
		return &Heartbeat{Group: a["g"], MemberID: a["m"], InstanceID: a["i"], Generation: int32(number("gen", 1))}
	case "leave":
		r := &Leave{Group: a["g"]}
		for _, w := range rest {
			id, instance, _ := strings.Cut(w, "/")
			r.Members = append(r.Members, LeaveMember{MemberID: id, InstanceID: instance})
		}
		return r
	case "commit":
		r := &OffsetCommit{
			Group: a["g"], MemberID: a["m"], InstanceID: a["i"], Generation: int32(number("gen", -1)),
			Retention: length("retention", -1), ReportsGroupNotFound: number("v", 8) >= 9,
		}
		for _, w := range rest { // topic:partition:offset:metadata
			f := strings.Split(w+":", ":")
			index, _ := strconv.Atoi(f[1])
			offset, _ := strconv.Atoi(f[2])
			r.Topics = append(r.Topics, CommitTopic{Name: f[0], Partitions: []CommitPartition{{
				Index: int32(index), Number: record.Partition(100 + index), Offset: record.Offset(offset), LeaderEpoch: 3, Metadata: f[3],
			}}})
		}
		return r
	case "fetch":
		return &OffsetFetch{Group: a["g"], All: len(rest) == 0, Topics: topicsOf(rest)}
	case "forget":
		return &OffsetDelete{Group: a["g"], Topics: topicsOf(rest)}
	case "describe":
		return &Describe{Group: a["g"]}
	case "list":
		return &List{States: rest}
	case "delete":
		return &Delete{Group: a["g"]}
	case "gone":
		gone := record.Partition(number("number", 0))
		return &ForgetPartitions{Gone: func(p record.Partition) bool { return p == gone }}
	}
	s.t.Fatalf("command %q", verb)
	return nil
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func topicsOf(words []string) []FetchTopic {
	var topics []FetchTopic
	for _, w := range words {
		name, index, _ := strings.Cut(w, ":")
		n, _ := strconv.Atoi(index)
		topics = append(topics, FetchTopic{Name: name, Partitions: []int32{int32(n)}})
	}
	return topics
}

// subscriptionOf returns a consumer's metadata for topics, separated by '+'.
func subscriptionOf(topics string) []byte {
	b := []byte{0, 1}
	names := strings.Split(topics, "+")
	b = binary.BigEndian.AppendUint32(b, uint32(len(names)))
	for _, name := range names {
		b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
		b = append(b, name...)
	}
	return b
}

func formatAnswer(a Answer) string {
	var parts []string
	add := func(format string, arguments ...any) { parts = append(parts, fmt.Sprintf(format, arguments...)) }
	if a.Err != nil {
		add("%s", errorName(a.Err))
	}
	switch r := a.Response.(type) {
	case nil:
		if a.Err == nil {
			add("ok")
		}
	case *JoinResult:
		if r.MemberID != "" {
			add("member=%s", r.MemberID)
		}
		if a.Err != nil {
			break
		}
		add("gen=%d type=%s protocol=%s leader=%s", r.Generation, r.ProtocolType, r.Protocol, r.Leader)
		if r.SkipAssignment {
			add("skip-assignment")
		}
		for _, m := range r.Members {
			topics, _ := parseSubscription(m.Metadata)
			add("[%s %s%s]", m.ID, strings.Join(topics, "+"), suffix("/", m.InstanceID))
		}
	case *SyncResult:
		if a.Err == nil {
			add("type=%s protocol=%s assignment=%q", r.ProtocolType, r.Protocol, r.Assignment)
		}
	case *LeaveResult:
		for _, m := range r.Members {
			add("[%s%s %s]", m.MemberID, suffix("/", m.InstanceID), errorName(m.Err))
		}
	case *CommitResult:
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				add("[%s:%d %s]", topic.Name, p.Index, errorName(p.Err))
			}
		}
	case *FetchResult:
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				add("[%s:%d offset=%d epoch=%d%s]", topic.Name, p.Index, p.Offset, p.LeaderEpoch, suffix(" ", p.Metadata))
			}
		}
		if len(r.Topics) == 0 {
			add("none")
		}
	case *Description:
		add("%s type=%s protocol=%s", r.State, r.ProtocolType, r.Protocol)
		for _, m := range r.Members {
			topics, _ := parseSubscription(m.Metadata)
			add("[%s%s client=%s host=%s topics=%s assignment=%q]", m.ID, suffix("/", m.InstanceID), m.ClientID, m.ClientHost, strings.Join(topics, "+"), m.Assignment)
		}
	case *Listing:
		for _, g := range r.Groups {
			add("[%s %s %s]", g.Group, g.ProtocolType, g.State)
		}
		if len(r.Groups) == 0 {
			add("none")
		}
	default:
		add("%T", r)
	}
	return strings.Join(parts, " ")
}

func suffix(separator, s string) string {
	if s == "" {
		return ""
	}
	return separator + s
}

func errorName(err error) string {
	names := map[error]string{
		ErrUnknownMember: "UnknownMember", ErrIllegalGeneration: "IllegalGeneration", ErrInconsistentProtocol: "InconsistentProtocol",
		ErrInvalidGroupID: "InvalidGroupID", ErrInvalidSessionTimeout: "InvalidSessionTimeout", ErrRebalanceInProgress: "RebalanceInProgress",
		ErrMemberIDRequired: "MemberIDRequired", ErrGroupMaxSize: "GroupMaxSize", ErrFencedInstance: "FencedInstance",
		ErrGroupNotFound: "GroupNotFound", ErrNonEmptyGroup: "NonEmptyGroup", ErrSubscribedToTopic: "SubscribedToTopic",
		ErrOffsetMetadataTooLarge: "OffsetMetadataTooLarge", ErrTooManyGroups: "TooManyGroups", ErrGroupTooLarge: "GroupTooLarge", ErrReset: "Reset",
	}
	if err == nil {
		return "ok"
	}
	for sentinel, name := range names {
		if errors.Is(err, sentinel) {
			return name
		}
	}
	return err.Error()
}
