package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/stela-db/stela/cmd/internal/command"
)

const formatHelp = `%t topic, %p partition, %o offset, %k key, %v value, %h headers, %T time
(RFC 3339), %d time (ms), %K and %V lengths, %% a percent sign; \n, \t and \\ too`

// A format prints one record; a nil part list means JSON lines.
type format struct {
	parts []formatPart
}

// A formatPart is literal text or, when verb is not 0, a field.
type formatPart struct {
	text string
	verb byte
}

func parseFormat(text string) (*format, error) {
	f := &format{parts: []formatPart{}}
	var literal strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '%' && c != '\\' {
			literal.WriteByte(c)
			continue
		}
		i++
		if i == len(text) {
			return nil, command.Usagef("--format ends with %q", string(c))
		}
		if c == '\\' {
			escaped, ok := map[byte]byte{'n': '\n', 't': '\t', 'r': '\r', '\\': '\\', '0': 0}[text[i]]
			if !ok {
				return nil, command.Usagef(`--format knows no \%c; use \n, \t, \r, \0 or \\`, text[i])
			}
			literal.WriteByte(escaped)
			continue
		}
		switch text[i] {
		case '%':
			literal.WriteByte('%')
		case 't', 'p', 'o', 'k', 'v', 'h', 'T', 'd', 'K', 'V':
			f.parts = append(f.parts, formatPart{text: literal.String()}, formatPart{verb: text[i]})
			literal.Reset()
		default:
			return nil, command.Usagef("--format knows no %%%c; it has %%t %%p %%o %%k %%v %%h %%T %%d %%K %%V %%%%", text[i])
		}
	}
	f.parts = append(f.parts, formatPart{text: literal.String()})
	return f, nil
}

// append adds the printed record to dst.
func (f *format) append(dst []byte, r *kgo.Record) []byte {
	if f.parts == nil {
		return appendJSON(dst, r)
	}
	for _, part := range f.parts {
		switch part.verb {
		case 0:
			dst = append(dst, part.text...)
		case 't':
			dst = append(dst, r.Topic...)
		case 'p':
			dst = strconv.AppendInt(dst, int64(r.Partition), 10)
		case 'o':
			dst = strconv.AppendInt(dst, r.Offset, 10)
		case 'k':
			dst = append(dst, r.Key...)
		case 'v':
			dst = append(dst, r.Value...)
		case 'h':
			for i, header := range r.Headers {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = fmt.Appendf(dst, "%s=%s", header.Key, header.Value)
			}
		case 'T':
			dst = r.Timestamp.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
		case 'd':
			dst = strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10)
		case 'K':
			dst = strconv.AppendInt(dst, int64(lengthOf(r.Key)), 10)
		case 'V':
			dst = strconv.AppendInt(dst, int64(lengthOf(r.Value)), 10)
		}
	}
	return dst
}

// lengthOf is the length of a key or value, -1 for null.
func lengthOf(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

type printedRecord struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Time      time.Time         `json:"time"`
	Key       any               `json:"key"`
	Value     any               `json:"value"`
	Headers   map[string]string `json:"headers,omitempty"`
}

// appendJSON prints one record as one line. Bytes that are not UTF-8 become {"base64": ...}.
func appendJSON(dst []byte, r *kgo.Record) []byte {
	printed := printedRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.UTC(), Key: textOrBytes(r.Key), Value: textOrBytes(r.Value)}
	for _, header := range r.Headers {
		if printed.Headers == nil {
			printed.Headers = map[string]string{}
		}
		printed.Headers[header.Key] = string(header.Value)
	}
	line, err := json.Marshal(printed)
	if err != nil {
		return fmt.Appendf(dst, "{\"error\": %q}\n", err)
	}
	return append(append(dst, line...), '\n')
}

func textOrBytes(b []byte) any {
	switch {
	case b == nil:
		return nil
	case utf8.Valid(b):
		return string(b)
	}
	return map[string][]byte{"base64": b}
}

// recordFormat returns what --format and --output ask for.
func (g *general) recordFormat(text string) (*format, error) {
	switch g.Output {
	case "json":
		return &format{}, nil
	case "yaml":
		return nil, command.Usagef("records are printed with --format or --output json, not as yaml")
	}
	return parseFormat(text)
}
