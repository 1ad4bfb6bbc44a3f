package server

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/adminsocket"
)

// ClientChange is what a command says of an enrolled client. A member that is left out stays
// as it is.
type ClientChange struct {
	Groups   *[]string `json:"groups,omitempty"`
	Roles    *[]string `json:"roles,omitempty"`
	KeyGroup *string   `json:"keyGroup,omitempty"`
	Request  []byte    `json:"request,omitempty"` // certificate request in PEM
	Invite   bool      `json:"invite,omitempty"`
}

// ClientCertificate is a certificate of an enrolled client as commands see it.
type ClientCertificate struct {
	Serial    string     `json:"serial"`
	IssuedAt  time.Time  `json:"issuedAt"`
	ExpiresAt time.Time  `json:"expiresAt"`
	RevokedAt *time.Time `json:"revokedAt,omitempty"`
}

// EnrolledClient is an enrolled client as commands see it.
type EnrolledClient struct {
	Name         string              `json:"name"`
	InvitedUntil *time.Time          `json:"invitedUntil,omitempty"`
	Groups       []string            `json:"groups,omitempty"`
	Roles        []string            `json:"roles,omitempty"`
	KeyGroup     string              `json:"keyGroup,omitempty"`
	Version      int64               `json:"version"`
	Certificates []ClientCertificate `json:"certificates,omitempty"`
}

// SavedClient is the answer to a change of an enrolled client.
type SavedClient struct {
	EnrolledClient
	Certificate string `json:"certificate,omitempty"` // PEM
	Invitation  string `json:"invitation,omitempty"`  // shown once

	Warnings []string `json:"warnings,omitempty"`
}

func clientShown(c *admin.NamedClient) EnrolledClient {
	at := func(seconds int64) *time.Time {
		if seconds == 0 {
			return nil
		}
		return new(time.Unix(seconds, 0).UTC())
	}
	out := EnrolledClient{Name: c.Name, Version: c.Version, Groups: c.Groups, Roles: c.Roles, KeyGroup: c.KeyGroup, InvitedUntil: at(c.InvitationEnds)}
	for _, one := range c.Certificates {
		out.Certificates = append(out.Certificates, ClientCertificate{Serial: one.Serial, IssuedAt: *at(one.Issued), ExpiresAt: *at(one.Expires), RevokedAt: at(one.Revoked)})
	}
	return out
}

func saveClient(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	var change ClientChange
	if err := q.Decode(&change); err != nil {
		return nil, err
	}
	out, err := d.clients.Save(ctx, c, admin.SaveClientInput{Tenant: q.Tenant(), Name: q.Get("name"), Groups: change.Groups, Roles: change.Roles, KeyGroup: change.KeyGroup, Request: change.Request, Invite: change.Invite,
		Reason: q.Get("reason"), MustBeNew: q.Get("new") != "", MustExist: q.Get("existing") != ""})
	if err != nil {
		return nil, err
	}
	defer clear(out.Invitation)
	return SavedClient{clientShown(&out.Client), string(out.Certificate.PEM), string(out.Invitation), admin.UnknownRoles(d.admin, q.Tenant(), change.Roles)}, nil
}

func listClients(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	out := []EnrolledClient{}
	all, err := d.clients.List(ctx, c, q.Tenant(), q.Get("after"), AdminPage)
	for i := range all {
		out = append(out, clientShown(&all[i]))
	}
	return out, err
}

func readClient(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	one, err := d.clients.Read(ctx, c, q.Tenant(), q.Get("name"))
	return clientShown(&one), err
}

func revokeClient(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	one, err := d.clients.Revoke(ctx, c, admin.RevokeClientInput{Tenant: q.Tenant(), Name: q.Get("name"), Serial: q.Get("serial"), Reason: q.Get("reason")})
	return clientShown(&one), err
}
