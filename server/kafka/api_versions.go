package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ApiVersions (key 18), versions 0 to 4.
//
// Behaviour: tells the table. No features are told: finalized ones would switch clients to protocols that are not
// served. The answer's header has no tags in any version. Any other version is answered with UNSUPPORTED_VERSION in
// the layout of version 0, naming the range of ApiVersions itself (KIP-511).
//
// Versions: 3 is flexible and names the client's software, whose spelling is checked.

func apiVersions(r *request, in *kmsg.ApiVersionsRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.ApiVersionsResponse)
	if in.Version >= 3 && (!isSoftwareName(in.ClientSoftwareName) || !isSoftwareName(in.ClientSoftwareVersion)) {
		out.ErrorCode = r.code(errSoftwareName)
		return out
	}
	out.ApiKeys = make([]kmsg.ApiVersionsResponseApiKey, 0, len(r.connection.server.apis))
	for i := range r.connection.server.apis {
		out.ApiKeys = append(out.ApiKeys, apiRange(&r.connection.server.apis[i]))
	}
	return out
}

func apiRange(a *api) kmsg.ApiVersionsResponseApiKey {
	key := kmsg.NewApiVersionsResponseApiKey()
	key.ApiKey, key.MinVersion, key.MaxVersion = a.key, a.min, a.max
	return key
}

// unsupportedAPIVersions answers a version that is not served.
func unsupportedAPIVersions(a *api) kmsg.Response {
	out := kmsg.NewPtrApiVersionsResponse()
	out.SetVersion(0)
	out.ErrorCode = kerr.UnsupportedVersion.Code
	out.ApiKeys = []kmsg.ApiVersionsResponseApiKey{apiRange(a)}
	return out
}

// isSoftwareName reports whether s is letters and digits with '-' and '.' between them.
func isSoftwareName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case (c == '-' || c == '.') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}
