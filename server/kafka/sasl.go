package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// SaslHandshake (key 17), versions 0 and 1.
//
// Behaviour: no user can be configured in this release, so no mechanism is enabled: every handshake is refused with the
// list of those that are, which is empty.

func saslHandshake(r *request, in *kmsg.SASLHandshakeRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.SASLHandshakeResponse)
	out.ErrorCode = r.code(errMechanism)
	out.SupportedMechanisms = []string{}
	return out
}

// SaslAuthenticate (key 36), versions 0 to 2.
//
// Behaviour: refused, as no handshake succeeded before.
//
// Versions: 2 is flexible.

func saslAuthenticate(r *request, in *kmsg.SASLAuthenticateRequest) kmsg.Response {
	out := in.ResponseKind().(*kmsg.SASLAuthenticateResponse)
	out.ErrorCode = r.code(errNotAuthenticating)
	out.ErrorMessage = message(errNotAuthenticating)
	out.SASLAuthBytes = []byte{}
	return out
}
