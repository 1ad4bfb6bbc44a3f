package rules

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A vendor that reads like x or y is refused, because key policies could not tell its attributes
// from those of x or y. Attributes that only the server sets have the code for those.
func TestVendorsThatReadLikeOurs(t *testing.T) {
	for _, c := range []struct {
		vendor, name string
		want         core.Code // Internal: allowed
	}{
		{"x", "keyreeve-tag-env", core.Internal}, {"x", "Site", core.Internal}, {"x", "-", core.Internal}, {"xy", "a", core.Internal}, {"acme", "x-keyreeve-tag-env", core.Internal}, {"yard-x", "a", core.Internal},
		{"x-keyreeve", "tag-env", core.InvalidField}, {"x-keyreeve-tag", "env", core.InvalidField}, {"X", "keyreeve-tag-env", core.InvalidField}, {"X-KEYREEVE", "tag-env", core.InvalidField},
		{"x-", "a", core.InvalidField}, {"Y", "uses", core.InvalidField}, {"y-keyreeve", "uses", core.InvalidField}, {"x-keyreeve", "custody", core.InvalidField},
		{"y", "a", core.AttributeReadOnly}, {"x-keyreeve", "alias", core.AttributeReadOnly}, {"X", "keyreeve-disabled", core.AttributeReadOnly},
	} {
		err := CheckVendorAttribute(&core.Attribute{Vendor: c.vendor, Name: c.name, Value: core.Text("v")})
		if (err == nil) != (c.want == core.Internal) || core.CodeOf(err) != c.want {
			t.Errorf("vendor %q, name %q: %v; want code %v", c.vendor, c.name, err, c.want)
		}
	}
}
