package message

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// What reading a message makes is counted, by its items and its texts. It is not waited
// for, because the message holds memory itself.
func TestReadingAMessageCountsMemory(t *testing.T) {
	c := newClient(t, core.V1_4)
	counted := func(attributes int) (bytes int) {
		msg, err := kmip.AppendRequest(nil, c.v, kmip.RequestOptions{}, kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, vendors(attributes, core.Text("a text of 22 characters"))...)))
		if err != nil {
			t.Fatal(err)
		}
		c.door.origin.Memory = core.MessageMemory{Count: func(n int) {
			if bytes == 0 { // later ones are of the answer
				bytes = n
			}
		}}
		defer func() { c.door.origin.Memory = core.MessageMemory{} }()
		c.door.answer(context.Background(), msg, nil)
		return bytes
	}
	few, many := counted(10), counted(110)
	if least := 100 * 3 * 100; few <= 0 || many-few < least {
		t.Errorf("messages with 10 and 110 attributes count %d and %d bytes; want at least %d more", few, many, least)
	}
}

// A refused client is told why, even if there is no memory.
func TestRefusalNeedsNoMemory(t *testing.T) {
	c := newClient(t, core.V1_4)
	msg, err := kmip.AppendRequest(nil, c.v, kmip.RequestOptions{}, kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, vendors(50, core.Text("a text of 22 characters"))...)))
	if err != nil {
		t.Fatal(err)
	}
	c.door.origin.Refusal = core.Errorf(core.AuthenticationNotSuccessful, "revoked")
	c.door.origin.Memory = core.MessageMemory{FreeBytes: bounds.FreeBytes, Reserve: func(_ context.Context, bytes int) error {
		if bytes > bounds.FreeBytes {
			return core.Errorf(core.Busy, "full")
		}
		return nil
	}}
	r, err := kmip.ParseResponse(c.door.answer(context.Background(), msg, nil))
	if err != nil || r.Items[0].Reason != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a revoked client was answered %v %q, %v", r.Items[0].Reason, r.Items[0].Message, err)
	}
}
