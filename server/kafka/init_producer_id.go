package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stela-db/stela/server/broker"
)

// InitProducerID (key 22), versions 0 to 5.
//
// Behaviour: a new producer id with epoch 0 for an idempotent producer. A transactional id is refused: transactions are
// not served.
//
// Versions: 2 is flexible; 3 adds the producer's present id and epoch, which only transactions use.

func initProducerID(r *request, in *kmsg.InitProducerIDRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.InitProducerIDResponse)
	out.ProducerID, out.ProducerEpoch = -1, -1
	transactionalID := ""
	if in.TransactionalID != nil {
		if *in.TransactionalID == "" {
			out.ErrorCode = r.code(errEmptyTransaction)
			return out
		}
		transactionalID = *in.TransactionalID
	}
	id, epoch, err := r.broker().InitProducerID(r.ctx, transactionalID)
	if errors.Is(err, broker.ErrNotController) || errors.Is(err, broker.ErrTimedOut) || errors.Is(err, broker.ErrShuttingDown) {
		err = broker.ErrCoordinatorLoading // no block of ids could be had; Kafka says so too, and clients try again
	}
	if out.ErrorCode = r.code(err); err == nil {
		out.ProducerID, out.ProducerEpoch = id, epoch
	}
	return out
}
