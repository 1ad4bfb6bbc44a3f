package message

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// echoing is an HSM that answers Encrypt with the data.
type echoing struct{ core.HSM }

func (echoing) Encrypt(_ context.Context, _ core.Key, c *core.Cipher) (core.Ciphered, error) {
	return core.Ciphered{Data: append([]byte(nil), c.Data...), ExecutedIn: "token"}, nil
}

// A later part of a stream names no object: its answer does, and later items of the
// batch may refer to it.
func TestReferenceToALaterPart(t *testing.T) {
	d, _ := newDoor(t, messagetest.SameStore, audit.New("n"))
	c := &client{t: t, door: d, v: core.V2_1}
	made := do(c, &kmip.Create, *kmiptest.AESKey(256, core.MaskEncrypt, core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)}))
	d.hsm.HSM = echoing{d.hsm.HSM}
	yes := true
	p := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}
	first := do(c, &kmip.Encrypt, core.EncryptInput{ID: core.ID(made.ID), Parameters: p, Data: make([]byte, 16), Init: &yes})
	last := int32(-1)
	_, items := c.send(
		kmiptest.Item(&kmip.Encrypt, &core.EncryptInput{Correlation: first.Correlation, Data: make([]byte, 16), Final: &yes}),
		kmiptest.Item(&kmip.GetAttributeList, &core.GetAttributeListInput{ID: core.Identifier{Nth: &last}}))
	for i, it := range items {
		if it.Status != core.StatusSuccess {
			t.Errorf("item %d: %v %v %q", i, it.Status, it.Reason, it.Message)
		}
	}
}
