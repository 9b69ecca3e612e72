package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxSegments bounds the parts of a path; no route has more.
const maxSegments = 8

// splitPath splits a path as it stood in the request line and decodes each segment
// once. Nothing else is done to it: no cleaning of dots or double slashes, so that a
// path names one thing only.
//
// A segment that still looks percent-encoded after that is refused: whoever encoded
// twice does not mean what a single decoding yields, and whoever decodes twice
// elsewhere (a proxy with rules) would see another path than we do.
func splitPath(path []byte) ([]string, error) {
	if len(path) == 0 || path[0] != '/' {
		return nil, errors.New("the path must begin with a slash")
	}
	if bytes.Count(path, []byte("/")) > maxSegments {
		return nil, fmt.Errorf("the path has more than %d segments", maxSegments)
	}
	segments := strings.Split(string(path[1:]), "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			return nil, fmt.Errorf("path segment %d: %w", i+1, err)
		}
		if isEncoded(decoded) {
			return nil, fmt.Errorf("path segment %d is percent-encoded twice", i+1)
		}
		segments[i] = decoded
	}
	return segments, nil
}

// isEncoded reports whether s has a percent sign with two hexadecimal digits after it.
func isEncoded(s string) bool {
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '%' && isHex(s[i+1]) && isHex(s[i+2]) {
			return true
		}
	}
	return false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// parseQuery parses a query in which each parameter stands once and is one of the allowed.
func parseQuery(query []byte, allowed ...string) (map[string]string, error) {
	values, err := url.ParseQuery(string(query))
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	parameters := make(map[string]string, len(values))
	for name, all := range values {
		switch {
		case !slices.Contains(allowed, name) && len(allowed) == 0:
			return nil, fmt.Errorf("query parameter %q: there are none here", name)
		case !slices.Contains(allowed, name):
			return nil, fmt.Errorf("query parameter %q: there are only %s", name, strings.Join(allowed, ", "))
		case len(all) > 1:
			return nil, fmt.Errorf("query parameter %s is given %d times", name, len(all))
		}
		parameters[name] = all[0]
	}
	return parameters, nil
}
