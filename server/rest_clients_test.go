package server_test

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// startEnrolling starts a server with an administrator anna, whose enrolled clients have more
// settings than the default.
func startEnrolling(t *testing.T, more map[string]any) (*servertest.Server, *restPeople) {
	t.Helper()
	dir, fresh := installed(t)
	set := fresh(t)
	set["enrollment"] = map[string]any{"certificate": filepath.Join(dir, "certs", certs.EnrollmentCertificate), "key": filepath.Join(dir, "certs", certs.EnrollmentKey), "lifetime": "24h"}
	for name, value := range more {
		set.set("enrollment", name, value)
	}
	s := startInstalled(t, dir, set)
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	return s, restAs(t, s, "anna")
}

// issuedAnswer is an answer with a certificate.
type issuedAnswer struct {
	Name        string
	Certificate string
	Serial      string
	Invitation  string
}

// withCSR returns a body of JSON with a certificate request and more members.
func withCSR(t *testing.T, csr string, more body) string {
	t.Helper()
	all := body{"csr": csr}
	for name, value := range more {
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// issuedBy returns the certificate in an answer, which must have a status.
func (a restAnswer) issuedBy(p *restPeople, status int, what string) (out issuedAnswer) {
	p.t.Helper()
	a.demand(p, status, what, "BEGIN CERTIFICATE")
	if err := json.Unmarshal([]byte(a.text), &out); err != nil || pemCertificate(p.t, []byte(out.Certificate)).SerialNumber.Text(16) != out.Serial {
		p.t.Fatalf("%s: %v: %s", what, err, a.text)
	}
	return out
}

// restEnrolled asks the REST door as an enrolled client.
func restEnrolled(t *testing.T, s *servertest.Server, name, certificate string, key crypto.Signer) *restPeople {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: enrolledTLS(t, s, certificate, key)}}
	t.Cleanup(c.CloseIdleConnections)
	return &restPeople{t, c, "https://" + s.HTTPS, name}
}

// An administrator adds, changes, invites and revokes clients over REST. A body with an
// invitation is never taken for one of the administrator whose certificate came with it, and
// nothing of what an administrator may say goes with an invitation.
func TestClientsOverREST(t *testing.T) {
	s, admin := startEnrolling(t, nil)
	key, csr := certificateRequest(t)
	made := admin.ask("POST", "/v1/clients", withCSR(t, csr, body{"name": "array7", "groups": []string{"storage"}, "reason": "new"}))
	first := made.issuedBy(admin, 201, "a new client")
	if made.header.Get("Location") != "/v1/clients/array7" || made.header.Get("ETag") != `"1"` {
		t.Errorf("the headers of a new client are %v", made.header)
	}
	client := restEnrolled(t, s, "array7", first.Certificate, key)
	client.must(200, "GET", "/v1/keys", "")
	admin.ask("POST", "/v1/clients", withCSR(t, csr, body{"name": "array7"})).demand(admin, 409, "a client that exists", "already")
	admin.ask("PATCH", "/v1/clients/array7", `{"groups":["other"]}`, `If-Match: "2"`).demand(admin, 412, "a version ahead")
	admin.ask("PATCH", "/v1/clients/array7", `{"groups":["other"]}`, `If-Match: "1"`).demand(admin, 200, "a change", `"groups":["other"]`, `"version":2`)
	second := admin.ask("PATCH", "/v1/clients/array7", withCSR(t, csr, nil)).issuedBy(admin, 200, "another certificate")
	invited := admin.ask("PATCH", "/v1/clients/array7", `{"invite":true}`)
	invited.demand(admin, 200, "an invitation", `"invitation":"kri_`, `"invitedUntil"`)
	invitation := invited.body["invitation"].(string)
	if shown := admin.must(200, "GET", "/v1/clients/array7", "", first.Serial, second.Serial, `"invitedUntil"`); shown.body["invitation"] != nil {
		t.Errorf("an invitation is shown again: %s", shown.text)
	}
	admin.must(200, "GET", "/v1/clients?limit=1", "", `"name":"array7"`)
	for what, wrong := range map[string]struct {
		body   string
		status int
	}{
		"an invitation with groups":              {withCSR(t, csr, body{"tenant": "default", "name": "array7", "invitation": invitation, "groups": []string{"g"}}), 401},
		"an empty invitation":                    {withCSR(t, csr, body{"tenant": "default", "name": "array8", "invitation": ""}), 401},
		"a tenant without an invitation":         {withCSR(t, csr, body{"tenant": "default", "name": "array8"}), 400},
		"no name":                                {withCSR(t, csr, nil), 400},
		"no certificate request":                 {`{"name":"array8","csr":"hello"}`, 400},
		"an unknown member":                      {`{"name":"array8","admin":true}`, 400},
		"a name that cannot be in a certificate": {`{"name":"a b"}`, 400},
		"a role of the machine":                  {`{"name":"array8","roles":["system"]}`, 400},
	} {
		admin.ask("POST", "/v1/clients", wrong.body).demand(admin, wrong.status, what)
	}
	admin.must(404, "GET", "/v1/clients/array8", "")
	admin.must(400, "PATCH", "/v1/clients/array7", `{}`)
	admin.must(404, "PATCH", "/v1/clients/array8", `{"groups":[]}`)
	admin.must(404, "DELETE", "/v1/clients/array7?serial=1", "")
	admin.must(400, "DELETE", "/v1/clients/array7?tenant=default", "")

	admin.must(200, "DELETE", "/v1/clients/array7?serial="+first.Serial, "", `"revokedAt"`, `"invitedUntil"`)
	within(t, "an open connection whose certificate was revoked", 401, func() int { return client.ask("GET", "/v1/keys", "").status })
	next := restEnrolled(t, s, "array7", second.Certificate, key)
	next.must(200, "GET", "/v1/keys", "")
	admin.must(200, "DELETE", "/v1/clients/array7", "")
	within(t, "an open connection whose client was revoked", 401, func() int { return next.ask("GET", "/v1/keys", "").status })
	admin.ask("POST", "/v1/clients", withCSR(t, csr, body{"tenant": "default", "name": "array7", "invitation": invitation})).demand(admin, 401, "an invitation that was revoked")
}

// A client renews its certificate with the old one, without an administrator. It gets no other
// name and no other rights, nobody renews a certificate with a token, and a revocation of the
// old certificate ends the new one too. Without the setting nothing is renewed.
func TestRenewal(t *testing.T) {
	s, admin := startEnrolling(t, map[string]any{"renewal": "24h"})
	key, csr := certificateRequest(t)
	first := admin.ask("POST", "/v1/clients", withCSR(t, csr, body{"name": "array7", "groups": []string{"storage"}})).issuedBy(admin, 201, "a new client")
	old := restEnrolled(t, s, "array7", first.Certificate, key)
	nextKey, nextCSR := certificateRequest(t)
	renewed := old.ask("POST", "/v1/clients/renew", withCSR(t, nextCSR, nil)).issuedBy(old, 201, "a renewal")
	if renewed.Name != "array7" || renewed.Serial == first.Serial {
		t.Errorf("the renewal answers %+v", renewed)
	}
	next := restEnrolled(t, s, "array7", renewed.Certificate, nextKey)
	id := aesKey(t, dialWith(t, s, enrolledTLS(t, s, renewed.Certificate, nextKey), core.V1_4), activeNow)
	next.must(200, "GET", "/v1/keys/"+id, "")
	old.must(200, "GET", "/v1/keys/"+id, "")
	admin.must(200, "GET", "/v1/clients/array7", "", `"renewedFrom":"`+first.Serial+`"`, `"groups":["storage"]`)
	if n := recordsOf(t, s, "Renew Client", "array7", "allowed"); n != 1 {
		t.Errorf("a renewal leaves %d records", n)
	}

	for what, wrong := range map[string]string{"no certificate request": `{"csr":"hello"}`, "nothing": `{}`, "a name": withCSR(t, nextCSR, body{"name": "anna"})} {
		next.ask("POST", "/v1/clients/renew", wrong).demand(next, 400, "a renewal with "+what)
	}
	admin.ask("POST", "/v1/clients/renew", withCSR(t, nextCSR, nil)).demand(admin, 403, "a renewal with a certificate of another authority", "issued")
	token := next.ask("POST", "/v1/auth/token", `{"grantType":"certificate","bind":true}`)
	token.demand(next, 200, "a token")
	next.ask("POST", "/v1/clients/renew", withCSR(t, nextCSR, nil), "Authorization: Bearer "+token.body["accessToken"].(string)).demand(next, 403, "a renewal with a token")
	nobody := restEnrolled(t, s, "nobody", first.Certificate, key)
	nobody.client.Transport.(*http.Transport).TLSClientConfig.Certificates = nil
	nobody.ask("POST", "/v1/clients/renew", withCSR(t, nextCSR, nil)).demand(nobody, 401, "a renewal without a certificate")

	admin.must(200, "DELETE", "/v1/clients/array7?serial="+first.Serial, "")
	within(t, "the certificate that was renewed from a revoked one", 401, func() int { return next.ask("GET", "/v1/keys", "").status })
	within(t, "a renewal by a revoked certificate", 401, func() int { return old.ask("POST", "/v1/clients/renew", withCSR(t, nextCSR, nil)).status })

	add := func(s *servertest.Server, admin *restPeople) *restPeople {
		made := admin.ask("POST", "/v1/clients", withCSR(t, csr, body{"name": "array7"})).issuedBy(admin, 201, "a new client")
		return restEnrolled(t, s, "array7", made.Certificate, key)
	}
	add(startEnrolling(t, map[string]any{"renewal": "0s"})).must(404, "POST", "/v1/clients/renew", withCSR(t, nextCSR, nil), "enrollment.renewal")
	add(startEnrolling(t, map[string]any{"renewal": "1h"})).must(409, "POST", "/v1/clients/renew", withCSR(t, nextCSR, nil), "can be renewed from")
}

// revocations returns the serial numbers in a revocation list, which the authority must have
// signed.
func revocations(t *testing.T, der []byte, authority *x509.Certificate) (serials []string) {
	t.Helper()
	list, err := x509.ParseRevocationList(der)
	if err != nil || list.CheckSignatureFrom(authority) != nil {
		t.Fatalf("the revocation list cannot be read, or the authority has not signed it: %v", err)
	}
	for _, one := range list.RevokedCertificateEntries {
		serials = append(serials, one.SerialNumber.Text(16))
	}
	return serials
}

// The key of the authority can be in the HSM. It issues certificates and signs revocation lists,
// nothing lists it as an orphan, and a server whose certificate has another key does not start.
// Administrators of a tenant read no list, because it tells of all tenants.
func TestAuthorityInHSM(t *testing.T) {
	dir, fresh := installed(t)
	folder, set := filepath.Join(dir, "authority"), fresh(t)
	s := startInstalled(t, dir, set)
	made := ofClient(t, s, "authority", folder, "--hsm")
	key := regexp.MustCompile(`key: (hsm:[0-9a-f]{32})\n`).FindStringSubmatch(made)
	if key == nil {
		t.Fatalf("client authority --hsm prints %q", made)
	}
	if files, err := os.ReadDir(folder); err != nil || len(files) != 1 || files[0].Name() != certs.EnrollmentCertificate {
		t.Errorf("the folder of the authority has %v, %v; want its certificate alone", files, err)
	}
	if out, err := s.Command("client", "authority", folder, "--hsm", "--dir", dir); err == nil {
		t.Errorf("an authority was overwritten: %s", out)
	}
	if n := len(records(t, s, "Create Authority", "--json")); n != 1 {
		t.Errorf("an authority leaves %d records of Create Authority", n)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	set["enrollment"] = map[string]any{"certificate": filepath.Join(folder, certs.EnrollmentCertificate), "key": key[1]}
	s = startInstalled(t, dir, set)
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	admin := restAs(t, s, "anna")
	private, csr := certificateRequest(t)
	first := admin.ask("POST", "/v1/clients", withCSR(t, csr, body{"name": "array7"})).issuedBy(admin, 201, "a client")
	restEnrolled(t, s, "array7", first.Certificate, private).must(200, "GET", "/v1/keys", "")
	if out, err := s.Command("hsm", "orphans", "list", "--dir", dir); err != nil || strings.Contains(out, "authority") || strings.Contains(out, key[1][4:]) {
		t.Errorf("hsm orphans list: %v: %s", err, out)
	}
	authority, err := os.ReadFile(filepath.Join(folder, certs.EnrollmentCertificate))
	if err != nil {
		t.Fatal(err)
	}
	list := func() []string {
		block, _ := pem.Decode([]byte(ofClient(t, s, "crl")))
		return revocations(t, block.Bytes, pemCertificate(t, authority))
	}
	if got := list(); len(got) != 0 {
		t.Errorf("before any revocation the list has %v", got)
	}
	admin.must(200, "DELETE", "/v1/clients/array7", "")
	if got := list(); !slices.Equal(got, []string{first.Serial}) {
		t.Errorf("the list has %v, want %s", got, first.Serial)
	}
	admin.must(403, "GET", "/v1/clients/crl", "", "PermissionDenied")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}

	set.set("enrollment", "certificate", filepath.Join(dir, "certs", certs.EnrollmentCertificate))
	refuses := func(what, want string) {
		t.Helper()
		write(t, filepath.Join(dir, "config.yaml"), wholeConfig(t, set))
		cmd := exec.Command(servertest.Binary(t), "serve", "--config", filepath.Join(dir, "config.yaml"))
		cmd.Env = append(os.Environ(), softHSMOf(dir))
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("a server with %s: %v\n%s\nwant %q", what, err, out, want)
		}
	}
	refuses("the certificate of another key", "key is that of another certificate")
	set.set("enrollment", "key", "hsm:"+strings.Repeat("0", 32))
	refuses("a key that is not in the HSM", "enrollment.key")
	set.set("enrollment", "key", "hsm:../0/R")
	refuses("a name that is no ID", "32 hex digits")
}

// An HSM that cannot sign is answered as for any other key, by the sentence of the HSM alone: when
// a certificate is issued, for a revocation list, and when an authority is made. A request that
// cannot be read is still a fault of the client.
func TestAuthorityInHSMThatIsAway(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	dir, fresh := installed(t)
	folder, set := filepath.Join(dir, "authority"), fresh(t)
	set.set("hsm", "module", faults.Module)
	s := startInstalled(t, dir, set)
	key := regexp.MustCompile(`hsm:[0-9a-f]{32}`).FindString(ofClient(t, s, "authority", folder, "--hsm"))
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	set["enrollment"] = map[string]any{"certificate": filepath.Join(folder, certs.EnrollmentCertificate), "key": key}
	s = startInstalled(t, dir, set)
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	admin := restAs(t, s, "anna")
	_, csr := certificateRequest(t)
	faults.Rule("C_Sign 0x30 0")
	answer := admin.ask("POST", "/v1/clients", withCSR(t, csr, body{"name": "array7"}))
	answer.demand(admin, 503, "a certificate from an HSM that is away", "TokenUnavailable", `"detail":"the HSM is unavailable: cannot sign (see `+"`keyreeve health`"+`)"`)
	for what, command := range map[string][]string{"a revocation list": {"crl"}, "an authority": {"authority", filepath.Join(dir, "other"), "--hsm"}} {
		out, err := s.Command(slices.Concat([]string{"client"}, command, []string{"--dir", s.Dir})...)
		if err == nil || !strings.HasPrefix(out, "keyreeve: the HSM is unavailable: cannot ") {
			t.Errorf("%s from an HSM that is away: %v\n%s", what, err, out)
		}
	}
	admin.ask("POST", "/v1/clients", withCSR(t, "hello", body{"name": "array7"})).demand(admin, 400, "no request", "InvalidField", "no certificate was issued: the certificate request is not")
}

// A server that a policy of the operator's own permits it fetches the revocation list over REST.
func TestRevocationListOverREST(t *testing.T) {
	dir, fresh := installed(t)
	set := fresh(t)
	set["enrollment"] = map[string]any{"certificate": filepath.Join(dir, "certs", certs.EnrollmentCertificate), "key": filepath.Join(dir, "certs", certs.EnrollmentKey)}
	set["policy"] = map[string]any{"file": write(t, filepath.Join(dir, "own.rego"), keyreeve.Policy+"\npermits contains \"fetches revocations\" if {\n\tinput.operation == \"Read Revocations\"\n\tinput.principal.roles.peer\n}\n"),
		"tests": write(t, filepath.Join(dir, "own_test.rego"), keyreeve.PolicyTests)}
	s := startInstalled(t, dir, set)
	s.Certify(certs.Request{Name: "peer", Tenant: "default", Roles: []string{"peer"}})
	authority, err := os.ReadFile(filepath.Join(dir, "certs", certs.EnrollmentCertificate))
	if err != nil {
		t.Fatal(err)
	}
	peer := restAs(t, s, "peer")
	res, der := sendREST(t, peer.client, "GET", peer.url+"/v1/clients/crl", "", nil)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/pkix-crl" {
		t.Fatalf("GET /v1/clients/crl: %d %v %s", res.StatusCode, res.Header, der)
	}
	if got := revocations(t, der, pemCertificate(t, authority)); len(got) != 0 {
		t.Errorf("before any revocation the list has %v", got)
	}
}
