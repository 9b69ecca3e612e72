package command

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// maxConfigBytes bounds the configuration file.
const maxConfigBytes = 1 << 20

// ApplySettings gives every flag that the command line left out its value from
// the environment or, failing that, from the file. An unknown key in the file is
// an error; a key of another command's flag is not. prefix begins the name of every
// variable that stands for a flag: STELA_ makes --data STELA_DATA. The root command has
// a flag --config that names the file.
func ApplySettings(cmd *cobra.Command, prefix string, getenv func(string) (string, bool)) error {
	path := cmd.Flag("config").Value.String()
	if named, ok := getenv(prefix + "CONFIG"); ok && !cmd.Flag("config").Changed {
		path = named
	}
	file, err := readConfig(path, cmd.Root().Name(), flagNames(cmd.Root()))
	if err != nil {
		return err
	}
	var failed error
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if failed != nil || flag.Changed || notASetting(flag.Name) {
			return
		}
		name := prefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		if value, ok := getenv(name); ok {
			failed = setFlag(cmd.Flags(), flag, "environment variable "+name, splitValue(flag, value))
			return
		}
		if key, ok := file[flag.Name]; ok {
			failed = setFlag(cmd.Flags(), flag, fmt.Sprintf("config file %s line %d: key %s", path, key.line, flag.Name), key.values)
		}
	})
	return failed
}

func notASetting(flag string) bool { return flag == "config" || flag == "help" }

// splitValue splits the text of a repeatable flag at white space; other flags keep it whole.
func splitValue(flag *pflag.Flag, text string) []string {
	if isRepeatable(flag) {
		return strings.Fields(text)
	}
	return []string{text}
}

func isRepeatable(flag *pflag.Flag) bool {
	_, ok := flag.Value.(pflag.SliceValue)
	return ok
}

func setFlag(flags *pflag.FlagSet, flag *pflag.Flag, source string, values []string) error {
	for _, value := range values {
		if err := flags.Set(flag.Name, value); err != nil {
			// pflag repeats the flag's name and value; the cause is inside.
			if inner := errors.Unwrap(err); inner != nil {
				err = inner
			}
			return fmt.Errorf("%s: %q is not right: %w", source, value, err)
		}
	}
	return nil
}

// flagNames returns the names of all flags of all commands below root.
func flagNames(root *cobra.Command) []string {
	var names []string
	add := func(flag *pflag.Flag) {
		if !notASetting(flag.Name) && !flag.Hidden && !slices.Contains(names, flag.Name) {
			names = append(names, flag.Name)
		}
	}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.PersistentFlags().VisitAll(add)
		cmd.LocalFlags().VisitAll(add)
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(root)
	return names
}

// A fileKey is one entry of the configuration file.
type fileKey struct {
	values []string
	line   int
}

// readConfig reads the YAML file at path; no path is an empty file. known are the keys it may have.
func readConfig(path, program string, known []string) (map[string]fileKey, error) {
	if path == "" {
		return nil, nil
	}
	next := fmt.Sprintf("write flags without dashes as keys, such as 'data: /var/lib/%s'", program)
	if info, err := os.Stat(path); err == nil && info.Size() > maxConfigBytes {
		return nil, Advise(fmt.Errorf("config file %s has %d bytes, at most %d are read", path, info.Size(), maxConfigBytes), "%s", next)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, Advise(fmt.Errorf("read config file: %w", err), "name a readable file with --config or leave it out")
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, Advise(fmt.Errorf("config file %s: %w", path, err), "%s", next)
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, Advise(fmt.Errorf("config file %s line %d: not a list of 'key: value' lines", path, top.Line), "%s", next)
	}
	keys := map[string]fileKey{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		name, node := top.Content[i], top.Content[i+1]
		where := fmt.Sprintf("config file %s line %d", path, name.Line)
		if !slices.Contains(known, name.Value) {
			return nil, Advise(fmt.Errorf("%s: unknown key %q", where, name.Value), "did you mean %q?", Nearest(name.Value, known))
		}
		if _, twice := keys[name.Value]; twice {
			return nil, Advise(fmt.Errorf("%s: key %q for the second time", where, name.Value), "keep one of the two")
		}
		values, err := scalars(node)
		if err != nil {
			return nil, fmt.Errorf("%s: key %s: %w", where, name.Value, err)
		}
		keys[name.Value] = fileKey{values: values, line: name.Line}
	}
	return keys, nil
}

// scalars turns a YAML value into flag values: a scalar is one, a list is one per
// item, a mapping is one "k=v" per entry.
func scalars(node *yaml.Node) ([]string, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.ScalarNode:
		if node.Tag == "!!null" {
			return nil, nil
		}
		return []string{node.Value}, nil
	case yaml.SequenceNode:
		var values []string
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, errors.New("a list here holds plain values only")
			}
			values = append(values, item.Value)
		}
		return values, nil
	case yaml.MappingNode:
		var pairs []string
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i+1].Kind != yaml.ScalarNode {
				return nil, errors.New("a mapping here holds plain values only")
			}
			pairs = append(pairs, node.Content[i].Value+"="+node.Content[i+1].Value)
		}
		return pairs, nil
	case yaml.DocumentNode, yaml.AliasNode: // a document or an alias of an alias
	}
	return nil, errors.New("not a value that a flag can take")
}

// Nearest returns the candidate with the smallest edit distance to word.
func Nearest(word string, candidates []string) string {
	best, distance := "", len(word)+64
	for _, candidate := range candidates {
		if d := editDistance(word, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// editDistance counts the single-character edits (a swap of neighbours is one) from a to b.
func editDistance(a, b string) int {
	before, previous, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, previous[j]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, previous, row = previous, row, before
	}
	return previous[len(b)]
}
