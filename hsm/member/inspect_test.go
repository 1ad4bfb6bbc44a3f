package member

import (
	"fmt"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"
)

// The flags of a token about its PIN are told before a try could lock it.
func TestPINState(t *testing.T) {
	const set = p11.CKF_USER_PIN_INITIALIZED
	for flags, want := range map[uint]string{
		0: "no user PIN yet", set: "[] <nil>", set | p11.CKF_USER_PIN_COUNT_LOW: "[a wrong PIN was tried",
		set | p11.CKF_USER_PIN_COUNT_LOW | p11.CKF_USER_PIN_FINAL_TRY:                           "one more wrong PIN locks",
		set | p11.CKF_USER_PIN_COUNT_LOW | p11.CKF_USER_PIN_FINAL_TRY | p11.CKF_USER_PIN_LOCKED: "is locked",
		set | p11.CKF_USER_PIN_TO_BE_CHANGED:                                                    "must be changed",
	} {
		notes, err := pinState("t", flags)
		if got := fmt.Sprint(notes, " ", err); !strings.Contains(got, want) {
			t.Errorf("flags %#x: %s; want %q", flags, got, want)
		}
	}
}
