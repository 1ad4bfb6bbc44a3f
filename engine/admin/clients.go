package admin

import (
	"context"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// ClientSettings are what the operations on enrolled clients need beside the directory.
type ClientSettings struct {
	InvitationLifetime time.Duration

	// RenewalWindow is how long before its end a certificate can be renewed by itself. 0:
	// never.
	RenewalWindow time.Duration

	// Sign returns a certificate for the key of a certificate request (PKCS #10, PEM). It
	// names tenant and name. Its errors are answered as they are. nil: the server has no
	// authority for clients.
	Sign func(request []byte, tenant, name string) (SignedCertificate, error)

	// SignList returns a revocation list of the authority (RFC 5280 §5, DER). nil: the server
	// has no authority for clients.
	SignList func(revoked []directory.ClientCertificate) ([]byte, error)

	// MakeAuthority makes a key in the HSM, and a certificate of an authority for it.
	MakeAuthority func(ctx context.Context) (NewAuthority, error)
}

// NewAuthority is an authority for enrolled clients, which no setting names yet.
type NewAuthority struct {
	Key         string // for enrollment.key
	Certificate []byte // PEM
	Fingerprint string // SHA-256, hex
}

// SignedCertificate is a new certificate of a client.
type SignedCertificate struct {
	PEM         []byte
	Serial      string // hex
	Fingerprint string // SHA-256, hex
	Expires     int64  // Unix seconds
}

// ClientVerbs are the operations on enrolled clients. It is safe for concurrent use.
type ClientVerbs struct {
	verbs    *Verbs
	settings ClientSettings
}

// NewClientVerbs returns the operations on enrolled clients beside those of v.
func NewClientVerbs(v *Verbs, s ClientSettings) *ClientVerbs { return &ClientVerbs{v, s} }

// NamedClient is an enrolled client with its name and version.
type NamedClient struct {
	Tenant  string
	Name    string
	Version int64
	directory.Client
}

// withoutSecret returns the client without the hash of its invitation.
func (c NamedClient) withoutSecret() NamedClient {
	c.InvitationHash = nil
	return c
}

// SaveClientInput makes or changes an enrolled client. A nil field stays as it is.
type SaveClientInput struct {
	Tenant    string // "": the caller's
	Name      string
	Groups    *[]string
	Roles     *[]string
	KeyGroup  *string // one of its groups, which owns its new keys too; "": none
	Request   []byte  // certificate request in PEM; nil: no certificate is issued
	Invite    bool    // make an invitation in place of the one that there may be
	Reason    string
	Expected  *int64 // the newest version; nil: any
	MustBeNew bool
	MustExist bool
}

// SavedClient is the answer to a change of an enrolled client.
type SavedClient struct {
	Client      NamedClient
	Certificate SignedCertificate // zero: none was issued
	Invitation  []byte            // the secret, which is stored nowhere; nil: none was made
}

// Save makes or changes an enrolled client of a tenant. It issues a certificate, or makes an
// invitation, if asked. Open connections of the client see new groups and roles at their next
// message. QuotaExceeded if the client has too many certificates.
func (a *ClientVerbs) Save(ctx context.Context, c *core.Caller, in SaveClientInput) (out SavedClient, err error) {
	err = a.verbs.runRequest(ctx, c, core.ActionSaveClient, "client "+core.ClientText(in.Name), &in, func(k *engine.Call) error {
		before, client, err := a.clientToChange(k, &in)
		if err != nil {
			return err
		}
		if err := requireForClient(a.verbs, k, &before, &client); err != nil {
			return err
		}
		if in.Invite {
			out.Invitation, client.InvitationHash = directory.NewInvitation()
			client.InvitationEnds = k.Now + int64(a.settings.InvitationLifetime/time.Second)
			k.Record.Detail += ", invited"
		}
		if in.Request != nil {
			if out.Certificate, err = a.issueCertificate(k, &client, in.Request, ""); err != nil {
				return err
			}
		}
		out.Client, err = a.store(k, client, before.Version, in.Reason)
		return err
	})
	if err != nil {
		clear(out.Invitation)
		return SavedClient{}, err
	}
	return out, nil
}

// clientToChange returns a client as it is, and as it will be. One that is new has version 0.
func (a *ClientVerbs) clientToChange(k *engine.Call, in *SaveClientInput) (before, after NamedClient, err error) {
	tenant, err := engine.AskedTenant(k, in.Tenant)
	if err != nil {
		return before, after, err
	}
	before, err = a.client(tenant, in.Name)
	switch {
	case core.CodeOf(err) == core.ItemNotFound && !in.MustExist && (!core.ValidName(in.Name) || in.Name == crlName):
		return before, after, core.Errorf(core.InvalidField, "%q cannot be a client; use letters, digits, '.', '_' and '-', at most %d, and not %q", core.ClientText(in.Name), core.MaxNameBytes, crlName)
	case core.CodeOf(err) == core.ItemNotFound && !in.MustExist:
		before = NamedClient{Tenant: tenant, Name: in.Name}
	case err != nil:
		return before, after, err
	case in.MustBeNew:
		return before, after, core.Errorf(core.ObjectAlreadyExists, "there is a client %s already; renew it", core.ClientText(in.Name))
	}
	after = before
	setIfGiven(&after.Groups, in.Groups)
	setIfGiven(&after.Roles, in.Roles)
	setIfGiven(&after.KeyGroup, in.KeyGroup)
	if in.KeyGroup == nil && !slices.Contains(after.Groups, after.KeyGroup) {
		after.KeyGroup = "" // who loses the group owns no new keys with it
	}
	return before, after, a.verbs.checkExpected(&change{kind: core.EntryClient, tenant: tenant, id: in.Name, expected: expectedOf(in.Expected)})
}

// client returns the newest version of an enrolled client.
func (a *ClientVerbs) client(tenant, name string) (NamedClient, error) {
	e, err := a.verbs.directory.Get(core.EntryClient, tenant, name)
	if err == nil {
		return namedClient(e)
	}
	return NamedClient{}, absent(err, core.EntryClient, name)
}

// namedClient decodes the entry of an enrolled client.
func namedClient(e *core.DirectoryEntry) (NamedClient, error) {
	out := NamedClient{Tenant: e.Tenant, Name: e.ID, Version: e.Version}
	return out, core.DecodeBody(e.Body, &out.Client)
}

// issueCertificate signs a request and adds the certificate to the client. It proves nothing
// until the client is stored. Certificates that have expired are dropped. Revoked ones are kept
// until then, because revocation lists must have them. renewedFrom is the serial number of the
// certificate that asks for it, "" if another proof does.
func (a *ClientVerbs) issueCertificate(k *engine.Call, c *NamedClient, request []byte, renewedFrom string) (SignedCertificate, error) {
	if a.settings.Sign == nil {
		return SignedCertificate{}, errNoAuthority
	}
	kept := c.WithoutExpired(k.Now)
	if err := checkCertificateRoom(kept); err != nil {
		return SignedCertificate{}, err
	}
	signed, err := a.settings.Sign(request, c.Tenant, c.Name)
	if err != nil {
		return SignedCertificate{}, err
	}
	c.Certificates = append(kept, directory.ClientCertificate{Serial: signed.Serial, Fingerprint: signed.Fingerprint, Issued: k.Now, Expires: signed.Expires, RenewedFrom: renewedFrom})
	k.Record.Detail += ", certificate " + signed.Serial
	return signed, nil
}

// checkCertificateRoom fails with QuotaExceeded if a client with these certificates, of which
// none has expired, can have no other one.
func checkCertificateRoom(all []directory.ClientCertificate) error {
	valid := 0
	for i := range all {
		if all[i].Revoked == 0 {
			valid++
		}
	}
	switch {
	case valid >= directory.MaxValidCertificates:
		return core.Errorf(core.QuotaExceeded, "the client has %d certificates that are valid; revoke some", valid)
	case len(all) >= directory.MaxClientCertificates:
		return core.Errorf(core.QuotaExceeded, "the client has %d certificates that have not expired, %d of them revoked; wait until some expire, or add a client with another name", len(all), len(all)-valid)
	}
	return nil
}

// store stores the next version of a client, and returns what may be shown of it.
func (a *ClientVerbs) store(k *engine.Call, c NamedClient, expected int64, reason string) (NamedClient, error) {
	body, err := core.EncodeBody(&c.Client)
	if err != nil {
		return NamedClient{}, err
	}
	e, err := a.verbs.saveEntry(k, change{kind: core.EntryClient, tenant: c.Tenant, id: c.Name, reason: reason, expected: expected, body: body})
	if err != nil {
		return NamedClient{}, err
	}
	c.Version = e.Version
	return c.withoutSecret(), nil
}

// RevokeClientInput names what is revoked.
type RevokeClientInput struct {
	Tenant string // "": the caller's
	Name   string
	Serial string // of one certificate, hex; "": all of them, and the invitation
	Reason string

	Expected *int64 // the newest version; nil: any
}

// Revoke ends one certificate of a client with those that were renewed from it, or all with its
// invitation, on this node at once and on every other one within a second. The entry stays, so
// that the list shows it.
func (a *ClientVerbs) Revoke(ctx context.Context, c *core.Caller, in RevokeClientInput) (out NamedClient, err error) {
	err = a.verbs.run(ctx, c, core.ActionRevokeClient, "client "+core.ClientText(in.Name), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		client, err := a.client(tenant, in.Name)
		if err != nil {
			return err
		}
		if err := a.verbs.checkExpected(&change{kind: core.EntryClient, tenant: tenant, id: in.Name, expected: expectedOf(in.Expected)}); err != nil {
			return err
		}
		if in.Serial != "" && !client.CanRevoke(in.Serial) {
			return core.Errorf(core.ItemNotFound, "the client %s has no certificate %s", core.ClientText(in.Name), core.ClientText(in.Serial))
		}
		for _, serial := range client.Revoke(in.Serial, k.Now) {
			k.Record.Detail += ", certificate " + serial
		}
		if in.Serial == "" {
			client.InvitationHash, client.InvitationEnds = nil, 0
		}
		out, err = a.store(k, client, client.Version, in.Reason)
		return err
	})
	return out, err
}

// Read returns an enrolled client, without the hash of its invitation.
func (a *ClientVerbs) Read(ctx context.Context, c *core.Caller, tenant, name string) (NamedClient, error) {
	out, err := readEntry(ctx, a.verbs, c, core.ActionReadClients, core.DirectoryName{Tenant: tenant, Kind: core.EntryClient, ID: name}, namedClient)
	return out.withoutSecret(), err
}

// Diagnose permits the caller to see what a client last sent and why it was refused, and records
// that. It returns the client, with Version 0 if it is not enrolled: other authorities issue
// certificates too.
func (a *ClientVerbs) Diagnose(ctx context.Context, c *core.Caller, tenant, name string) (out NamedClient, err error) {
	err = a.verbs.run(ctx, c, core.ActionDiagnoseClient, "client "+core.ClientText(name), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
		if err != nil {
			return err
		}
		if out, err = a.client(tenant, name); core.CodeOf(err) == core.ItemNotFound {
			out, err = NamedClient{Tenant: tenant, Name: name}, nil
		}
		return err
	})
	return out.withoutSecret(), err
}

// List lists the enrolled clients of a tenant by name, starting after a name.
func (a *ClientVerbs) List(ctx context.Context, c *core.Caller, tenant, after string, limit int) ([]NamedClient, error) {
	out, err := listEntries(ctx, a.verbs, c, core.ActionReadClients, listOf{core.EntryClient, tenant, after, limit}, namedClient)
	for i := range out {
		out[i] = out[i].withoutSecret()
	}
	return out, err
}

// EnrollInput asks for a certificate by an invitation.
type EnrollInput struct {
	Invitation string
	Request    []byte // certificate request in PEM
}

// Invited returns the principal of an invitation: the client that it is for, which may do
// nothing but enroll. Whatever is wrong, the code is AuthenticationNotSuccessful and the
// sentence the same, unless the directory cannot be read.
func (a *ClientVerbs) Invited(tenant, name, invitation string) (*core.Principal, error) {
	client, err := a.client(tenant, name)
	if core.CodeOf(err) == core.StoreUnavailable {
		return nil, err
	}
	if !isInvited(&client, invitation, a.verbs.engine.Ports.Clock.Now()) || err != nil {
		return nil, errNotInvited
	}
	return &core.Principal{Tenant: tenant, ID: name, Method: core.MethodToken, Strength: core.StrengthToken, Actions: []string{core.ActionEnrollClient.String()}, Expires: client.InvitationEnds}, nil
}

// isInvited reports whether a text is the invitation of a client. Another text has the hash 0,
// which no invitation has.
func isInvited(c *NamedClient, text string, now int64) bool {
	hash, _ := directory.ParseInvitation(text)
	return c.IsInvited(&hash, now)
}

var errNotInvited = core.Errorf(core.AuthenticationNotSuccessful, "the invitation is not right, was used, or has ended; ask for a new one")

// Enroll issues a certificate to the caller, whose principal [ClientVerbs.Invited] has
// returned, and ends the invitation. Of two that use one invitation at once, one fails.
func (a *ClientVerbs) Enroll(ctx context.Context, c *core.Caller, in EnrollInput) (out SavedClient, err error) {
	p := c.Principal
	err = a.verbs.run(ctx, c, core.ActionEnrollClient, "client "+core.ClientText(p.ID), func(k *engine.Call) error {
		client, err := a.client(p.Tenant, p.ID)
		if err != nil && core.CodeOf(err) != core.ItemNotFound {
			return err
		}
		if !isInvited(&client, in.Invitation, k.Now) {
			return errNotInvited
		}
		if out.Certificate, err = a.issueCertificate(k, &client, in.Request, ""); err != nil {
			return err
		}
		client.InvitationHash, client.InvitationEnds = nil, 0
		out.Client, err = a.store(k, client, client.Version, "enrolled by invitation")
		if core.CodeOf(err) == core.Conflict {
			return errNotInvited
		}
		return err
	})
	if err != nil {
		return SavedClient{}, err
	}
	return out, nil
}

// maxRenewals bounds how many certificates one certificate can be renewed to. More than one
// because an answer can get lost.
const maxRenewals = 3

// Renew issues another certificate to an enrolled client, which proves itself by one that is
// good and ends soon. The old one stays good until it expires.
func (a *ClientVerbs) Renew(ctx context.Context, c *core.Caller, request []byte) (out SavedClient, err error) {
	p := c.Principal
	err = a.verbs.run(ctx, c, core.ActionRenewClient, "client "+core.ClientText(p.ID), func(k *engine.Call) error {
		client, err := a.client(p.Tenant, p.ID)
		if err != nil && core.CodeOf(err) != core.ItemNotFound {
			return err
		}
		old, err := a.renewable(k, &client)
		if err != nil {
			return err
		}
		if out.Certificate, err = a.issueCertificate(k, &client, request, old.Serial); err != nil {
			return err
		}
		out.Client, err = a.store(k, client, client.Version, "renewed by the certificate "+old.Serial)
		return err
	})
	if err != nil {
		return SavedClient{}, err
	}
	return out, nil
}

// renewable returns the certificate that proves who the caller is, if it can be renewed now. The
// code is PermissionDenied if anything but a good certificate of the client has proved it,
// OperationNotSupported if the server renews none, WrongState if it is too early, and
// QuotaExceeded if the certificate was renewed too often.
func (a *ClientVerbs) renewable(k *engine.Call, client *NamedClient) (*directory.ClientCertificate, error) {
	p, window := k.Caller.Principal, int64(a.settings.RenewalWindow/time.Second)
	one := client.CertificateWith(p.Fingerprint)
	switch {
	case p.Method != core.MethodCertificate || p.TokenID != "" || p.Fingerprint == "":
		return nil, core.Errorf(core.PermissionDenied, "a certificate is renewed by that certificate alone; connect with it, and leave the header Authorization out")
	case one == nil || one.Revoked != 0 || one.Expires <= k.Now:
		return nil, core.Errorf(core.PermissionDenied, "the certificate of the connection is not a good one that this server has issued; ask for an invitation")
	case window == 0:
		return nil, core.Errorf(core.OperationNotSupported, "this server renews no certificates (enrollment.renewal); ask for an invitation")
	case k.Now < one.Expires-window:
		return nil, core.Errorf(core.WrongState, "the certificate can be renewed from %s on", timeText(one.Expires-window))
	}
	renewals := 0
	for i := range client.Certificates {
		if client.Certificates[i].RenewedFrom == one.Serial {
			renewals++
		}
	}
	if renewals >= maxRenewals {
		return nil, core.Errorf(core.QuotaExceeded, "the certificate was renewed %d times; renew the newest of those certificates, or ask for an invitation", renewals)
	}
	return one, nil
}
