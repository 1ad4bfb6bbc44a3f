package core

import (
	"crypto/sha256"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// User is a person or a program with a password. It belongs to one tenant. It is one
// version of a row and never changes.
type User struct {
	Tenant  string `json:"-"`
	Name    string `json:"-"` // unique in the tenant: the ID of the principal
	Version int64  `json:"-"` // of the row: 1, 2, ...

	Password   PasswordHash      `json:"password,omitempty"` // "": none, so no password is right
	Hashed     []HashedVerifier  `json:"hashed,omitempty"`   // for Hashed Password credentials; nil: they are refused
	CodeKey    SecretBytes       `json:"codeKey,omitempty"`  // of the one-time codes; nil: the user needs no code
	Groups     []string          `json:"groups,omitempty"`
	Roles      []string          `json:"roles,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"` // for policies
	Disabled   bool              `json:"disabled,omitempty"`
	Expires    int64             `json:"expires,omitempty"` // Unix seconds, 0: never

	// Begun is the version with which the user was made. A user who is removed and made again
	// is another one. It is 0 for users of older servers.
	Begun int64 `json:"begun,omitempty"`

	// Proofs lists how the user can log in, some of Methods. WithoutSecrets sets it.
	Proofs []string `json:"-"`
}

// HashedVerifier verifies Hashed Password credentials (KMIP 2.1 §9.11) of one hashing algorithm.
// The password can be guessed with it, faster than with PasswordHash, but it is no credential:
// the client sends S2.
type HashedVerifier struct {
	Algorithm HashingAlgorithm `json:"algorithm"`
	S1        SecretBytes      `json:"s1"`     // Hash(Username || Password)
	HashS2    SecretBytes      `json:"hashS2"` // Hash(S2)
}

// SecretBytes is a secret that a row keeps encrypted. It prints "redacted".
type SecretBytes []byte

func (SecretBytes) String() string       { return "redacted" }
func (SecretBytes) GoString() string     { return "redacted" }
func (SecretBytes) LogValue() slog.Value { return slog.StringValue("redacted") }

// WithoutSecrets returns a copy without what proves the user, with a list of the ways to log in.
func (u *User) WithoutSecrets() User {
	out := *u
	out.Password, out.Hashed, out.CodeKey, out.Proofs = "", nil, nil, nil
	switch {
	case u.Password == "":
	case u.CodeKey != nil:
		out.Proofs = []string{MethodCode}
	case u.Hashed != nil:
		out.Proofs = []string{MethodPassword, MethodHashedPassword}
	default:
		out.Proofs = []string{MethodPassword}
	}
	return out
}

// ProofHash is the SHA-256 of what proves the user. A token that it bought ends when it changes.
func (u *User) ProofHash() [sha256.Size]byte {
	return sha256.Sum256(append([]byte(u.Password), u.CodeKey...))
}

// Bounds of a user.
const (
	MaxNameBytes           = 64 // of a user, group, role or attribute
	MaxUserNames           = 64 // groups of a user, roles, attributes: of each
	MaxAttributeValueBytes = 256
	MaxPasswordHashBytes   = 256
	CodeKeyBytes           = 20 // of a user's one-time codes (RFC 4226 §4, R6)
	maxHashedVerifiers     = 3
)

// PasswordHash is what the server keeps of a password: an argon2id hash as a PHC string. It
// prints "redacted", because the password can be guessed with it.
type PasswordHash string

func (PasswordHash) String() string       { return "redacted" }
func (PasswordHash) GoString() string     { return "redacted" }
func (PasswordHash) LogValue() slog.Value { return slog.StringValue("redacted") }

// ValidName reports whether s may be the name of a user, group, role or attribute: a letter
// or digit, then at most 63 letters, digits, '.', '_' and '-'. Certificates have the same
// rule (certs/identity).
func ValidName(s string) bool {
	if s == "" || len(s) > MaxNameBytes {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return false
		}
	}
	return true
}

// Check returns an error if a field of u is out of its bounds.
func (u *User) Check() error {
	switch {
	case !ValidName(u.Tenant) || u.Tenant == SystemTenant:
		return Errorf(InvalidField, "%q cannot be the tenant of a user", ClientText(u.Tenant))
	case !ValidName(u.Name):
		return Errorf(InvalidField, "%q cannot be a user; use letters, digits, '.', '_' and '-', at most %d", ClientText(u.Name), MaxNameBytes)
	case u.Version < 1:
		return Errorf(InvalidField, "the user %s has version %d; versions begin at 1", ClientText(u.Name), u.Version)
	case len(u.Password) > MaxPasswordHashBytes || !printableText(string(u.Password)):
		return Errorf(InvalidField, "password: a hash has at most %d printable characters", MaxPasswordHashBytes)
	case len(u.CodeKey) != 0 && len(u.CodeKey) != CodeKeyBytes:
		return Errorf(InvalidField, "codeKey: it has %d bytes, not %d", len(u.CodeKey), CodeKeyBytes)
	case len(u.Hashed) > maxHashedVerifiers || u.Begun < 0 || u.Begun > u.Version:
		return Errorf(InvalidField, "hashed, begun: they are out of their bounds")
	case u.Expires < 0:
		return Errorf(InvalidField, "expires: %d is before 1970", u.Expires)
	}
	if err := checkNameList("groups", u.Groups); err != nil {
		return err
	}
	if err := checkNameList("roles", u.Roles); err != nil {
		return err
	}
	return checkUserAttributes(u.Attributes)
}

func checkNameList(field string, names []string) error {
	if len(names) > MaxUserNames {
		return Errorf(InvalidField, "%s: %d names; a user has at most %d", field, len(names), MaxUserNames)
	}
	seen := map[string]bool{}
	for _, n := range names {
		if !ValidName(n) || seen[n] {
			return Errorf(InvalidField, "%s: %q is no name or is there twice; use letters, digits, '.', '_' and '-', at most %d", field, ClientText(n), MaxNameBytes)
		}
		seen[n] = true
	}
	return nil
}

func checkUserAttributes(attributes map[string]string) error {
	if len(attributes) > MaxUserNames {
		return Errorf(InvalidField, "attributes: %d of them; a user has at most %d", len(attributes), MaxUserNames)
	}
	for name, value := range attributes {
		if !ValidName(name) {
			return Errorf(InvalidField, "attributes: %q is no name; use letters, digits, '.', '_' and '-', at most %d", ClientText(name), MaxNameBytes)
		}
		if value == "" || len(value) > MaxAttributeValueBytes || !printableText(value) {
			return Errorf(InvalidField, "attributes.%s: a value has 1 to %d bytes of printable text", ClientText(name), MaxAttributeValueBytes)
		}
	}
	return nil
}

// printableText reports whether s is UTF-8 without control characters. JSON needs no escapes
// for it but those of quotes and backslashes.
func printableText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) })
}

// EncodeBody returns the fields of u that its row keeps encrypted, as JSON. It is always the
// same text for the same user.
func (u *User) EncodeBody() ([]byte, error) { return EncodeBody(u) }

// DecodeUser reads what [User.EncodeBody] wrote. It refuses every other text, so no two
// readers can see two users in one row.
func DecodeUser(tenant, name string, version int64, body []byte) (*User, error) {
	u := &User{Tenant: tenant, Name: name, Version: version}
	if err := DecodeBody(body, u); err != nil {
		return nil, Wrap(CodeOf(err), err, "the row of user %s/%s cannot be read", ClientText(tenant), ClientText(name))
	}
	return u, nil
}
