package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	sourceFirst = 4 << 10
	sourceLarge = 64 << 10
)

// errMalformed is wrapped by every error that says that a request's bytes make no sense.
var errMalformed = errors.New("malformed request")

// source reads a connection through a buffer and never beyond the request that it is in.
type source struct {
	conn     net.Conn
	patience time.Duration // for the next readStep bytes of a request
	buffer   []byte
	start    int // of what is buffered and not consumed
	end      int
	left     int // bytes of the request that are not consumed
	granted  int // bytes that may still be read before patience begins anew
}

func newSource(conn net.Conn, patience time.Duration) *source {
	return &source{conn: conn, patience: patience, buffer: make([]byte, sourceFirst)}
}

// size waits until deadline for the four bytes that begin a request. When the deadline passed before the
// first of them the error is os.ErrDeadlineExceeded and size may be called again.
func (s *source) size(deadline time.Time) (uint32, error) {
	for s.end-s.start < 4 {
		if s.end == s.start {
			s.start, s.end, s.granted = 0, 0, 0
			if err := s.conn.SetReadDeadline(deadline); err != nil {
				return 0, err
			}
		} else if err := s.extend(); err != nil {
			return 0, err
		}
		if err := s.fill(4); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && s.end > s.start {
				return 0, fmt.Errorf("%d bytes of a request's size: %w", s.end-s.start, io.ErrUnexpectedEOF)
			}
			return 0, err
		}
	}
	n := binary.BigEndian.Uint32(s.buffer[s.start:])
	s.start += 4
	s.granted = 0
	return n, nil
}

// extend grants patience for the next readStep bytes, unless some of those granted before are still to come.
func (s *source) extend() error {
	if s.granted > 0 {
		return nil
	}
	s.granted = readStep
	return s.conn.SetReadDeadline(time.Now().Add(s.patience))
}

// fill reads once, with room for at least want bytes from start on.
func (s *source) fill(want int) error {
	if len(s.buffer)-s.start < want {
		target := s.buffer
		if want > len(target) {
			target = make([]byte, max(want, sourceLarge))
		}
		s.end = copy(target, s.buffer[s.start:s.end])
		s.buffer, s.start = target, 0
	}
	n, err := s.conn.Read(s.buffer[s.end:])
	s.end += n
	s.granted -= n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// peek returns the next n bytes of the request, which stay valid until the next call. n is at most sourceLarge.
func (s *source) peek(n int) ([]byte, error) {
	if n > s.left {
		return nil, fmt.Errorf("%d bytes of %d that are left: %w", n, s.left, errMalformed)
	}
	for s.end-s.start < n {
		if err := s.extend(); err != nil {
			return nil, err
		}
		if err := s.fill(n); err != nil {
			return nil, err
		}
	}
	return s.buffer[s.start : s.start+n], nil
}

// next is peek and consumes the bytes.
func (s *source) next(n int) ([]byte, error) {
	b, err := s.peek(n)
	if err == nil {
		s.start += n
		s.left -= n
	}
	return b, err
}

// read fills dst with the next bytes of the request; large pieces go past the buffer.
func (s *source) read(dst []byte) error {
	if len(dst) > s.left {
		return fmt.Errorf("%d bytes of %d that are left: %w", len(dst), s.left, errMalformed)
	}
	n := copy(dst, s.buffer[s.start:s.end])
	s.start += n
	s.left -= len(dst)
	for dst = dst[n:]; len(dst) > 0; {
		if err := s.extend(); err != nil {
			return err
		}
		if len(dst) < len(s.buffer) {
			s.start, s.end = 0, 0
			if err := s.fill(1); err != nil {
				return err
			}
			n = copy(dst, s.buffer[:s.end])
			s.start = n
			dst = dst[n:]
			continue
		}
		step := min(len(dst), s.granted)
		if _, err := io.ReadFull(s.conn, dst[:step]); err != nil {
			return err
		}
		s.granted -= step
		dst = dst[step:]
	}
	return nil
}

// skip consumes n bytes of the request.
func (s *source) skip(n int) error {
	if n > s.left {
		return fmt.Errorf("%d bytes of %d that are left: %w", n, s.left, errMalformed)
	}
	s.left -= n
	for {
		step := min(n, s.end-s.start)
		s.start += step
		if n -= step; n == 0 {
			return nil
		}
		s.start, s.end = 0, 0
		if err := s.extend(); err != nil {
			return err
		}
		if err := s.fill(1); err != nil {
			return err
		}
	}
}
