package exchanges

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// hint is what to do about a symptom. An empty text is in every sentence.
type hint struct {
	code      core.Code // of a failure; with handshake there is none
	handshake bool      // the certificate was refused, before or after the handshake
	contains  string    // a part of the sentence
	say       string    // {client} is the name of the client
}

const sharing = "An object belongs to its maker. Clients that share keys, such as two controllers of one array, need a group: keyreeve client change {client} --group GROUP --key-group GROUP. Objects that were made before do not get the group."

// hints are known symptoms. All that match are shown, each once.
var hints = []hint{
	{handshake: true, contains: "has expired or is not yet valid", say: "The certificate has expired, or the clock of the client or of the server is wrong. Make other files with: keyreeve client renew {client} --for PRODUCT --out FOLDER"},
	{handshake: true, contains: "unknown authority", say: "The certificate is from an authority that tls.client_ca does not have. Either the product uses other files than those of this server, or the authority must be added to tls.client_ca."},
	{handshake: true, contains: "incompatible key usage", say: "The certificate may not be used by clients: its Extended Key Usage lacks clientAuth. Issue one that has it, or one without Extended Key Usage."},
	{handshake: true, contains: "clientAuth", say: "The setting tls.require_eku demands the Extended Key Usage clientAuth. Some arrays cannot have it: set it to false for them."},
	{handshake: true, contains: "revoked", say: "The certificate was revoked. If the client may connect, make other files with: keyreeve client renew {client} --for PRODUCT --out FOLDER"},
	{handshake: true, contains: "names no principal", say: "The certificate has no keyreeve URI. Issue one with keyreeve client add, or add an entry to tls.principals."},
	{handshake: true, contains: "too many connections", say: "The client keeps too many connections open. See the limits of connections in the settings, and whether the product opens a connection for each request without closing it."},
	{handshake: true, contains: "fewer than", say: "The RSA key of the certificate is too short. Make other files with: keyreeve client renew {client} --for PRODUCT --out FOLDER"},

	{code: core.PermissionDenied, say: "A policy has denied it. The decisions have its reasons, and keyreeve policy explain says everything that the client may do with an object. " + sharing},
	{code: core.ItemNotFound, say: "There is no such object, or this client may not see it. A client that looks for a key by its name must have the key's group. " + sharing},
	{code: core.AuthenticationNotSuccessful, contains: "password", say: "The product sends a user name and a password beside its certificate. Leave both empty in the product, make a user with that name and password (keyreeve user add), or set authentication.credentials: ignore."},
	{code: core.OperationNotSupported, say: "The product asks for an operation that the server does not have, or not in this version of KMIP; docs/KMIP.md lists them. If the product can speak another version, try that."},
	{code: core.FeatureNotSupported, say: "The product asks for a feature that the server does not have; docs/KMIP.md lists them. See whether it can be turned off in the product."},
	{code: core.InvalidMessage, contains: "not TTLV", say: "The client speaks something else than TTLV over TLS. If the product can choose, take KMIP over TLS (TTLV) and not HTTPS."},
	{code: core.InvalidMessage, contains: "version", say: "The client speaks a version of KMIP that the server does not have. Choose one from 1.0 to 2.1 in the product."},
	{code: core.ResponseTooLarge, say: "The client bounds the size of an answer (Maximum Response Size). If it asks for all attributes, leave some out for it under compat in the settings. If it lists objects, it must ask for fewer at once."},
	{code: core.WrongState, say: "The object is not in a state for this. Most uses need an object that was activated (Activate) and neither deactivated nor disabled."},
	{code: core.IncompatibleUsageMask, say: "The key was made without this use in its Cryptographic Usage Mask. Make a key that has it."},
	{code: core.NotExtractable, say: "The key may not leave the server. A product that reads its keys, also the private key of a pair, needs keys whose class allows this."},
	{code: core.Sensitive, say: "The key may not leave the server in clear. A product that reads its keys, also the private key of a pair, needs keys whose class allows this."},
	{code: core.NonUniqueNameAttribute, say: "Another object of the tenant has the Name, and the setting keys.unique_names refuses this. Products that give all of their objects one Name, as PyKMIP does, need false."},
	{code: core.TokenUnavailable, say: "The HSM or the database did not answer in time: see keyreeve health. Some products give up after 30 s: for them limits.operation must be less."},
	{code: core.StoreUnavailable, say: "The database did not answer: see keyreeve health."},
	{code: core.AuditUnavailable, say: "The record could not be stored, so nothing was done: see keyreeve health."},
	{code: core.PolicyUnavailable, say: "The policy is missing, faulty or too slow, so everything is denied: see keyreeve health."},
	{code: core.TooManyRequests, say: "The client or its tenant has sent more requests in a second than its quota allows."},
	{code: core.QuotaExceeded, say: "The tenant has reached a quota: see keyreeve tenant show."},
	{code: core.ApprovalNeeded, say: "The request waits for approvals: see keyreeve approval list. After them the product must send it again."},
	{code: core.UnsupportedByHSM, say: "The HSM does not have the mechanism. See the health of the HSM, and whether the product can use another algorithm."},
}

// Hints says what can be done about what is kept of a client.
func Hints(client string, all []*Exchange, refused []Refusal) []string {
	out := []string{}
	say := func(h *hint) {
		if text := strings.ReplaceAll(h.say, "{client}", client); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	for i := range hints {
		h := &hints[i]
		for _, r := range refused {
			if h.handshake && strings.Contains(r.Why, h.contains) {
				say(h)
			}
		}
		for _, e := range all {
			for _, f := range e.Failures {
				if h.fits(f) {
					say(h)
				}
			}
		}
	}
	return out
}

// fits reports whether a failure is the symptom. A certificate can be refused on an open
// connection too.
func (h *hint) fits(f Failure) bool {
	code := h.code
	if h.handshake {
		code = core.AuthenticationNotSuccessful
	}
	return f.Code == code && strings.Contains(f.Text, h.contains)
}
