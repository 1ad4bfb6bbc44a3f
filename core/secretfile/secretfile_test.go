package secretfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The whole file is the secret, or it is refused. The error holds nothing of its content.
func TestLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for content, want := range map[string]struct{ line, refused string }{
		"1234": {"1234", ""}, "1234\n": {"1234", ""}, "1234\r\n": {"1234", ""}, "": {}, "\n": {}, "12 34\n": {"12 34", ""}, "pässword\n": {"pässword", ""},
		"s3cret\nsecond": {refused: "more than one line"}, "s3cret\n\n": {refused: "more than one line"}, "\ns3cret": {refused: "more than one line"}, "s3\rcret": {refused: "more than one line"},
		"s3\x00cret": {refused: "cannot be printed"}, "s3\tcret": {refused: "cannot be printed"}, "s3\xffcret": {refused: "cannot be printed"}, "s3cret\u202e": {refused: "cannot be printed"},
		" s3cret": {refused: "white space"}, "s3cret \n": {refused: "white space"},
		strings.Repeat("x", maxBytes): {line: strings.Repeat("x", maxBytes)}, strings.Repeat("x", maxBytes+1): {refused: "more than 4096 bytes"},
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Line(path)
		if got != want.line || (err == nil) != (want.refused == "") {
			t.Errorf("%.20q: %.20q, %v; want %.20q", content, got, err, want.line)
		}
		if err != nil && (!strings.Contains(err.Error(), want.refused) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%.20q: %q; want %q, and nothing of the content", content, err, want.refused)
		}
	}
	for _, other := range []string{t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "none")} {
		if _, err := Line(other); err == nil || !strings.Contains(err.Error(), other) {
			t.Errorf("%s: %v; want that it is named and refused", other, err)
		}
	}
}
