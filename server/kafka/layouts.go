package kafka

// The layouts of the requests that kmsg reads, in the versions that dispatch.go serves. A test holds them
// against what kmsg writes.

func listOffsetsLayout() []field {
	return []field{
		fixed(4),         // replica id
		fixed(1).from(2), // isolation level
		array( // topics
			text(),
			array( // partitions
				fixed(4),         // partition
				fixed(4).from(4), // current leader epoch
				fixed(8),         // timestamp
			),
		),
	}
}

func metadataLayout() []field {
	return []field{
		array( // topics
			fixed(16).from(10), // topic id
			text().nullable(10),
		).nullable(1),
		fixed(1).from(4),           // allow auto topic creation
		fixed(1).from(8).until(10), // include cluster authorized operations
		fixed(1).from(8),           // include topic authorized operations
	}
}

func offsetCommitLayout() []field {
	return []field{
		text(),                 // group
		fixed(4),               // generation
		text(),                 // member id
		nullableText().from(7), // instance id
		fixed(8).until(4),      // retention time
		array( // topics
			text(),
			array( // partitions
				fixed(4),         // partition
				fixed(8),         // offset
				fixed(4).from(6), // leader epoch
				nullableText(),   // metadata
			),
		),
	}
}

func offsetFetchLayout() []field {
	return []field{
		text().until(7), // group
		array( // topics
			text(),
			plain(fixed(4)), // partitions
		).until(7).nullable(2),
		array( // groups
			text(),
			nullableText().from(9), // member id
			fixed(4).from(9),       // member epoch
			array( // topics
				text(),
				plain(fixed(4)), // partitions
			).nullable(0),
		).from(8),
		fixed(1).from(7), // require stable
	}
}

func findCoordinatorLayout() []field {
	return []field{
		text().until(3),       // key
		fixed(1).from(1),      // type
		plain(text()).from(4), // keys
	}
}

func joinGroupLayout() []field {
	return []field{
		text(),                 // group
		fixed(4),               // session timeout
		fixed(4).from(1),       // rebalance timeout
		text(),                 // member id
		nullableText().from(5), // instance id
		text(),                 // protocol type
		array( // protocols
			text(),
			blob(), // metadata
		),
		nullableText().from(8), // reason
	}
}

func heartbeatLayout() []field {
	return []field{
		text(),                 // group
		fixed(4),               // generation
		text(),                 // member id
		nullableText().from(3), // instance id
	}
}

func leaveGroupLayout() []field {
	return []field{
		text(),          // group
		text().until(2), // member id
		array( // members
			text(),                 // member id
			nullableText(),         // instance id
			nullableText().from(5), // reason
		).from(3).ofMembers(),
	}
}

func syncGroupLayout() []field {
	return []field{
		text(),                 // group
		fixed(4),               // generation
		text(),                 // member id
		nullableText().from(3), // instance id
		nullableText().from(5), // protocol type
		nullableText().from(5), // protocol
		array( // assignments
			text(), // member id
			blob(), // assignment
		).ofMembers(),
	}
}

func describeGroupsLayout() []field {
	return []field{
		plain(text()),    // groups
		fixed(1).from(3), // include authorized operations
	}
}

func listGroupsLayout() []field {
	return []field{
		plain(text()).from(4), // states
		plain(text()).from(5), // types
	}
}

func saslHandshakeLayout() []field { return []field{text()} }

func saslAuthenticateLayout() []field { return []field{blob()} }

func apiVersionsLayout() []field {
	return []field{
		text().from(3), // client's name
		text().from(3), // client's version
	}
}

func createTopicsLayout() []field {
	return []field{
		array( // topics
			text(),
			fixed(4), // partitions
			fixed(2), // replication factor
			array( // assignments
				fixed(4),        // partition
				plain(fixed(4)), // nodes
			),
			array( // configs
				text(),
				nullableText(),
			),
		),
		fixed(4),         // timeout
		fixed(1).from(1), // validate only
	}
}

func deleteTopicsLayout() []field {
	return []field{
		plain(text()).until(5), // names
		array( // topics
			nullableText(),
			fixed(16), // topic id
		).from(6),
		fixed(4), // timeout
	}
}

func deleteRecordsLayout() []field {
	return []field{
		array( // topics
			text(),
			array( // partitions
				fixed(4), // partition
				fixed(8), // offset
			),
		),
		fixed(4), // timeout
	}
}

func initProducerIDLayout() []field {
	return []field{
		nullableText(),   // transactional id
		fixed(4),         // transaction timeout
		fixed(8).from(3), // producer id
		fixed(2).from(3), // producer epoch
	}
}

func offsetForLeaderEpochLayout() []field {
	return []field{
		fixed(4).from(3), // replica id
		array( // topics
			text(),
			array( // partitions
				fixed(4), // partition
				fixed(4), // current leader epoch
				fixed(4), // leader epoch
			),
		),
	}
}

func describeConfigsLayout() []field {
	return []field{
		array( // resources
			fixed(1),                  // type
			text(),                    // name
			plain(text()).nullable(0), // configs
		),
		fixed(1).from(1), // include synonyms
		fixed(1).from(3), // include documentation
	}
}

func alterConfigsLayout() []field {
	return []field{
		array( // resources
			fixed(1), // type
			text(),   // name
			array( // configs
				text(),
				nullableText(),
			),
		),
		fixed(1), // validate only
	}
}

func incrementalAlterConfigsLayout() []field {
	return []field{
		array( // resources
			fixed(1), // type
			text(),   // name
			array( // configs
				text(),
				fixed(1), // operation
				nullableText(),
			),
		),
		fixed(1), // validate only
	}
}

func createPartitionsLayout() []field {
	return []field{
		array( // topics
			text(),
			fixed(4), // count
			array( // assignments
				plain(fixed(4)), // nodes
			).nullable(0),
		),
		fixed(4), // timeout
		fixed(1), // validate only
	}
}

func deleteGroupsLayout() []field { return []field{plain(text())} }

func offsetDeleteLayout() []field {
	return []field{
		text(), // group
		array( // topics
			text(),
			array(fixed(4)), // partitions
		),
	}
}

func describeClusterLayout() []field {
	return []field{
		fixed(1),         // include authorized operations
		fixed(1).from(1), // endpoint type
	}
}
