package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// A program reads back what was written, whatever it was.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "\"\\/\x00\x1f\x7f", "\xff\xfe", "\u2028\U0001f511\ufffd", "a\xe4\xb8", strings.Repeat("x\x7f", 9)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := string([]rune(s))
		for _, del := range []DEL{KeepDEL, EscapeDEL} {
			out := AppendString([]byte("before"), s, del)
			var got string
			if err := json.Unmarshal(out[len("before"):], &got); err != nil || got != want {
				t.Errorf("%q was written as %s and read as %q, %v", s, out, got, err)
			}
			if !utf8.Valid(out) || strings.ContainsAny(string(out), "\r\n\x00") || del == EscapeDEL && strings.Contains(string(out), "\x7f") {
				t.Errorf("%q was written as %q", s, out)
			}
		}
		var again string
		if err := json.Unmarshal([]byte(ForTerminal(string(AppendString(nil, s, KeepDEL)))), &again); err != nil || again != want {
			t.Errorf("for a terminal %q became %q, %v", s, again, err)
		}
	})
}

func TestForTerminal(t *testing.T) {
	const in, want = "{\"a\":\"\u00e4 \u202e\u009b\x7f\U000e0001\"}", `{"a":"` + "\u00e4" + ` \u202e\u009b\u007f\udb40\udc01"}`
	if got := ForTerminal(in); got != want {
		t.Errorf("%q became %q, want %q", in, got, want)
	}
}
