package message

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/engine"
)

// identifySender makes the sender that the credentials of the header prove the caller of
// all items (KMIP 1.4 §6.6, Profiles 2.1 §3.1.3). What the message holds of the connection,
// such as memory and its turn, stays with the certificate's principal.
func (b *batch) identifySender() error {
	credentials := b.request.Header.Credentials
	if len(credentials) == 0 {
		return nil
	}
	sender := b.origin.Principal
	if b.origin.Identify != nil {
		var err error
		if sender, err = b.origin.Identify(b.ctx, sender, credentials); err != nil {
			b.loginRefused = core.CodeOf(err) == core.AuthenticationNotSuccessful
			return err
		}
	}
	if sender == b.origin.Principal {
		b.noteCredentials()
		return nil
	}
	b.caller.Principal = sender
	b.ctx = core.OnBehalfOf(b.ctx, sender)
	return nil
}

// noteCredentials notes credentials that prove nothing in the record. Many products send
// them beside their certificate.
func (b *batch) noteCredentials() {
	for i := range b.request.Header.Credentials {
		if c := &b.request.Header.Credentials[i]; !c.Empty() {
			b.caller.ClientRef = printable(fmt.Sprintf("%s credential not verified: %s", b.caller.ClientRef, claimOf(c)))
		}
	}
}

// recordRefused records that the whole message was refused, and returns the error to answer.
func (b *batch) recordRefused(err error) error {
	if !b.loginRefused {
		return b.processor.engine.RecordRefused(b.ctx, &b.caller, core.ActionMessage, err)
	}
	p := b.origin.Principal
	r := core.Record{Tenant: p.Tenant, Principal: p.ID, Fingerprint: p.Fingerprint, Method: p.Method, Strength: p.Strength, Address: b.origin.Address, Door: b.origin.Door,
		RequestID: strings.Clone(b.caller.RequestID), ClientRef: b.claimedSender(), Detail: printable(causeOf(err))} // may outlive the batch
	if rerr := b.processor.engine.RecordLogin(context.WithoutCancel(b.ctx), b.claimedMethod(), r); rerr != nil {
		return engine.Unrecorded(rerr, err)
	}
	return err
}

// claimedSender says for the record who the sender claimed to be.
func (b *batch) claimedSender() string {
	for i := range b.request.Header.Credentials {
		if c := &b.request.Header.Credentials[i]; !c.Empty() {
			return claimOf(c)
		}
	}
	return ""
}

// claimedMethod returns the method of the first credential that is not empty, for the counts of
// failed logins. Types that the server does not verify count as passwords.
func (b *batch) claimedMethod() string {
	for i := range b.request.Header.Credentials {
		switch c := &b.request.Header.Credentials[i]; {
		case c.Empty():
		case c.Type == core.CredentialTypeOneTimePassword:
			return core.MethodCode
		case c.Type == core.CredentialTypeDevice:
			return core.MethodDevice
		case c.Type == core.CredentialTypeHashedPassword:
			return core.MethodHashedPassword
		default:
			return core.MethodPassword
		}
	}
	return core.MethodPassword
}

// serverHash returns the Server Hashed Password of the answer; nil: the sender did not prove
// itself by a Hashed Password.
func (b *batch) serverHash() []byte {
	for i := range b.request.Header.Credentials {
		if h := b.request.Header.Credentials[i].Hashed; h != nil && h.ServerHash != nil {
			return h.ServerHash
		}
	}
	return nil
}

// claimOf says for the record what a credential claims. A user name that is no valid name
// may be a password in the wrong field, so it is left out.
func claimOf(c *proof.Credential) string {
	name := c.Username
	if c.Device != nil {
		name = c.Device.UserName()
	}
	if core.ValidName(name) {
		return printable(fmt.Sprintf("%s %s", c.Type, name))
	}
	return c.Type.String()
}

// causeOf returns the text of an error for the record, with the cause that the client is not
// told.
func causeOf(err error) string {
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Err == nil {
		return err.Error()
	}
	return e.Detail + ": " + e.Err.Error()
}
