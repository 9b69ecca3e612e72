package tidy

// layers says which packages of this module each package may import. A key covers
// the folder and everything below it; the longest key wins. Packages below
// internal may be imported by all, except those that are tests only.
//
// THINK HARD ABOUT THE LAYERING BEFORE CHANGING THIS TABLE.
var layers = map[string][]string{
	"log/record":     {},
	"log/segment":    {"log/record"},
	"log/index":      {"log/record"},
	"log":            {"log/record", "log/segment", "log/index"},
	"replication":    {"log", "log/record"},
	"server/rows":    {"log/record"},
	"server/meta":    {"log/record", "server/rows"},
	"server/group":   {"log/record", "server/rows"},
	"server/broker":  {"log", "log/index", "log/record", "replication", "server/meta", "server/group"},
	"server/kafka":   {"log/record", "server/broker", "server/meta", "server/group"},
	"server/gateway": {"log/record", "server/broker", "server/meta", "server/group"},
	"server": {
		"log", "log/index", "log/record", "replication",
		"server/broker", "server/meta", "server/kafka", "server/gateway",
	},
	"client":              {},
	"services":            {"client"},
	"bench":               {"client"},
	"bench/peers":         {},
	"cmd":                 {"server", "client", "services", "bench", "log", "log/record", "log/segment", "log/index"},
	"internal":            {},
	"internal/directdisk": {"log"},
	"internal/simtest":    {"client", "log", "log/record", "replication", "server", "server/broker", "server/meta"},
	"internal/clients":    {"client", "server"},
}

// testOnly are the packages below internal that no package outside themselves may import.
var testOnly = []string{"internal/simtest", "internal/tidy", "internal/clients"}

// homes names, for every package from outside that product code may use, the
// folders that may import it; the longest key wins. What is not here may not be used.
var homes = map[string][]string{
	"github.com/hashicorp/raft":               {"replication"},
	"github.com/hashicorp/go-hclog":           {"replication"},
	"github.com/cockroachdb/pebble/v2":        {"log/index", "services/state"},
	"github.com/cockroachdb/pebble/v2/vfs":    {"log", "services/state", "internal/directdisk", "internal/simtest"},
	"github.com/valyala/fasthttp":             {"server/gateway", "services/web"},
	"github.com/klauspost/compress":           {"log/record"},
	"github.com/pierrec/lz4/v4":               {"log/record"},
	"github.com/twmb/franz-go/pkg/kmsg":       {"server/kafka", "client", "cmd"},
	"github.com/twmb/franz-go/pkg/kerr":       {"server/kafka", "client", "cmd", "internal/simtest"},
	"github.com/twmb/franz-go/pkg/kgo":        {"client", "cmd", "bench", "internal/simtest"},
	"github.com/twmb/franz-go/pkg/kadm":       {"client", "cmd", "bench", "internal/simtest"},
	"github.com/prometheus":                   {"internal/metrics", "server/gateway"},
	"github.com/spf13/cobra":                  {"cmd"},
	"github.com/spf13/pflag":                  {"cmd"},
	"go.yaml.in/yaml/v3":                      {"cmd"},
	"github.com/google/uuid":                  {"client", "services", "cmd"},
	"golang.org/x/sys":                        {"log", "cmd", "bench", "internal/frame"},
	"github.com/HdrHistogram/hdrhistogram-go": {"bench"},
	"github.com/nats-io/nats.go":              {"bench/peers"},
	"github.com/jackc/pgx/v5":                 {"bench/peers"},
	// Of the standard library: our folder is called log, and slog is passed in.
	"log":    {},
	"unsafe": {},
}

const (
	maxFileLines    = 500
	maxFuncLines    = 70
	maxStructFields = 20
	maxParams       = 5
	maxMethods      = 40
	maxPageLines    = 300 // of ARCHITECTURE.md
)

// emptyNames say nothing as a package name.
var emptyNames = []string{"util", "utils", "common", "helpers", "misc", "base", "types", "shared", "manager", "impl"}

// shortFields are abbreviations that a field's name must not consist of.
var shortFields = []string{"cfg", "cnt", "hdr", "idx", "len", "mgr", "msg", "num", "nxt", "pos", "ptr", "req", "res", "resp", "srv", "svc", "tmp", "val"}

// unfinished finds, in comments of code and scripts, what announces work that was not done.
const unfinished = `\b(TODO|FIXME|XXX|HACK)\b|(?i)\b(for now|simplified|placeholder|stub|stubs|stubbed)\b`

// exceptions break a rule for a reason. The key is what the failing test prints
// before its colon: "package.Name rule".
var exceptions = map[string]string{
	"replication.snapshots.Create parameters": "hashicorp/raft's SnapshotStore asks for them",
	"server/meta.BrokerKeys size":             "a table: one row for each config",
	"server/meta.TopicKeys size":              "a table: one row for each config",
}
