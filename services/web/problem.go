package web

import (
	"fmt"
	"net/http"
)

// A Problem is an answer that says no, as RFC 9457 has it.
type Problem struct {
	Status     int    `json:"status"`
	Title      string `json:"title"`
	Detail     string `json:"detail,omitempty"`
	RetryAfter int    `json:"-"` // seconds, for the header; 0: none
}

// Refuse returns a problem with the status's usual title.
func Refuse(status int, format string, args ...any) *Problem {
	return &Problem{Status: status, Title: http.StatusText(status), Detail: fmt.Sprintf(format, args...)}
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return fmt.Sprintf("http %d: %s", p.Status, p.Title)
	}
	return fmt.Sprintf("http %d: %s: %s", p.Status, p.Title, p.Detail)
}

// Later sets the seconds after which to try again.
func (p *Problem) Later(seconds int) *Problem {
	p.RetryAfter = seconds
	return p
}
