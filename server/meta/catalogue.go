package meta

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

// The sources of configs.
const (
	SourceUnknown        ConfigSource = 0
	SourceTopic          ConfigSource = 1
	SourceDynamicBroker  ConfigSource = 2
	SourceDynamicCluster ConfigSource = 3
	SourceStaticBroker   ConfigSource = 4
	SourceDefault        ConfigSource = 5
)

// A ConfigEntry is one config as DescribeConfigs and CreateTopics tell it.
type ConfigEntry struct {
	Name          string
	Value         *string // nil for a sensitive config
	Source        ConfigSource
	Type          ConfigType
	ReadOnly      bool
	Sensitive     bool
	Documentation string
	Synonyms      []ConfigSynonym // in the order in which they win
}

// IsDefault reports whether nobody set the config.
func (e *ConfigEntry) IsDefault() bool { return e.Source == SourceDefault }

// A ConfigSynonym is one of the places that a config's value may come from.
type ConfigSynonym struct {
	Name   string
	Value  *string
	Source ConfigSource
}
