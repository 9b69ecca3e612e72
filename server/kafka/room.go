package kafka

import "fmt"

// Answers may be much larger than their requests. Their handlers take memory for them from the budget of answers before
// they make a part that is.
const (
	// freeAnswer is what an answer may take without asking: most never do.
	freeAnswer = 64 << 10
	// answerStep is how much is taken at least.
	answerStep = 1 << 20
	// structBytes is about what kmsg's structures take for one element of an answer, beside its strings.
	structBytes = 192
)

// room takes memory for another part of the answer, of so many bytes on the wire. When it returns false there is none, and the
// handler returns nil, which ends the connection.
func (r *request) room(bytes int) bool {
	// Once as what kmsg encodes, once encoded.
	r.answer.bytes += int64(2*bytes + structBytes)
	more := r.answer.bytes - r.answer.held
	if more <= 0 || r.answer.bytes <= freeAnswer {
		return true
	}
	s := r.connection.server
	more = max(more, answerStep)
	err := errBudget
	if r.answer.held+more <= s.limits.TotalAnswers {
		err = s.answers.take(r.ctx, more, s.limits.Wait)
	}
	if err != nil {
		r.answer.refusal = fmt.Errorf("%d bytes of an answer: %w", r.answer.bytes, err)
		return false
	}
	r.answer.held += more
	return true
}

// answerRoom is the memory that a request's answer takes.
type answerRoom struct {
	bytes   int64
	held    int64 // of the budget of answers
	refusal error // there was no more
}

// once returns a function that is true for each key the first time. Names that a request repeats are answered once: a name
// takes a few bytes, and what is told of it may take thousands.
func once[K comparable]() func(K) bool {
	seen := map[K]struct{}{}
	return func(key K) bool {
		_, again := seen[key]
		seen[key] = struct{}{}
		return !again
	}
}
