// Package password verifies the Username and Password in the header of a KMIP message, and
// slows down anyone who guesses.
//
// A password is kept as an argon2id hash. Checking one takes much memory and time, so only
// a few are checked at once, in turns of certificates and addresses. A password that was
// right is remembered by a keyed hash in memory until its user changes. The package never
// keeps, logs or returns a password, and decides nothing about what a user may do.
// Start at [Verifier.ForConnection].
package password

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of a password, in bytes. A longer one is never right.
const (
	MinBytes = 8
	MaxBytes = 1024
)

// Parameters of new hashes: the first that OWASP's Password Storage Cheat Sheet names for
// argon2id. One lane, because a check may use one processor.
const (
	hashMemoryKiB = 19 * 1024
	hashPasses    = 2
	saltBytes     = 16
	sumBytes      = 32
)

// Bounds of the parameters of a stored hash. The least are the cheapest that OWASP names.
const (
	minMemoryKiB, maxMemoryKiB = 7 * 1024, 64 * 1024
	minPasses, maxPasses       = 1, 10
)

// encodedHash is a PHC string in parts.
type encodedHash struct {
	memoryKiB, passes uint32
	salt, sum         []byte
}

// Hash returns what the server keeps of a password: a PHC string. It fails with InvalidField
// if the password is too short or too long.
func Hash(password []byte) (core.PasswordHash, error) {
	if n := len(password); n < MinBytes || n > MaxBytes {
		return "", core.Errorf(core.InvalidField, "a password has %d to %d bytes, not %d", MinBytes, MaxBytes, n)
	}
	h := newHash()
	h.sum = h.derive(password)
	return h.encode(), nil
}

// newHash returns a hash with the parameters of new ones, a random salt and a random sum,
// which no password has.
func newHash() *encodedHash {
	h := &encodedHash{memoryKiB: hashMemoryKiB, passes: hashPasses, salt: make([]byte, saltBytes), sum: make([]byte, sumBytes)}
	rand.Read(h.salt)
	rand.Read(h.sum)
	return h
}

func (h *encodedHash) derive(password []byte) []byte {
	return argon2.IDKey(password, h.salt, h.passes, h.memoryKiB, 1, uint32(len(h.sum)))
}

// matches reports whether h is the hash of a password.
func (h *encodedHash) matches(password []byte) bool {
	got := h.derive(password[:min(len(password), MaxBytes)])
	defer clear(got)
	return subtle.ConstantTimeCompare(got, h.sum) == 1 && len(password) <= MaxBytes && len(password) > 0
}

const phcForm = "$argon2id$v=19$m=%d,t=%d,p=1$%s$%s"

func (h *encodedHash) encode() core.PasswordHash {
	b64 := base64.RawStdEncoding.Strict()
	return core.PasswordHash(fmt.Sprintf(phcForm, h.memoryKiB, h.passes, b64.EncodeToString(h.salt), b64.EncodeToString(h.sum)))
}

var errHash = errors.New("the stored hash of the password cannot be used: it is no argon2id hash with parameters within the bounds")

// parseHash reads a PHC string. It accepts only what encode writes.
func parseHash(s core.PasswordHash) (*encodedHash, error) {
	var h encodedHash
	var rest string
	if _, err := fmt.Sscanf(string(s), "$argon2id$v=19$m=%d,t=%d,p=1$%s", &h.memoryKiB, &h.passes, &rest); err != nil || len(s) > core.MaxPasswordHashBytes {
		return nil, errHash
	}
	if h.memoryKiB < minMemoryKiB || h.memoryKiB > maxMemoryKiB || h.passes < minPasses || h.passes > maxPasses {
		return nil, errHash
	}
	b64 := base64.RawStdEncoding.Strict()
	salt, sum, _ := strings.Cut(rest, "$")
	var err error
	if h.salt, err = b64.DecodeString(salt); err != nil || len(h.salt) < 8 {
		return nil, errHash
	}
	if h.sum, err = b64.DecodeString(sum); err != nil || len(h.sum) < 16 {
		return nil, errHash
	}
	if h.encode() != s {
		return nil, errHash
	}
	return &h, nil
}

// CheckMemory returns the bytes that the checks of passwords take at once.
func CheckMemory() int64 { return int64(checkSlots()) * hashMemoryKiB << 10 }

// maxChecks bounds the memory of checks on a machine with many processors.
const maxChecks = 4

// checkSlots returns how many passwords are checked at once: on half of the processors.
// GOMAXPROCS is not their number, because the server raises it.
func checkSlots() int { return min(max(1, runtime.NumCPU()/2), maxChecks) }
