package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/internal/metrics"
	"github.com/stela-db/stela/server/broker"
)

// The keys that are handled apart: Produce is read piece by piece, Fetch is decoded and answered without copying,
// ApiVersions is answered whatever its version.
const (
	keyProduce     = 0
	keyFetch       = 1
	keyAPIVersions = 18
)

// An api is one API key that is served.
type api struct {
	key      int16
	name     string // as the metrics call it
	min, max int16  // versions, as ApiVersions tells them
	flexible int16  // the first flexible version
	large    bool   // may be as large as Limits.RequestBytes
	layout   []field
	handle   handler
	metrics  *metrics.KafkaRequest // set by serve
}

// A handler answers a request; nil closes the connection without an answer.
type handler func(*request, kmsg.Request) kmsg.Response

// table is all that is served: tier T0 of the research. Produce's minimum is 0, though versions below 3 are
// refused, because librdkafka before 2.11.1 compresses nothing otherwise (KAFKA-18659).
var table = []api{
	{key: 0, name: "produce", min: 0, max: 11, flexible: 9},
	{key: 1, name: "fetch", min: 4, max: 17, flexible: 12},
	{key: 2, name: "list_offsets", min: 1, max: 9, flexible: 6, layout: listOffsetsLayout(), handle: on(listOffsets)},
	{key: 3, name: "metadata", min: 0, max: 12, flexible: 9, layout: metadataLayout(), handle: on(metadata)},
	{key: 8, name: "offset_commit", min: 2, max: 9, flexible: 8, layout: offsetCommitLayout(), handle: on(offsetCommit)},
	{key: 9, name: "offset_fetch", min: 1, max: 9, flexible: 6, layout: offsetFetchLayout(), handle: on(offsetFetch)},
	{key: 10, name: "find_coordinator", min: 0, max: 6, flexible: 3, layout: findCoordinatorLayout(), handle: on(findCoordinator)},
	{key: 11, name: "join_group", min: 0, max: 9, flexible: 6, layout: joinGroupLayout(), handle: on(joinGroup)},
	{key: 12, name: "heartbeat", min: 0, max: 4, flexible: 4, layout: heartbeatLayout(), handle: on(heartbeat)},
	{key: 13, name: "leave_group", min: 0, max: 5, flexible: 4, layout: leaveGroupLayout(), handle: on(leaveGroup)},
	{key: 14, name: "sync_group", min: 0, max: 5, flexible: 4, layout: syncGroupLayout(), handle: on(syncGroup)},
	{key: 15, name: "describe_groups", min: 0, max: 5, flexible: 5, layout: describeGroupsLayout(), handle: on(describeGroups)},
	{key: 16, name: "list_groups", min: 0, max: 5, flexible: 3, layout: listGroupsLayout(), handle: on(listGroups)},
	{key: 17, name: "sasl_handshake", min: 0, max: 1, flexible: never, layout: saslHandshakeLayout(), handle: on(saslHandshake)},
	{key: 18, name: "api_versions", min: 0, max: 4, flexible: 3, layout: apiVersionsLayout(), handle: on(apiVersions)},
	{key: 19, name: "create_topics", min: 2, max: 7, flexible: 5, large: true, layout: createTopicsLayout(), handle: on(createTopics)},
	{key: 20, name: "delete_topics", min: 1, max: 6, flexible: 4, layout: deleteTopicsLayout(), handle: on(deleteTopics)},
	{key: 21, name: "delete_records", min: 0, max: 2, flexible: 2, layout: deleteRecordsLayout(), handle: on(deleteRecords)},
	{key: 22, name: "init_producer_id", min: 0, max: 5, flexible: 2, layout: initProducerIDLayout(), handle: on(initProducerID)},
	{key: 23, name: "offset_for_leader_epoch", min: 2, max: 4, flexible: 4, layout: offsetForLeaderEpochLayout(), handle: on(offsetForLeaderEpoch)},
	{key: 32, name: "describe_configs", min: 1, max: 4, flexible: 4, layout: describeConfigsLayout(), handle: on(describeConfigs)},
	{key: 33, name: "alter_configs", min: 0, max: 2, flexible: 2, large: true, layout: alterConfigsLayout(), handle: on(alterConfigs)},
	{key: 36, name: "sasl_authenticate", min: 0, max: 2, flexible: 2, layout: saslAuthenticateLayout(), handle: on(saslAuthenticate)},
	{key: 37, name: "create_partitions", min: 0, max: 3, flexible: 2, layout: createPartitionsLayout(), handle: on(createPartitions)},
	{key: 42, name: "delete_groups", min: 0, max: 2, flexible: 2, layout: deleteGroupsLayout(), handle: on(deleteGroups)},
	{key: 44, name: "incremental_alter_configs", min: 0, max: 1, flexible: 1, large: true, layout: incrementalAlterConfigsLayout(), handle: on(incrementalAlterConfigs)},
	{key: 47, name: "offset_delete", min: 0, max: 0, flexible: never, layout: offsetDeleteLayout(), handle: on(offsetDelete)},
	{key: 60, name: "describe_cluster", min: 0, max: 1, flexible: 0, layout: describeClusterLayout(), handle: on(describeCluster)},
}

// on makes a handler of a function that takes its own request type.
func on[T kmsg.Request](handle func(*request, T) kmsg.Response) handler {
	return func(r *request, in kmsg.Request) kmsg.Response { return handle(r, in.(T)) }
}

// serve returns the table with its metrics registered.
func serve(m *metrics.Kafka) []api {
	apis := append([]api(nil), table...)
	for i := range apis {
		apis[i].metrics = m.Request(apis[i].name)
	}
	return apis
}

// find returns the api of a key, or nil.
func (s *Server) find(key int16) *api {
	for i := range s.apis {
		if s.apis[i].key == key {
			return &s.apis[i]
		}
	}
	return nil
}

// serves reports whether a version is served.
func (a *api) serves(version int16) bool {
	if a.key == keyProduce && version < produceFirst {
		return false
	}
	return version >= a.min && version <= a.max
}

// A request is one request being answered.
type request struct {
	header
	connection *connection
	ctx        context.Context // ends with the connection
	failed     bool            // the answer carries an error code
	body       []byte          // until it is decoded
	held       int64           // of the server's budget
	answer     answerRoom
}

func (r *request) broker() *broker.Broker { return r.connection.server.config.Broker }

// hold makes bytes what the request holds of the server's budget, waiting for what it has not got yet.
func (r *request) hold(bytes int64) error {
	s := r.connection.server
	if more := bytes - r.held; more > 0 {
		if err := s.requests.take(r.ctx, more, s.limits.Wait); err != nil {
			return err
		}
	} else {
		s.requests.give(-more)
	}
	r.held = bytes
	return nil
}

// release gives back what the request holds of the server's budget. A handler that is going to wait for others calls it
// once it has let go of what was read and decoded, so that those who wait do not keep out those who work.
func (r *request) release() {
	r.connection.server.requests.give(r.held)
	r.held = 0
}

// code returns the error code for err and remembers that there was one.
func (r *request) code(err error) int16 { return r.remember(err, errorCode(err)) }

// groupCode is code for answers to members of groups.
func (r *request) groupCode(err error) int16 { return r.remember(err, groupCode(err)) }

func (r *request) remember(err error, code int16) int16 {
	if code != 0 {
		r.failed = true
	}
	if code == -1 {
		r.connection.server.noise.warn("kafka: request failed for a reason that clients have no code for",
			"request", r.key, "version", r.version, "error", err)
	}
	return code
}

// maxMessageBytes bounds the texts of errors, which may quote what the client said.
const maxMessageBytes = 1024

// message returns the text that goes with err, nil for none.
func message(err error) *string {
	if err == nil {
		return nil
	}
	return new(cutText(err.Error(), maxMessageBytes))
}

const (
	leastTimeout = time.Second
	mostTimeout  = 5 * time.Minute
)

// timeout returns a context that ends when the client's patience does, within reason.
func (r *request) timeout(milliseconds int32) (context.Context, context.CancelFunc) {
	patience := time.Duration(milliseconds) * time.Millisecond
	return context.WithTimeout(r.ctx, min(max(patience, leastTimeout), mostTimeout))
}
