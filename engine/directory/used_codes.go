package directory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/keyreeve/keyreeve/core"
)

// UsedCodes notes which one-time codes users have used. Each is an entry whose ID follows from the
// user and the time step of the code, so the database takes it once, whichever node stores it.
// Safe for concurrent use.
type UsedCodes struct{ *Ending }

// usedCodeLifetime is how long a used code is kept, in seconds: much longer than it is right by the
// clock of any node.
const usedCodeLifetime = 900

// usedCode is the body of the entry.
type usedCode struct {
	User string `json:"user"`
}

// Check returns an error if a field of u is out of its bounds.
func (u *usedCode) Check() error {
	if !core.ValidName(u.User) {
		return core.Errorf(core.InvalidField, "user: %q is no name", core.ClientText(u.User))
	}
	return nil
}

// NewUsedCodes must be called before the directory is opened.
func NewUsedCodes(d *Directory) *UsedCodes {
	return &UsedCodes{newEnding(d, core.EntryUsedCode, usedCodeLifetime, func(e *core.DirectoryEntry) (string, int64, error) {
		body, err := decodeBody[usedCode](e)
		if err != nil {
			return "", 0, err
		}
		return body.User, e.At + usedCodeLifetime, nil
	})}
}

// isKnown reports whether this node has seen the use of a code. It knows that after the row was
// removed too.
func (u *UsedCodes) isKnown(id string) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	_, known := u.known[id]
	return known
}

// UseCode stores that a user of a tenant has used the code of a time step. It reports false if it
// was stored before. With any error the code must not be accepted.
func (u *UsedCodes) UseCode(ctx context.Context, tenant, user string, step int64) (first bool, err error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", tenant, user, step))
	id := hex.EncodeToString(sum[:])
	if err := u.directory.Fresh(); err != nil || u.isKnown(id) {
		return false, err
	}
	switch _, err := u.directory.Version(core.EntryUsedCode, tenant, id); core.CodeOf(err) {
	case core.ItemNotFound:
	default:
		return false, err
	}
	body, err := core.EncodeBody(&usedCode{user})
	if err != nil {
		return false, err
	}
	err = u.directory.Save(ctx, &core.DirectoryEntry{Kind: core.EntryUsedCode, Tenant: tenant, ID: id, Version: 1, At: u.directory.ports.Clock.Now(), Author: tenant + "/" + user, Body: body})
	if core.CodeOf(err) == core.Conflict {
		return false, nil // another node was first
	}
	return err == nil, err
}
