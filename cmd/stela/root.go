package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stela-db/stela/cmd/internal/command"
)

// general holds the flags that every command has.
type general struct {
	*terminal

	Brokers []string
	HTTP    string
	Output  string
}

const (
	defaultBroker = "127.0.0.1:9092"
	defaultHTTP   = "127.0.0.1:9644"

	// environment begins the name of every variable that stands for a flag.
	environment = "STELA_"

	// answerTimeout bounds one question to a cluster.
	answerTimeout = 15 * time.Second
)

func newRoot(t *terminal) *cobra.Command {
	g := &general{terminal: t}
	root := &cobra.Command{
		Use:   "stela",
		Short: "An event log that speaks the Kafka protocol and is an event store",
		Long: `Stela is an event log server. Kafka clients publish to it and consume from it;
the same log answers "all events of this key" and "append only if nobody was
faster". Three nodes keep every acknowledged event through the loss of any one.

Every flag is also a key of the YAML file named by --config, and an environment
variable: --data-shards is data-shards in the file and STELA_DATA_SHARDS. The
command line wins over the environment, the environment over the file.`,
		Example: `  stela demo                      the tour: a cluster, services, a crash, a rebuild
  stela serve                     one node on 127.0.0.1:9092
  stela topic create orders -p 6
  echo hello | stela produce orders
  stela consume orders --from-beginning --exit`,
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(t.In)
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return command.Usage(err) })
	flags := root.PersistentFlags()
	flags.String("config", "", "YAML `file` with flags as keys")
	flags.StringSliceVarP(&g.Brokers, "brokers", "b", []string{defaultBroker}, "Kafka `addresses` of the cluster, comma separated")
	flags.StringVar(&g.HTTP, "http", defaultHTTP, "HTTP `address` of a node")
	flags.StringVarP(&g.Output, "output", "o", "table", "table, json or yaml")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := command.ApplySettings(cmd, environment, g.Getenv); err != nil {
			return err
		}
		return command.CheckFormat(g.Output)
	}
	root.AddCommand(
		newServe(g), newCluster(g), newBench(g), newDemo(g), newDemoRole(g), newTopic(g), newProduce(g), newConsume(g), newGroup(g),
		newStream(g), newReplay(g), newDump(g), newVersion(g),
	)
	command.CheckArguments(root)
	return root
}

// print writes value as the chosen format says; tables draw it for people.
func (g *general) print(value any, tables ...*command.Table) error {
	return command.Print(g.Out, g.Output, value, tables...)
}

// parent returns a command that only holds others.
func parent(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}

// onlyOne refuses more than one of some flags.
func onlyOne(cmd *cobra.Command, names ...string) error {
	var given []string
	for _, name := range names {
		if cmd.Flag(name).Changed {
			given = append(given, "--"+name)
		}
	}
	if len(given) > 1 {
		return command.Usagef("%s exclude each other; give one", strings.Join(given, " and "))
	}
	return nil
}
