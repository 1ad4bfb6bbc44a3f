package message

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// What reading a message makes is reserved before it is made, by its items and its
// texts. If there is no memory, the message is refused and nothing of it is done.
func TestReadingAMessageReservesMemory(t *testing.T) {
	c := newClient(t, core.V1_4)
	message := func(n int) []byte {
		msg, err := kmip.AppendRequest(nil, c.v, kmip.RequestOptions{}, kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, vendors(n, core.Text("a text of 22 characters"))...)))
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	ask := func(msg []byte, answer error) (asked int) {
		c.door.origin.Memory = core.MessageMemory{Reserve: func(_ context.Context, bytes int) error {
			if asked == 0 { // later ones are for answers
				asked = bytes
			}
			return answer
		}}
		defer func() { c.door.origin.Memory = core.MessageMemory{} }()
		c.door.answer(context.Background(), msg, nil)
		return asked
	}
	few, many := ask(message(10), nil), ask(message(110), nil)
	if least := 100 * 3 * 100; few <= 0 || many-few < least {
		t.Errorf("messages with 10 and 110 attributes reserve %d and %d bytes; want at least %d more", few, many, least)
	}
	before := do(c, &kmip.Locate, core.LocateInput{MaximumItems: -1})
	if ask(message(10), core.Errorf(core.Busy, "there is none")) == 0 {
		t.Error("nothing was reserved")
	}
	if after := do(c, &kmip.Locate, core.LocateInput{MaximumItems: -1}); len(after.IDs) != len(before.IDs) {
		t.Errorf("a message without memory made %d objects", len(after.IDs)-len(before.IDs))
	}
}
