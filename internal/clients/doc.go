// Package clients holds the smoke tests of the Kafka clients that people use:
// kcat, kafkajs, confluent-kafka on librdkafka, franz-go and sarama against three
// real processes.
//
// It is a module of its own, so that these clients are no dependency of the
// product. Each client makes a topic, writes with every codec it has, reads in a
// group, commits, leaves, comes back and gets only what is new, and uses its admin
// calls; then franz-go checks that what is stored is complete and compressed as it
// was asked for.
//
// A client that is not there is installed when that needs nothing but Debian's or
// the languages' own package tools. If that fails the test says so and is skipped,
// or fails when CI=true.
//
// STELA_BROKERS=host:port,... runs the tests against a cluster that is there
// already.
package clients
