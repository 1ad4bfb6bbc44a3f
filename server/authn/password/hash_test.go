package password

import (
	"bytes"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A hash of the reference implementation (phc-winner-argon2, src/test.c) is read and matches its
// password alone.
func TestReferenceHash(t *testing.T) {
	h, err := parseHash("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !h.matches([]byte("password")) || h.matches([]byte("Password")) || h.matches(nil) {
		t.Error("the reference hash does not match exactly its password")
	}
}

func TestHashMatchesItsPassword(t *testing.T) {
	secret := []byte("correct horse")
	a, err := Hash(secret)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := Hash(secret)
	if a == b {
		t.Error("two hashes of one password are the same: the salt is not random")
	}
	h, err := parseHash(a)
	if err != nil || !h.matches(secret) || h.matches([]byte("correct horsf")) || h.matches(append(secret, 0)) {
		t.Errorf("%s does not match exactly its password: %v", string(a), err)
	}
	if _, err := (&core.User{Tenant: "t", Name: "u", Version: 1, Password: a}).EncodeBody(); err != nil {
		t.Errorf("a user cannot have this hash: %v", err)
	}
}

// A password beyond the bounds has no hash, and is not taken for the password that it begins with.
func TestPasswordHasBounds(t *testing.T) {
	for _, n := range []int{0, MinBytes - 1, MaxBytes + 1} {
		if h, err := Hash(bytes.Repeat([]byte("x"), n)); h != "" || core.CodeOf(err) != core.InvalidField {
			t.Errorf("%d bytes: %v; want InvalidField", n, err)
		}
	}
	longest := bytes.Repeat([]byte("x"), MaxBytes)
	s, err := Hash(longest)
	if err != nil {
		t.Fatal(err)
	}
	h, _ := parseHash(s)
	if !h.matches(longest) || h.matches(append(longest, 'x')) {
		t.Error("the longest password does not match alone")
	}
}

// A hash that is cheap, dear, of another kind or in another form is refused.
func TestOtherHashesAreRefused(t *testing.T) {
	good := string(newHash().encode())
	if _, err := parseHash(core.PasswordHash(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{"argon2id", "argon2i"}, {"argon2id", "argon2d"}, {"argon2id", "bcrypt"}, {"v=19", "v=16"}, {"v=19$", ""}, {"m=19456", "m=7167"}, {"m=19456", "m=65537"},
		{"m=19456", "m=019456"}, {"m=19456", "m=+19456"}, {"m=19456", "m=-1"}, {"m=19456", "m=4294967296"}, {"m=19456", "m= 19456"}, {"t=2", "t=0"}, {"t=2", "t=11"},
		{"p=1", "p=2"}, {"p=1", "p=0"}, {"p=1$", "p=1,keyid=x$"}, {"$argon2id", " $argon2id"}, {"$argon2id", "argon2id"},
	} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if _, err := parseHash(core.PasswordHash(bad)); err == nil || bad == good {
			t.Errorf("%s was taken", bad)
		}
	}
	for _, bad := range []string{"", "$", good + "$", good + "=", good + "\n", good + "AAAA" + strings.Repeat("A", 256), good[:len(good)-30], strings.TrimSuffix(good, good[strings.LastIndex(good, "$"):]),
		"$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$" + strings.Repeat("A", 43), "$argon2id$v=19$m=19456,t=2,p=1$$"} {
		if _, err := parseHash(core.PasswordHash(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		} else if strings.Contains(err.Error(), "$") {
			t.Errorf("the error quotes the hash: %v", err)
		}
	}
}
