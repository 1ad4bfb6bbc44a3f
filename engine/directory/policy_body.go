package directory

import (
	"bytes"
	"encoding/json"

	"github.com/keyreeve/keyreeve/core"
)

// PolicyBody is the body of one version of a key policy. A version that is in force from the
// moment it was stored has nothing but its Document, as it was written.
type PolicyBody struct {
	ActivateAt int64           `json:"activateAt"`         // Unix seconds: since when it is in force; 0: since it was stored
	Before     int64           `json:"before,omitempty"`   // the version that is in force until then; 0: none is
	Until      json.RawMessage `json:"until,omitempty"`    // the document of version Before
	Document   json.RawMessage `json:"document,omitempty"` // of this version
}

// waitingPrefix begins the body of a version that was stored before it is in force. No
// document begins so: the schema of documents has no such member.
var waitingPrefix = []byte(`{"activateAt":`)

// Check returns an error if a field of b is out of its bounds.
func (b *PolicyBody) Check() error {
	switch {
	case b.ActivateAt <= 0:
		return core.Errorf(core.InvalidField, "the time from which the version of a policy is in force is missing")
	case b.Before < 0 || (b.Before == 0) != (len(b.Until) == 0):
		return core.Errorf(core.InvalidField, "the version of a policy that is in force until then has no number or no document")
	case len(b.Document) == 0:
		return core.Errorf(core.InvalidField, "the version of a policy has no document")
	}
	return nil
}

// Encode returns the body as it is stored.
func (b *PolicyBody) Encode() ([]byte, error) {
	if b.ActivateAt == 0 {
		return b.Document, nil
	}
	text, err := core.EncodeBody(b)
	if err == nil && len(text) > core.MaxDirectoryBody {
		err = core.Errorf(core.InvalidField, "the document and the one that is in force until then have %d bytes together; at most %d can wait. Apply it without a time", len(text), core.MaxDirectoryBody)
	}
	return text, err
}

// DecodePolicyBody reads what [PolicyBody.Encode] wrote.
func DecodePolicyBody(text []byte) (b PolicyBody, err error) {
	if !bytes.HasPrefix(text, waitingPrefix) {
		return PolicyBody{Document: text}, nil
	}
	if err := core.DecodeBody(text, &b); err != nil {
		return PolicyBody{}, core.Wrap(core.Tampered, err, "the version of a policy cannot be read")
	}
	return b, nil
}
