package meta

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// ConfigType is the type of a config's value, with Kafka's numbers of DescribeConfigs.
type ConfigType int8

// The types of configs.
const (
	TypeUnknown  ConfigType = 0
	TypeBoolean  ConfigType = 1
	TypeString   ConfigType = 2
	TypeInt      ConfigType = 3
	TypeShort    ConfigType = 4
	TypeLong     ConfigType = 5
	TypeDouble   ConfigType = 6
	TypeList     ConfigType = 7
	TypeClass    ConfigType = 8
	TypePassword ConfigType = 9
)

// ConfigSource says where a config's value comes from, with Kafka's numbers of DescribeConfigs.
type ConfigSource int8

// The sources of configs, the nearest first.
const (
	SourceUnknown        ConfigSource = 0
	SourceTopic          ConfigSource = 1
	SourceDynamicBroker  ConfigSource = 2
	SourceDynamicCluster ConfigSource = 3
	SourceStaticBroker   ConfigSource = 4
	SourceDefault        ConfigSource = 5
)

// A ConfigKey is one config that a topic or a broker has.
type ConfigKey struct {
	Name          string
	Type          ConfigType
	Default       string
	Null          bool // there is no default: the value is null until it is set
	Documentation string
	Dynamic       bool // of a broker: may be altered while it runs

	// synonyms are, for a topic's config, the broker configs that it takes its default from, the strongest first.
	synonyms []synonym
	check    func(value string) error // beyond the type; may be nil
}

// A synonym is a broker config whose value, times unit, is a topic config's default.
type synonym struct {
	name string
	unit int64 // 1 for what is taken as it is
}

// Sensitive reports whether the value must not be told.
func (k *ConfigKey) Sensitive() bool { return k.Type == TypePassword }

// Check returns an error that wraps ErrInvalidConfig when the config may not have this value.
func (k *ConfigKey) Check(value string) error {
	err := checkType(k.Type, value)
	if err == nil && k.check != nil {
		err = k.check(value)
	}
	if err != nil {
		if k.Sensitive() {
			return fmt.Errorf("invalid value for configuration %s: %w: %w", k.Name, err, ErrInvalidConfig)
		}
		return fmt.Errorf("invalid value %s for configuration %s: %w: %w", value, k.Name, err, ErrInvalidConfig)
	}
	return nil
}

func checkType(t ConfigType, value string) error {
	var err error
	switch t {
	case TypeBoolean:
		if _, ok := parseBool(value); !ok {
			err = errors.New("must be true or false")
		}
	case TypeShort, TypeInt, TypeLong:
		bits := map[ConfigType]int{TypeShort: 16, TypeInt: 32, TypeLong: 64}[t]
		if _, err = strconv.ParseInt(strings.TrimSpace(value), 10, bits); err != nil {
			err = fmt.Errorf("must be a whole number of %d bits", bits)
		}
	case TypeDouble:
		if f, parseErr := strconv.ParseFloat(strings.TrimSpace(value), 64); parseErr != nil || math.IsNaN(f) {
			err = errors.New("must be a number")
		}
	case TypeUnknown, TypeString, TypeList, TypeClass, TypePassword:
	}
	return err
}

func parseBool(value string) (parsed, ok bool) {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "true":
		return true, true
	case "false":
		return false, true
	default:
		return false, false
	}
}

// parseLong returns a value that was checked, or fallback.
func parseLong(value string, fallback int64) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil {
		return fallback
	}
	return n
}

// parseList splits at commas; an empty value is an empty list.
func parseList(value string) []string {
	if strings.TrimSpace(value) == "" {
		return nil
	}
	items := strings.Split(value, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

func atLeast(least int64) func(string) error { return between(least, math.MaxInt64) }

func between(least, most int64) func(string) error {
	return func(value string) error {
		n := parseLong(value, least)
		switch {
		case n < least:
			return fmt.Errorf("must be at least %d", least)
		case n > most:
			return fmt.Errorf("must be at most %d", most)
		default:
			return nil
		}
	}
}

func fraction(value string) error {
	if f, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil || f < 0 || f > 1 {
		return errors.New("must be between 0 and 1")
	}
	return nil
}

func oneOf(allowed ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(allowed, value) {
			return fmt.Errorf("must be one of %s", strings.Join(allowed, ", "))
		}
		return nil
	}
}

func someOf(allowed ...string) func(string) error {
	return func(value string) error {
		items := parseList(value)
		for _, item := range items {
			if !slices.Contains(allowed, item) {
				return fmt.Errorf("each item must be one of %s", strings.Join(allowed, ", "))
			}
		}
		if len(items) == 0 {
			return fmt.Errorf("at least one of %s must be given", strings.Join(allowed, ", "))
		}
		return nil
	}
}

func onlyFalse(value string) error {
	if on, _ := parseBool(value); on {
		return errors.New("must be false")
	}
	return nil
}

func patterns(value string) error {
	for _, pattern := range parseList(value) {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("pattern %q: %w", pattern, err)
		}
	}
	return nil
}

// A catalogue is all configs that there are.
type catalogue struct {
	topic  []ConfigKey // sorted by name
	broker []ConfigKey
}

func newCatalogue() *catalogue {
	return &catalogue{topic: TopicKeys(), broker: BrokerKeys()}
}

func find(keys []ConfigKey, name string) *ConfigKey {
	i, found := slices.BinarySearchFunc(keys, name, func(k ConfigKey, name string) int { return strings.Compare(k.Name, name) })
	if !found {
		return nil
	}
	return &keys[i]
}

// keysFor returns the configs that a resource has.
func (c *catalogue) keysFor(t ResourceType) []ConfigKey {
	if t == ResourceTopic {
		return c.topic
	}
	return c.broker
}

// CheckBrokerConfigs returns an error that wraps ErrInvalidConfig when a node cannot be started with these configs,
// under Kafka's names.
func CheckBrokerConfigs(configs map[string]string) error {
	keys := BrokerKeys()
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		key := find(keys, name)
		if key == nil {
			return unknownConfig(ResourceBroker, name)
		}
		if err := key.Check(configs[name]); err != nil {
			return err
		}
	}
	return nil
}
