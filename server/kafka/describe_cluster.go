package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// DescribeCluster (key 60), versions 0 and 1.
//
// Behaviour: the brokers that this node or a leader reaches, at the addresses of the listener through which the client came.
//
// Versions: 1 can ask for controllers; there are none apart from the brokers.

func describeCluster(r *request, in *kmsg.DescribeClusterRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.DescribeClusterResponse)
	const endpointBrokers = 1
	out.EndpointType = endpointBrokers
	out.Brokers = []kmsg.DescribeClusterResponseBroker{}
	if in.Version >= 1 && in.EndpointType != endpointBrokers {
		out.EndpointType = in.EndpointType
		out.ErrorCode, out.ErrorMessage = r.code(errControllers), message(errControllers)
		return out
	}
	brokers := r.connection.present(r.broker().Replicas(r.ctx))
	for _, e := range brokers {
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port = e.node, e.host, e.port
		if e.rack != "" {
			b.Rack = new(e.rack)
		}
		out.Brokers = append(out.Brokers, b)
	}
	out.ClusterID = r.broker().ClusterID()
	out.ControllerID = r.connection.controller(brokers)
	if in.IncludeClusterAuthorizedOperations {
		out.ClusterAuthorizedOperations = clusterOperations
	}
	return out
}
