package cli

import "testing"

// The value of an attribute or a tag can have any character: NAME=VALUE is not split further.
func TestAttributesAreNotSplit(t *testing.T) {
	maps := 0
	for _, leaf := range parser().Model.Leaves(false) {
		for _, f := range leaf.Flags {
			if !f.IsMap() {
				continue
			}
			if maps++; f.Tag.MapSep != -1 {
				t.Errorf("%s --%s is split at %q", leaf.Path(), f.Name, f.Tag.MapSep)
			}
		}
	}
	if maps == 0 {
		t.Error("no flag has names and values")
	}
}
