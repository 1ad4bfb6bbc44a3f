package password

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// hashings are the hashing algorithms of Hashed Password credentials.
var hashings = map[core.HashingAlgorithm]func() hash.Hash{core.HashSHA256: sha256.New, core.HashSHA384: sha512.New384, core.HashSHA512: sha512.New}

// hashingOf returns a hashing algorithm, SHA-256 for 0 (KMIP 2.1 §9.11); nil if it is not accepted.
func hashingOf(a core.HashingAlgorithm) func() hash.Hash { return hashings[pinnedAlgorithm(a)] }

func pinnedAlgorithm(a core.HashingAlgorithm) core.HashingAlgorithm {
	if a == 0 {
		return core.HashSHA256
	}
	return a
}

// hashParts returns the hash of parts one after the other.
func hashParts(newHash func() hash.Hash, parts ...[]byte) []byte {
	h := newHash()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// HashedVerifiers returns what the server keeps of a user's password to verify Hashed Password
// credentials, for each hashing algorithm.
func HashedVerifiers(name string, password []byte) (all []core.HashedVerifier) {
	for a, newHash := range hashings {
		s2 := hashParts(newHash, password, []byte(name))
		all = append(all, core.HashedVerifier{Algorithm: a, S1: hashParts(newHash, []byte(name), password), HashS2: hashParts(newHash, s2)})
		clear(s2)
	}
	slices.SortFunc(all, func(a, b core.HashedVerifier) int { return int(a.Algorithm) - int(b.Algorithm) })
	return all
}

// hashedOf returns the verifier of a user who may log in now with a Hashed Password, or one that
// nothing matches and the reason why there is none.
func hashedOf(u *core.User, a core.HashingAlgorithm, now time.Time) (*core.HashedVerifier, error) {
	err := whyUnusable(u, now)
	switch {
	case err != nil:
	case u.CodeKey != nil:
		err = errNeedsCode
	default:
		for i := range u.Hashed {
			if u.Hashed[i].Algorithm == a {
				return &u.Hashed[i], nil
			}
		}
		err = errors.New("the user may not log in with a Hashed Password")
	}
	return &core.HashedVerifier{S1: make([]byte, hashings[a]().Size())}, err
}

// verifyHashed checks a Hashed Password and returns who it is. It sets the mark of the login and
// the hash for the answer. The timestamp may be that of the last login of the connection, if the
// whole credential is the same.
func (v *Verifier) verifyHashed(l *login, u *core.User, given *proof.HashedPassword, last *mark) (provenUser, error) {
	now, a := time.Now(), pinnedAlgorithm(given.Algorithm)
	if err := v.stamps.refuseAtStart(now); err != nil {
		return provenUser{}, err
	}
	h, unusable := hashedOf(u, a, now)
	version := int64(0)
	if unusable == nil {
		version = u.Version
	}
	l.given = v.memory.markOf(l.tenant, l.name, version, given.Hash, []byte{byte(a)})
	v.hashing.Lock() // a check takes microseconds; with several at once, as many guesses would pass when a delay ends
	defer v.hashing.Unlock()
	if err := v.refuseUnchecked(l, unusable); err != nil {
		return provenUser{}, err
	}
	proof, matches := matchHashed(h, hashings[a], given)
	switch {
	case unusable == nil && !matches:
		unusable = errWrong
	case unusable == nil && !l.given.equals(last):
		if err := v.stamps.accept(l.tenant, l.name, given.Timestamp, now); err != nil {
			return provenUser{}, refuseLogin(err) // it is no guess
		}
	}
	if unusable != nil {
		v.slowdown.noteFailure(l)
		return provenUser{}, refuseLogin(unusable)
	}
	v.slowdown.noteSuccess(l)
	given.ServerHash = proof
	return provenUser{user: u, method: core.MethodHashedPassword}, nil
}

// matchHashed reports whether a Hashed Password is right, in constant time, and returns the Server
// Hashed Password (KMIP 2.1 §9.11, §8.5).
func matchHashed(h *core.HashedVerifier, newHash func() hash.Hash, given *proof.HashedPassword) (proof []byte, matches bool) {
	stamp, size := binary.BigEndian.AppendUint64(nil, uint64(given.Timestamp)), newHash().Size()
	if len(given.Hash) != 2*size {
		return nil, false
	}
	first := subtle.ConstantTimeCompare(hashParts(newHash, h.S1, stamp), given.Hash[:size])
	second := subtle.ConstantTimeCompare(hashParts(newHash, given.Hash[size:]), h.HashS2)
	return hashParts(newHash, stamp, h.S1, h.HashS2), first&second == 1
}
