package authn

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
)

// revocations are the revocation lists in force. They never change.
type revocations struct {
	lists   []*revocationList
	revoked map[string]bool // see revokedKey
	file    fs.FileInfo     // the file when it was last read; nil: it was never read
	problem error           // why the present content of the file is not in force
}

// revocationList is one verified list of an authority.
type revocationList struct {
	*x509.RevocationList
	issuer *authority
	scope  string // to which of the authority's certificates it applies; "": all
	next   time.Time
}

func (l *revocationList) isStale(now time.Time) bool { return now.After(l.next) }

// readFile reads the file of revocation lists if it has changed. It returns before itself
// if nothing is new. If the new lists cannot be used, it returns the old lists with a
// problem: a list that disappears still revokes.
func readFile(t *trust, before *revocations) *revocations {
	if t.CRLFile == "" {
		if len(before.lists) > 0 {
			return before.keepWithProblem(nil, errors.New("tls.client_crl is no longer set; its lists stay in force until the server is restarted"))
		}
		return before
	}
	info, err := os.Stat(t.CRLFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && t.CRLMayLack && before.file == nil && before.problem == nil && len(before.lists) == 0:
		return before // it has never existed
	case err != nil:
		return before.keepWithProblem(nil, fmt.Errorf("tls.client_crl cannot be read: %w", err))
	case before.file != nil && sameContent(before.file, info):
		return before
	}
	lists, err := readLists(t.CRLFile, t.authorities)
	if err == nil {
		err = before.checkReplaceable(lists)
	}
	if errors.Is(err, errListFromFuture) {
		info = nil // so that the file is read again even if it does not change
	}
	if err != nil {
		return before.keepWithProblem(info, fmt.Errorf("tls.client_crl: %w", err))
	}
	return newRevocations(lists, info)
}

// sameContent reports whether a file looks unchanged.
func sameContent(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// keepWithProblem returns the lists of r with a problem of the present file, or r itself
// if nothing is new. info is nil if the file could not be examined.
func (r *revocations) keepWithProblem(info fs.FileInfo, problem error) *revocations {
	if r.problem != nil && r.problem.Error() == problem.Error() && info == nil && r.file == nil {
		return r
	}
	return &revocations{lists: r.lists, revoked: r.revoked, file: info, problem: problem}
}

func newRevocations(lists []*revocationList, info fs.FileInfo) *revocations {
	r := &revocations{lists: lists, revoked: map[string]bool{}, file: info}
	for _, l := range lists {
		for _, e := range l.RevokedCertificateEntries {
			r.revoked[revokedKey(l.issuer.cert.RawSubject, e.SerialNumber)] = true
		}
	}
	return r
}

// onlyOf returns the lists of authorities that as has. The next readFile reads the file
// again, because the issuers of its lists may have been added or removed.
func (r *revocations) onlyOf(as *authorities) *revocations {
	var lists []*revocationList
	for _, l := range r.lists {
		if i := slices.IndexFunc(as.list, func(a *authority) bool { return a.key == l.issuer.key }); i >= 0 {
			still := *l
			still.issuer = as.list[i]
			lists = append(lists, &still)
		}
	}
	kept := newRevocations(lists, nil)
	kept.problem = r.problem
	return kept
}

// revokedKey identifies a certificate by its issuer and serial number.
func revokedKey(issuer []byte, serial *big.Int) string {
	name, err := canonicalName(issuer)
	if err != nil {
		name = string(issuer)
	}
	return serial.Text(16) + "/" + name
}

// revokes reports whether a list in force revokes a certificate. Only the issuer's name
// counts, as in RFC 5280: an authority with a new key can revoke what it issued under
// the old one.
func (r *revocations) revokes(c *x509.Certificate) bool {
	return r.revoked[revokedKey(c.RawIssuer, c.SerialNumber)]
}

// maxListAhead is how far in the future the This Update of a list may be.
const maxListAhead = 10 * time.Minute

// errListFromFuture is part of the error about a list that is not valid yet.
var errListFromFuture = errors.New("check this machine's clock")

// readLists reads and verifies the lists of a file. Each list must be whole, signed by an
// authority of client_ca that may sign lists, and have no unknown critical content:
// that could mean that a certificate is revoked.
func readLists(file string, as *authorities) ([]*revocationList, error) {
	blocks, err := pemfile.Read(file, "X509 CRL")
	if err != nil {
		return nil, err
	}
	var lists []*revocationList
	for _, b := range blocks {
		l, err := readList(b.Bytes, as)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", file, b.Line, err)
		}
		if slices.ContainsFunc(lists, l.sameSource) {
			return nil, fmt.Errorf("%s: line %d: a second list of %s; keep only the newest", file, b.Line, l.issuer.name)
		}
		lists = append(lists, l)
	}
	return lists, nil
}

func readList(der []byte, as *authorities) (*revocationList, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("the revocation list cannot be read: %w", err)
	}
	l := &revocationList{RevocationList: parsed, next: parsed.NextUpdate}
	if l.issuer, err = issuerOf(parsed, as); err != nil {
		return nil, err
	}
	switch {
	case l.next.IsZero():
		return nil, fmt.Errorf("the revocation list of %s has no Next Update", l.issuer.name)
	case time.Until(l.ThisUpdate) > maxListAhead:
		return nil, fmt.Errorf("the revocation list of %s is from the future, %s; %w", l.issuer.name, l.ThisUpdate.Format(time.RFC3339), errListFromFuture)
	}
	return l, l.checkUnderstood()
}

// issuerOf returns the authority that signed a list.
func issuerOf(l *x509.RevocationList, as *authorities) (*authority, error) {
	issuer, err := canonicalName(l.RawIssuer)
	if err != nil {
		return nil, fmt.Errorf("the issuer of the revocation list cannot be read: %w", err)
	}
	text := identity.NameText(l.RawIssuer)
	why := fmt.Errorf("the issuer of the revocation list, %s, is not in tls.client_ca; add its certificate there", text)
	for _, a := range as.list {
		if name, err := canonicalName(a.cert.RawSubject); err != nil || name != issuer {
			continue
		}
		if err := l.CheckSignatureFrom(a.cert); err != nil {
			why = fmt.Errorf("the revocation list of %s was not signed by that authority of tls.client_ca, or it may not sign lists (cRLSign): %w", text, err)
			continue
		}
		return a, nil
	}
	return nil, why
}

// Extensions that change what a list says (RFC 5280 §5.2).
var (
	oidDeltaList         = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidEntryIssuer       = asn1.ObjectIdentifier{2, 5, 29, 29} // of an entry
)

// distributionPoint is the extension that says to which certificates a list applies. Its
// entries revoke in any case.
type distributionPoint struct {
	Name           asn1.RawValue  `asn1:"optional,tag:0"`
	OnlyUsers      bool           `asn1:"optional,tag:1"`
	OnlyCAs        bool           `asn1:"optional,tag:2"`
	SomeReasons    asn1.BitString `asn1:"optional,tag:3"`
	Indirect       bool           `asn1:"optional,tag:4"`
	OnlyAttributes bool           `asn1:"optional,tag:5"`
}

// checkUnderstood refuses delta lists, indirect lists and unknown critical extensions.
func (l *revocationList) checkUnderstood() error {
	for _, e := range l.Extensions {
		switch {
		case e.Id.Equal(oidDeltaList):
			return fmt.Errorf("the revocation list of %s is a delta list; only full lists can be used", l.issuer.name)
		case e.Id.Equal(oidDistributionPoint):
			var p distributionPoint
			if rest, err := asn1.Unmarshal(e.Value, &p); err != nil || len(rest) > 0 {
				return fmt.Errorf("the Issuing Distribution Point of the revocation list of %s cannot be read", l.issuer.name)
			}
			if p.Indirect || p.OnlyAttributes {
				return fmt.Errorf("the revocation list of %s is an indirect list, or is for attribute certificates; neither can be used", l.issuer.name)
			}
			l.scope = string(e.Value)
		case e.Critical:
			return fmt.Errorf("the revocation list of %s has the critical extension %v, which is not understood", l.issuer.name, e.Id)
		}
	}
	for _, e := range l.RevokedCertificateEntries {
		if slices.ContainsFunc(e.Extensions, func(x pkix.Extension) bool { return x.Critical || x.Id.Equal(oidEntryIssuer) }) {
			return fmt.Errorf("the revocation list of %s: the entry of serial number %x has an extension that is not understood", l.issuer.name, e.SerialNumber)
		}
	}
	return nil
}

func (l *revocationList) sameSource(o *revocationList) bool {
	return l.issuer.key == o.issuer.key && l.scope == o.scope
}

// checkReplaceable fails if new lists must not replace those in force, because one is
// missing or older. Otherwise an old file would let revoked clients in.
func (r *revocations) checkReplaceable(lists []*revocationList) error {
	for _, old := range r.lists {
		i := slices.IndexFunc(lists, old.sameSource)
		if i < 0 {
			return fmt.Errorf("the list of %s is no longer in the file; add it again, or remove the authority from tls.client_ca", old.issuer.name)
		}
		if err := lists[i].checkNewerThan(old); err != nil {
			return err
		}
	}
	return nil
}

// checkNewerThan fails if a list is older than old, by CRL Number or by This Update, or
// if it has the same of both but revokes less.
func (l *revocationList) checkNewerThan(old *revocationList) error {
	if bytes.Equal(l.Raw, old.Raw) {
		return nil
	}
	byNumber, byTime := 0, l.ThisUpdate.Compare(old.ThisUpdate)
	if l.Number != nil && old.Number != nil {
		byNumber = l.Number.Cmp(old.Number)
	}
	if byNumber < 0 || byTime < 0 || (l.Number == nil && old.Number != nil) {
		return fmt.Errorf("the list of %s is older than the one in force: CRL Number %v of %s, in force is %v of %s", l.issuer.name, l.Number, l.ThisUpdate.Format(time.RFC3339), old.Number, old.ThisUpdate.Format(time.RFC3339))
	}
	if byNumber > 0 || byTime > 0 {
		return nil
	}
	have := map[string]bool{}
	for _, e := range l.RevokedCertificateEntries {
		have[e.SerialNumber.String()] = true
	}
	for _, e := range old.RevokedCertificateEntries {
		if !have[e.SerialNumber.String()] {
			return fmt.Errorf("the list of %s has the CRL Number and This Update of the one in force, but no longer revokes serial number %x", l.issuer.name, e.SerialNumber)
		}
	}
	return nil
}
