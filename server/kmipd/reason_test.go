package kmipd

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Every code has an answer in every version, and none is younger than the version.
func TestEveryCodeHasAReason(t *testing.T) {
	enum := core.TagResultReason.Info().Enum
	for _, c := range core.Codes() {
		if _, ok := reasons[c]; !ok {
			t.Errorf("code %v has no Result Reason", c)
			continue
		}
		for _, v := range core.Versions {
			r := reasonOf(c, v)
			if row := enum.Lookup(uint32(r)); row == nil || !v.Within(row.Since, row.Until) {
				t.Errorf("code %v answers %v to a client of %v, which does not know it", c, r, v)
			}
		}
	}
	for _, c := range []struct {
		code core.Code
		v    core.Version
		want core.ResultReason
	}{{core.WrongState, core.V1_4, core.ReasonPermissionDenied}, {core.WrongState, core.V2_1, core.ReasonWrongKeyLifecycleState}, {core.ItemNotFound, core.V1_0, core.ReasonItemNotFound},
		{core.ItemNotFound, core.V2_0, core.ReasonObjectNotFound}, {core.Sensitive, core.V1_2, core.ReasonPermissionDenied}, {core.Sensitive, core.V1_4, core.ReasonSensitive},
		{core.UsageLimitExceeded, core.V2_1, core.ReasonPermissionDenied}, {core.AttributeReadOnly, core.V2_1, core.ReasonAttributeReadOnly}} {
		if got := reasonOf(c.code, c.v); got != c.want {
			t.Errorf("%v in %v is %v, want %v", c.code, c.v, got, c.want)
		}
	}
}

func TestMessagesAreASCII(t *testing.T) {
	for _, s := range []string{"naïve \u0000\n", string(make([]byte, 1000)), "\xff"} {
		got := printable(s)
		if len(got) > maxMessage {
			t.Errorf("%d bytes", len(got))
		}
		for _, c := range []byte(got) {
			if c < ' ' || c > '~' {
				t.Errorf("%q became %q", s, got)
			}
		}
	}
}
