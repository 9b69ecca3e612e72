// Package meta is the state machine of the cluster's metadata: topics, brokers, settings, producer ids.
package meta
