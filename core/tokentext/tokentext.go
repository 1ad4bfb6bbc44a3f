// Package tokentext makes and reads the text of access tokens. It imports nothing of ours, and
// keeps no secret. Start at [New].
package tokentext

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// Sizes of the parts of an access token, in bytes.
const (
	tokenPrefix      = "kr1_"
	tokenIDBytes     = 16
	tokenSecretBytes = 32
)

// tokenText writes the parts of a token: lower case, without padding, so that no part has a
// '_' or looks like a flag of a command.
var tokenText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

var (
	tokenIDChars     = tokenText.EncodedLen(tokenIDBytes)
	tokenSecretChars = tokenText.EncodedLen(tokenSecretBytes)
	tokenChars       = len(tokenPrefix) + tokenIDChars + 1 + tokenSecretChars
)

// New returns a random token, its ID, and the SHA-256 of its secret.
func New() (token []byte, id string, secretHash []byte) {
	var parts [tokenIDBytes + tokenSecretBytes]byte
	defer clear(parts[:])
	rand.Read(parts[:])
	id = tokenText.EncodeToString(parts[:tokenIDBytes])
	token = append(append(append(make([]byte, 0, tokenChars), tokenPrefix...), id...), '_')
	token = tokenText.AppendEncode(token, parts[tokenIDBytes:])
	sum := sha256.Sum256(parts[tokenIDBytes:])
	return token, id, sum[:]
}

// Parse returns the ID of a token and the SHA-256 of its secret. ok is false if the
// text is not exactly in the form that [New] makes.
func Parse(token string) (id string, secretHash [sha256.Size]byte, ok bool) {
	if len(token) != tokenChars || !strings.HasPrefix(token, tokenPrefix) || token[len(tokenPrefix)+tokenIDChars] != '_' {
		return "", secretHash, false
	}
	id = token[len(tokenPrefix) : len(tokenPrefix)+tokenIDChars]
	if !isID(id) {
		return "", secretHash, false
	}
	text := []byte(token[len(token)-tokenSecretChars:])
	var secret [tokenSecretBytes]byte
	var again [(tokenSecretBytes*8 + 4) / 5]byte
	defer func() { clear(text); clear(secret[:]); clear(again[:]) }()
	if n, err := tokenText.Decode(secret[:], text); err != nil || n != len(secret) {
		return "", secretHash, false
	}
	if tokenText.Encode(again[:], secret[:]); !bytes.Equal(again[:], text) {
		return "", secretHash, false // the last character has bits that mean nothing
	}
	return id, sha256.Sum256(secret[:]), true
}

// isID reports whether a text can be the ID of a token.
func isID(id string) bool {
	if len(id) != tokenIDChars {
		return false
	}
	b, err := tokenText.DecodeString(id)
	return err == nil && tokenText.EncodeToString(b) == id
}
