package kmiptest

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// XML and JSON name what core's table names. The test stands here because
// package kmip's own import the library's tables, which would hide that ours
// are missing.
func TestNamesComeFromOurTable(t *testing.T) {
	item := Item(&kmip.Activate, &core.ActivateInput{ID: core.ID("one")})
	msg, err := kmip.AppendRequest(nil, core.V2_1, kmip.RequestOptions{}, item)
	if err != nil {
		t.Fatal(err)
	}
	x, err := kmip.XML(msg)
	if err != nil {
		t.Fatal(err)
	}
	j, err := kmip.JSON(msg)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(x), string(j)} {
		if !strings.Contains(text, "RequestHeader") || !strings.Contains(text, "Activate") || strings.Contains(text, "0x4200") {
			t.Errorf("the message is not named: %s", text)
		}
	}
}
