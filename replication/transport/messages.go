package transport

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/raft"
)

// protocolVersion is the one version of raft's protocol that is spoken here.
const protocolVersion = 3

// putAppendHead writes the head of an append request into 32 bytes.
func putAppendHead(b []byte, term, previous, previousTerm, commit uint64) {
	binary.LittleEndian.PutUint64(b, term)
	binary.LittleEndian.PutUint64(b[8:], previous)
	binary.LittleEndian.PutUint64(b[16:], previousTerm)
	binary.LittleEndian.PutUint64(b[24:], commit)
}

// appendRequest makes raft's request of a message. Commands keep their bytes in
// the message's frame and say so in Extensions; all others are copied.
func appendRequest(m *message, from raft.RPCHeader) *raft.AppendEntriesRequest {
	r := &raft.AppendEntriesRequest{
		RPCHeader:         from,
		Term:              binary.LittleEndian.Uint64(m.head),
		PrevLogEntry:      binary.LittleEndian.Uint64(m.head[8:]),
		PrevLogTerm:       binary.LittleEndian.Uint64(m.head[16:]),
		LeaderCommitIndex: binary.LittleEndian.Uint64(m.head[24:]),
	}
	if len(m.entries) == 0 {
		return r
	}
	logs := make([]raft.Log, len(m.entries))
	r.Entries = make([]*raft.Log, len(logs))
	for i := range logs {
		e, l := &m.entries[i], &logs[i]
		l.Index, l.Term, l.Type = e.Index, e.Term, e.Kind
		if e.Kind == raft.LogCommand {
			l.Data, l.Extensions = e.Payload, m.frame.Tag()
		} else {
			l.Data = append([]byte(nil), e.Payload...)
		}
		r.Entries[i] = l
	}
	return r
}

func appendReply(dst []byte, r *raft.AppendEntriesResponse) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, r.Term)
	dst = binary.LittleEndian.AppendUint64(dst, r.LastLog)
	flags := byte(0)
	if r.Success {
		flags |= replySuccess
	}
	if r.NoRetryBackoff {
		flags |= replyNoRetryBackoff
	}
	return append(dst, flags)
}

func parseAppendReply(b []byte, r *raft.AppendEntriesResponse) error {
	if len(b) != appendReplyBytes {
		return fmt.Errorf("answer to an append of %d bytes: %w", len(b), errProtocol)
	}
	r.ProtocolVersion = protocolVersion
	r.Term = binary.LittleEndian.Uint64(b)
	r.LastLog = binary.LittleEndian.Uint64(b[8:])
	r.Success = b[16]&replySuccess != 0
	r.NoRetryBackoff = b[16]&replyNoRetryBackoff != 0
	return nil
}

// ballot is the request of a vote and of a pre-vote.
type ballot struct {
	term, lastIndex, lastTerm uint64
	transfer                  bool
}

func appendBallot(dst []byte, v ballot) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, v.term)
	dst = binary.LittleEndian.AppendUint64(dst, v.lastIndex)
	dst = binary.LittleEndian.AppendUint64(dst, v.lastTerm)
	return append(dst, flag(v.transfer))
}

func parseBallot(b []byte) (ballot, error) {
	if len(b) != voteBytes || b[24] > 1 {
		return ballot{}, fmt.Errorf("ballot of %d bytes: %w", len(b), errProtocol)
	}
	return ballot{
		term:      binary.LittleEndian.Uint64(b),
		lastIndex: binary.LittleEndian.Uint64(b[8:]),
		lastTerm:  binary.LittleEndian.Uint64(b[16:]),
		transfer:  b[24] == 1,
	}, nil
}

func appendVote(dst []byte, term uint64, granted bool) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, term), flag(granted))
}

func parseVote(b []byte) (term uint64, granted bool, err error) {
	if len(b) != voteReplyBytes || b[8] > 1 {
		return 0, false, fmt.Errorf("vote of %d bytes: %w", len(b), errProtocol)
	}
	return binary.LittleEndian.Uint64(b), b[8] == 1, nil
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// raftCommand makes raft's request of a message that is not an append.
func raftCommand(m *message, from raft.RPCHeader) (any, error) {
	switch m.kind {
	case kindVote:
		v, err := parseBallot(m.head)
		return &raft.RequestVoteRequest{
			RPCHeader: from, Term: v.term, Candidate: from.Addr, //nolint:staticcheck // raft 1.8 still reads it
			LastLogIndex: v.lastIndex, LastLogTerm: v.lastTerm, LeadershipTransfer: v.transfer,
		}, err
	case kindPreVote:
		v, err := parseBallot(m.head)
		return &raft.RequestPreVoteRequest{RPCHeader: from, Term: v.term, LastLogIndex: v.lastIndex, LastLogTerm: v.lastTerm}, err
	case kindStand:
		if len(m.head) > 0 {
			return nil, fmt.Errorf("%d bytes in a request to stand: %w", len(m.head), errProtocol)
		}
		return &raft.TimeoutNowRequest{RPCHeader: from}, nil
	default:
		return nil, fmt.Errorf("request of kind %d: %w", m.kind, errProtocol)
	}
}

// raftReply appends the head of the answer to one of raft's requests.
func raftReply(dst []byte, response any) ([]byte, error) {
	switch r := response.(type) {
	case *raft.AppendEntriesResponse:
		return appendReply(dst, r), nil
	case *raft.RequestVoteResponse:
		return appendVote(dst, r.Term, r.Granted), nil
	case *raft.RequestPreVoteResponse:
		return appendVote(dst, r.Term, r.Granted), nil
	case *raft.TimeoutNowResponse:
		return dst, nil
	default:
		return dst, fmt.Errorf("answer of type %T: %w", response, errProtocol)
	}
}

// fetchRange is the request of a fetch.
type fetchRange struct {
	from, through uint64
	bytes         uint32
}

func appendFetch(dst []byte, f fetchRange) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, f.from)
	dst = binary.LittleEndian.AppendUint64(dst, f.through)
	return binary.LittleEndian.AppendUint32(dst, f.bytes)
}

func parseFetch(b []byte) (fetchRange, error) {
	if len(b) != fetchBytes {
		return fetchRange{}, fmt.Errorf("fetch of %d bytes: %w", len(b), errProtocol)
	}
	return fetchRange{
		from:    binary.LittleEndian.Uint64(b),
		through: binary.LittleEndian.Uint64(b[8:]),
		bytes:   binary.LittleEndian.Uint32(b[16:]),
	}, nil
}
