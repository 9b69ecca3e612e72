package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// stageColumns is the width that everything fits into.
const stageColumns = 80

// A stage prints the tour: titles, what happens below them, and how long it took.
type stage struct {
	out   io.Writer
	parts int
	began time.Time
	start time.Time
}

func newStage(out io.Writer) *stage { return &stage{out: out, start: time.Now()} }

// begin prints the title of the next part.
func (s *stage) begin(title string) {
	s.parts++
	s.began = time.Now()
	fmt.Fprintf(s.out, "\n%d  %s\n", s.parts, title)
}

// say prints one line below the title; a longer text is wrapped.
func (s *stage) say(format string, args ...any) {
	for _, line := range wrap(fmt.Sprintf(format, args...), stageColumns-3) {
		fmt.Fprintln(s.out, "   "+line)
	}
}

// code prints a line of code.
func (s *stage) code(text string) { fmt.Fprintln(s.out, "     "+text) }

// end prints how long the part took.
func (s *stage) end() { s.say("done in %.1f s", time.Since(s.began).Seconds()) }

func (s *stage) failed() {
	fmt.Fprintf(s.out, "\n   That did not work, %.0f s after the start.\n", time.Since(s.start).Seconds())
}

// wrap breaks text at spaces into lines of at most columns; a longer word stays whole.
func wrap(text string, columns int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= columns:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
