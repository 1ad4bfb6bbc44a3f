package directory

import "github.com/keyreeve/keyreeve/core"

// Tokens finds access tokens by their ID, which a client sends without the tenant. Safe for
// concurrent use.
type Tokens struct{ *Ending }

// NewTokens must be called before the directory is opened.
func NewTokens(d *Directory) *Tokens {
	return &Tokens{newEnding(d, core.EntryToken, int64(core.MaxTokenLifetime.Seconds()), func(e *core.DirectoryEntry) (string, int64, error) {
		body, err := decodeBody[core.AccessToken](e)
		if err != nil {
			return "", 0, err
		}
		return body.Principal, body.Expires, nil
	})}
}

// Find returns the tenant of a token and the version of its entry. The code is ItemNotFound if
// there is none or it was deleted; otherwise the codes are those of [Directory.Version]. It
// allocates nothing.
func (t *Tokens) Find(id string) (tenant string, version int64, err error) {
	t.mu.RLock()
	known, ok := t.known[id]
	t.mu.RUnlock()
	if !ok {
		if err := t.directory.Fresh(); err != nil {
			return "", 0, err
		}
		return "", 0, errAbsent
	}
	version, err = t.directory.Version(core.EntryToken, known.tenant, id)
	return known.tenant, version, err
}

// Token returns what the directory keeps of a token. The codes are those of [Directory.Get].
func (t *Tokens) Token(tenant, id string) (*core.AccessToken, error) {
	e, err := t.directory.Get(core.EntryToken, tenant, id)
	if err != nil {
		return nil, err
	}
	return decodeBody[core.AccessToken](e)
}
