package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/api"
)

type keyCmd struct {
	Create    keyCreateCmd    `cmd:"" help:"Make a key, or a pair of keys."`
	List      keyListCmd      `cmd:"" help:"List keys, the newest first."`
	Show      keyShowCmd      `cmd:"" help:"Show what the server says of a key. The key itself is never shown."`
	Versions  keyVersionsCmd  `cmd:"" help:"List the versions of a key, the newest first."`
	Rotate    keyRotateCmd    `cmd:"" help:"Make a new version of a key. It takes over the name; the old one goes on decrypting and verifying."`
	Activate  keyActivateCmd  `cmd:"" help:"Make a Pre-Active key Active."`
	Revoke    keyRevokeCmd    `cmd:"" help:"End the use of a key for protecting data. It cannot be taken back."`
	Disable   keyDisableCmd   `cmd:"" help:"Forbid every use of a key, until key enable."`
	Enable    keyEnableCmd    `cmd:"" help:"Allow the use of a disabled key again."`
	Archive   keyArchiveCmd   `cmd:"" help:"Take a key off-line. It can only be shown, until key recover."`
	Recover   keyRecoverCmd   `cmd:"" help:"Bring an archived key back on-line."`
	Delete    keyDeleteCmd    `cmd:"" help:"Take a key out of use at once. It can be restored for some time."`
	Restore   keyRestoreCmd   `cmd:"" help:"Bring a deleted key back as it was."`
	Purge     keyPurgeCmd     `cmd:"" help:"Destroy a deleted key for good. It cannot be taken back."`
	Alias     keyAliasCmd     `cmd:"" help:"Names of keys that can be moved to other keys. alias/NAME stands for the key in every command."`
	PublicKey keyPublicKeyCmd `cmd:"" help:"Write the public key of a pair, as PEM."`
	Import    keyImportCmd    `cmd:"" help:"Take a key that was made elsewhere, wrapped or in clear."`
	Export    keyExportCmd    `cmd:"" help:"Write a key that is wrapped under another one, or a public key."`
}

// keyPath returns the path of a key and of something of it.
func keyPath(id, below string) string { return "/v1/keys/" + url.PathEscape(id) + below }

// onKey sends a request whose answer is a key, and prints it.
func (d *door) onKey(q request, idAlone bool) error {
	s, ctx, end, err := d.connect()
	if err != nil {
		return err
	}
	defer end()
	var key api.Key
	answer, err := s.ask(ctx, q, &key)
	if err != nil {
		return err
	}
	if idAlone {
		return printIDs(key.KeyID, key.PublicKeyID)
	}
	return s.show(answer, func() (string, error) { return members(answer) })
}

// idFlag prints no more than identifiers, for scripts.
type idFlag struct {
	Quiet bool `short:"q" help:"Print identifiers alone, each on a line. A pair has one for its private and one for its public key."`
}

// printIDs prints an identifier a line, and none for "".
func printIDs(ids ...string) error {
	var rows [][]string
	for _, id := range ids {
		if id != "" {
			rows = append(rows, []string{id})
		}
	}
	_, err := os.Stdout.WriteString(table(rows))
	return err
}

type keyCreateCmd struct {
	door
	idFlag
	Type string `help:"symmetric, pair (a private and a public key), or secret (random bytes that are no key)." enum:"symmetric,pair,secret" default:"symmetric"`
	keyFlags
}

// keyFlags say what a new or an imported key shall be.
type keyFlags struct {
	Algorithm      string            `help:"Algorithm, such as AES, HMAC-SHA256, RSA, EC or Ed25519. Left out, it is AES for symmetric." placeholder:"NAME"`
	Length         *int32            `help:"Length in bits. Left out, it is the usual one of the algorithm. A key that comes wrapped needs it, or a curve." placeholder:"BITS"`
	Curve          string            `help:"Curve of a key of EC, such as P-256." placeholder:"NAME"`
	Usage          []string          `help:"What the key is for: encrypt, decrypt, sign, verify, macGenerate, macVerify, wrapKey, unwrapKey, deriveKey. With commas, or repeat it." placeholder:"USE"`
	Name           string            `help:"Name that no other key of the tenant has." placeholder:"NAME"`
	Group          string            `help:"One of your groups, whose members own the key too." placeholder:"GROUP"`
	Tag            map[string]string `help:"NAME=VALUE, for filters and key policies; repeat it for more." mapsep:"none" placeholder:"NAME=VALUE"`
	Description    string            `help:"A sentence for people." placeholder:"TEXT"`
	Attribute      map[string]string `help:"Custom attribute; its name begins with x-. Repeat it for more." mapsep:"none" placeholder:"x-NAME=VALUE"`
	ObjectGroup    []string          `help:"Object Group of KMIP; repeat it for more." sep:"none" placeholder:"NAME"`
	Expires        string            `help:"Time after which the key protects nothing more, such as 2027-12-31T00:00:00Z." placeholder:"TIME"`
	Custody        string            `help:"wrapped (a sealed blob in the database) or resident (an object in the HSM)." enum:"wrapped,resident," default:"" placeholder:"PLACE"`
	Sensitive      bool              `help:"The key never leaves in clear."`
	NotExtractable bool              `help:"The key never leaves at all."`
	Inactive       bool              `help:"The key stays Pre-Active until key activate."`
}

// newKey returns the members of a body for a key of a type.
func (f *keyFlags) newKey(kind string) api.NewKey {
	if f.Algorithm == "" && kind == "symmetric" {
		f.Algorithm = "AES"
	}
	yes, no := true, false
	key := api.NewKey{
		Type: kind, Algorithm: given(f.Algorithm), Length: f.Length, Curve: given(f.Curve), Usage: f.Usage, Name: given(f.Name), Group: given(f.Group), Tags: f.Tag,
		Description: given(f.Description), Attributes: f.Attribute, ObjectGroups: f.ObjectGroup, ExpiresAt: given(f.Expires), Custody: given(f.Custody),
	}
	if f.Sensitive {
		key.Sensitive = &yes
	}
	if f.NotExtractable {
		key.Extractable = &no
	}
	if f.Inactive {
		key.Activate = &no
	}
	return key
}

// Run makes the key.
func (c *keyCreateCmd) Run() error {
	return c.onKey(post("/v1/keys", c.newKey(c.Type)), c.Quiet)
}

type keyListCmd struct {
	door
	idFlag
	Filter []string `arg:"" optional:"" help:"Terms that a key must all meet: name:N, label:L, tag.NAME:V, state:S, algorithm:A, type:T, objectGroup:G, createdAfter:TIME, expiresBefore:TIME." placeholder:"TERM"`
	Limit  int      `help:"The most keys to list." default:"1000"`
}

// maxPage is the most keys that a page can have.
const maxPage = 200

// Run lists the keys.
func (c *keyListCmd) Run() error {
	q := url.Values{}
	if len(c.Filter) > 0 {
		q.Set("filter", filter(c.Filter))
	}
	return c.listKeys("/v1/keys", "keys", q, c.Limit, c.Quiet, keyTable)
}

// listKeys lists the keys of a route, which are a member of its pages. An answer has at most limit
// keys.
func (d *door) listKeys(path, member string, q url.Values, limit int, idsAlone bool, table func([]api.Key) string) error {
	if limit < 1 {
		return fmt.Errorf("--limit must be at least 1, not %d", limit)
	}
	s, ctx, end, err := d.connect()
	if err != nil {
		return err
	}
	defer end()
	all, more, err := s.pages(ctx, path, member, q, limit)
	if err != nil {
		return err
	}
	if more {
		fmt.Fprintf(os.Stderr, "keyreeve: there are more %s than these %d; see --limit\n", member, len(all))
	}
	answer, err := json.Marshal(map[string]any{member: all})
	if err != nil {
		return err
	}
	keys := make([]api.Key, len(all))
	for i, text := range all {
		if err := json.Unmarshal(text, &keys[i]); err != nil {
			return fmt.Errorf("the answer of the server cannot be read: %w", err)
		}
	}
	if idsAlone {
		ids := make([]string, len(keys)) // a list has the public key of a pair too
		for i, key := range keys {
			ids[i] = key.KeyID
		}
		return printIDs(ids...)
	}
	return s.show(answer, func() (string, error) { return table(keys), nil })
}

// filter joins terms. A value with spaces gets quotation marks.
func filter(terms []string) string {
	out := make([]string, len(terms))
	for i, term := range terms {
		if name, value, ok := strings.Cut(term, ":"); ok && strings.Contains(value, " ") && !strings.Contains(value, `"`) {
			term = name + `:"` + value + `"`
		}
		out[i] = term
	}
	return strings.Join(out, " ")
}

// pages returns at most limit things as the server describes them, page after page, and whether
// there are more. They are a member of each page.
func (s *server) pages(ctx context.Context, path, member string, q url.Values, limit int) (all []json.RawMessage, more bool, err error) {
	all = []json.RawMessage{}
	for {
		q.Set("limit", strconv.Itoa(min(limit-len(all), maxPage)))
		var page map[string]json.RawMessage
		if _, err := s.ask(ctx, get(path+"?"+q.Encode()), &page); err != nil {
			return nil, false, err
		}
		var some []json.RawMessage
		var next string
		err := json.Unmarshal(page[member], &some)
		if text, ok := page["nextPageToken"]; ok && err == nil {
			err = json.Unmarshal(text, &next)
		}
		if err != nil {
			return nil, false, fmt.Errorf("the answer of the server cannot be read: %w", err)
		}
		if all = append(all, some...); next == "" || len(all) >= limit {
			return all, next != "", nil
		}
		q.Set("pageToken", next)
	}
}

// keyTable shows keys to people.
func keyTable(keys []api.Key) string {
	rows := [][]string{{"KEY", "STATE", "TYPE", "ALGORITHM", "LENGTH", "NAME"}}
	for _, key := range keys {
		length := ""
		if key.Length != 0 {
			length = strconv.Itoa(int(key.Length))
		}
		rows = append(rows, []string{key.KeyID, key.State, key.Type, key.Algorithm, length, key.Name})
	}
	return bold(table(rows))
}

// oneKey is a command that works on a key.
type oneKey struct {
	door
	ID string `arg:"" name:"key" help:"Unique Identifier of the key." placeholder:"KEY"`
}

type keyShowCmd struct{ oneKey }

// Run shows the key.
func (c *keyShowCmd) Run() error { return c.onKey(get(keyPath(c.ID, "")), false) }

type keyVersionsCmd struct {
	oneKey
	idFlag
	Limit int `help:"The most versions to list." default:"1000"`
}

// Run lists the versions.
func (c *keyVersionsCmd) Run() error {
	return c.listKeys(keyPath(c.ID, "/versions"), "versions", url.Values{}, c.Limit, c.Quiet, versionTable)
}

// versionTable shows versions of a key to people.
func versionTable(keys []api.Key) string {
	rows := [][]string{{"VERSION", "KEY", "STATE", "CREATED", "DISABLED"}}
	for _, key := range keys {
		disabled := ""
		if key.Disabled != nil && *key.Disabled {
			disabled = "yes"
		}
		rows = append(rows, []string{strconv.Itoa(int(key.Version)), key.KeyID, key.State, key.CreatedAt, disabled})
	}
	return bold(table(rows))
}

type keyRotateCmd struct {
	oneKey
	idFlag
	ActivateAt string `help:"Time at which the new version becomes Active, such as 2027-01-01T00:00:00Z. Left out, it is now." placeholder:"TIME"`
}

// Run makes the new version.
func (c *keyRotateCmd) Run() error {
	return c.onKey(post(keyPath(c.ID, "/rotate"), api.RotateRequest{ActivateAt: given(c.ActivateAt)}), c.Quiet)
}

type keyActivateCmd struct{ oneKey }

// Run activates the key.
func (c *keyActivateCmd) Run() error {
	return c.onKey(post(keyPath(c.ID, "/activate"), api.ActivateRequest{}), false)
}

type keyRevokeCmd struct {
	oneKey
	Reason        string    `help:"Why: unspecified, keyCompromise, caCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn. The two compromises make the key Compromised, the others Deactivated." enum:"unspecified,keyCompromise,caCompromise,affiliationChanged,superseded,cessationOfOperation,privilegeWithdrawn" required:"" placeholder:"REASON"`
	Message       string    `help:"A sentence for people." placeholder:"TEXT"`
	CompromisedAt time.Time `help:"When the key is believed to have been compromised, such as 2026-01-31T12:00:00Z." placeholder:"TIME"`
}

// Run revokes the key.
func (c *keyRevokeCmd) Run() error {
	why := api.RevokeRequest{Reason: c.Reason, Message: given(c.Message)}
	if !c.CompromisedAt.IsZero() {
		why.CompromisedAt = given(c.CompromisedAt.UTC().Format(time.RFC3339))
	}
	return c.onKey(post(keyPath(c.ID, "/revoke"), why), false)
}

type keyPublicKeyCmd struct {
	oneKey
	JWK bool   `name:"jwk" help:"Write a JSON Web Key instead of PEM."`
	Out string `help:"File for the public key. Only its owner can read it." placeholder:"FILE"`
}

// Run writes the public key.
func (c *keyPublicKeyCmd) Run() error {
	s, ctx, end, err := c.connect()
	if err != nil {
		return err
	}
	defer end()
	form := "pem"
	if c.JWK {
		form = "jwk"
	}
	var key api.PublicKey
	answer, err := s.ask(ctx, get(keyPath(c.ID, "/public-key?format="+form)), &key)
	if err != nil {
		return err
	}
	text := []byte(key.PublicKey)
	if c.JWK {
		if text, err = json.Marshal(key.JWK); err != nil {
			return err
		}
		text = append(text, '\n')
	}
	return (&result{bytesFlags{"raw"}, c.Out}).write(s, answer, bytes.TrimLeft(text, "\n"))
}
