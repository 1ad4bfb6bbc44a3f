package authn

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// lasting returns a certificate with a lifetime that ends after a time.
func lasting(c *ca, name string, lifetime, left time.Duration) *x509.Certificate {
	return c.leaf(func(l *x509.Certificate) {
		uri("keyreeve://acme/" + name)(l)
		l.NotAfter = time.Now().Add(left)
		l.NotBefore = l.NotAfter.Add(-lifetime)
	})
}

// A certificate that is used within the warning time is reported once, counted, and named by
// health. One that is renewed more often than that is reported late in its own lifetime.
func TestExpiringCertificates(t *testing.T) {
	c := newCA(t, "ca", nil)
	s := trusting(t, c)
	s.ExpiryWarning = 45 * time.Minute // the authority itself ends in an hour
	a := authenticator(t, s)
	var reported []string
	a.ReportExpiring(func(e ExpiringCertificate) { reported = append(reported, e.Tenant+"/"+e.Name) })
	if earliest, n := a.ClientExpiry(time.Now()); !earliest.IsZero() || n != 0 || len(a.ClientNotes(core.SystemTenant, time.Now())) != 0 {
		t.Errorf("before any client: %v, %d", earliest, n)
	}
	soon := lasting(c, "soon", 24*time.Hour, 40*time.Minute)
	for _, leaf := range []*x509.Certificate{soon, soon, lasting(c, "later", 24*time.Hour, 50*time.Minute), lasting(c, "young", time.Hour, 20*time.Minute), lasting(c, "old", time.Hour, 10*time.Minute)} {
		if _, err := who(a, state(leaf)); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(reported); got != "[acme/soon acme/old]" {
		t.Errorf("reported %s", got)
	}
	notes := strings.Join(a.ClientNotes(core.SystemTenant, time.Now()), "\n")
	for tenant, want := range map[string]int{core.SystemTenant: 2, "acme": 2, "other": 0, "": 0} {
		if told := a.ClientNotes(tenant, time.Now()); len(told) != want {
			t.Errorf("tenant %q is told %q; want %d notes, and none of another tenant", tenant, told, want)
		}
	}
	if earliest, n := a.ClientExpiry(time.Now()); n != 2 || time.Until(earliest) > 10*time.Minute || !strings.Contains(notes, "acme/soon") || !strings.Contains(notes, "acme/old") || strings.Contains(notes, "acme/later") {
		t.Errorf("%d expire soon, the first on %v; health says\n%s", n, earliest, notes)
	}
	if _, n := a.ClientExpiry(time.Now().Add(35 * time.Minute)); n != 2 {
		t.Errorf("%d expire soon 35 minutes later, when one has expired and one comes into its time", n)
	}
	if earliest, n := a.ClientExpiry(time.Now().Add(seenFor + time.Hour)); !earliest.IsZero() || n != 0 {
		t.Errorf("certificates that nobody has used for a day are still counted: %v, %d", earliest, n)
	}
}

// An open connection is looked at again, so that its certificate comes into its time, and one
// report a day is made.
func TestLongConnectionsAreNotedAgain(t *testing.T) {
	c := newCA(t, "ca", nil)
	s := trusting(t, c)
	v := authenticator(t, s).trust.Load().judgeChain([]*x509.Certificate{lasting(c, "dev", 24*time.Hour, 20*time.Hour)}, time.Now())
	if v.err != nil || time.Until(v.validUntil) > noteEvery {
		t.Errorf("the verdict holds until %v: %v", v.validUntil, v.err)
	}
	u := certificatesInUse{seen: map[string]*seenCertificate{}}
	leaf, now := lasting(c, "dev", 1000*time.Hour, 100*time.Hour), time.Now()
	p := &core.Principal{Tenant: "acme", ID: "dev", Fingerprint: "f", Expires: leaf.NotAfter.Unix()}
	reports := 0
	for hour := range 50 {
		if _, warn := u.note(p, leaf, 80*time.Hour, now.Add(time.Duration(hour)*time.Hour+time.Second)); warn {
			reports++
		}
	}
	if reports != 2 {
		t.Errorf("%d reports in the first 30 of the last 80 hours, want one a day: 2", reports)
	}
}

// However many certificates are used, few are remembered, health names few, and those that
// expire first are kept.
func TestCertificatesInUseAreBounded(t *testing.T) {
	a := authenticator(t, trusting(t, newCA(t, "ca", nil)))
	now := time.Now()
	leaf := &x509.Certificate{NotBefore: now.Add(-1000 * time.Hour), NotAfter: now.Add(1000 * time.Hour)}
	for i := range maxSeen + 100 {
		p := &core.Principal{Tenant: "acme", ID: "dev", Fingerprint: fmt.Sprintf("%032d", i), Expires: now.Add(time.Hour).Unix() + int64(i)}
		a.inUse.note(p, leaf, 100*time.Hour, now)
	}
	earliest, n := a.ClientExpiry(now)
	if n != maxSeen || earliest.Unix() != now.Add(time.Hour).Unix() {
		t.Errorf("%d are remembered, the first expires on %v", n, earliest)
	}
	if notes := a.ClientNotes(core.SystemTenant, now); len(notes) != maxExpiryNote+1 || !strings.Contains(notes[maxExpiryNote], fmt.Sprint(maxSeen-maxExpiryNote)) {
		t.Errorf("health has %d notes: %q", len(notes), notes)
	}
	a.inUse.note(&core.Principal{Fingerprint: "new", Expires: now.Add(100 * time.Hour).Unix()}, leaf, time.Hour, now.Add(seenFor+time.Minute))
	if len(a.inUse.seen) != 1 {
		t.Errorf("%d certificates are remembered after a day without use", len(a.inUse.seen))
	}
}
