// Package group is the state machine of Kafka's classic consumer groups.
package group
