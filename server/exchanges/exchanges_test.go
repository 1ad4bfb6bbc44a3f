package exchanges

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// message returns a request message with one name of so many bytes.
func message(bytes int) []byte {
	text := []byte(strings.Repeat("n", bytes))
	item := binary.BigEndian.AppendUint32([]byte{byte(core.TagNameValue >> 16 & 0xff), byte(core.TagNameValue >> 8 & 0xff), byte(core.TagNameValue & 0xff), byte(core.KindTextString)}, uint32(len(text)))
	item = append(item, text...)
	return append(item, make([]byte, (8-len(text)%8)%8)...)
}

// failed returns an exchange that failed with a sentence.
func failed(text string) *Exchange {
	e := &Exchange{Began: time.Unix(100, 0), Ended: time.Unix(101, 0), Address: "10.0.0.1", Version: core.V1_4}
	e.Fail(Failure{Item: 1, Operation: core.OperationGet, Code: core.ItemNotFound, Text: text})
	return e
}

// A client has its newest exchanges, also if one fails again and again, and only in so many bytes.
func TestExchangesOfOneClientAreBounded(t *testing.T) {
	k := NewKeeper()
	for i := range 3 * perClient {
		k.Keep("default", "array7", failed(fmt.Sprint("failure ", i)), message(10))
	}
	for range 5 {
		k.Keep("default", "array7", failed("again"), message(20))
	}
	all := k.Of("default", "array7")
	if len(all) != perClient || all[0].Failures[0].Text != "again" || all[0].Times != 5 || all[1].Failures[0].Text != fmt.Sprint("failure ", 3*perClient-1) || all[1].Times != 1 {
		t.Errorf("%d are kept, the newest %+v, then %+v", len(all), all[0], all[1])
	}
	if got := strings.Join(all[0].Request(), "\n"); !strings.Contains(got, `Name Value: "nnnnnnnnnnnnnnnnnnnn"`) {
		t.Errorf("the newest request is shown as %s", got)
	}
	var long []byte
	for range 1000 {
		long = append(long, message(250)...)
	}
	for i := range 2 * perClient {
		k.Keep("default", "array7", failed(fmt.Sprint("long ", i)), long)
	}
	bytes := 0
	for _, e := range k.Of("default", "array7") {
		bytes += len(e.form)
		if len(e.form) > maxForm || cap(e.form) > 2*maxForm {
			t.Errorf("a form has %d bytes in %d", len(e.form), cap(e.form))
		}
	}
	if bytes > maxKept || bytes < maxForm {
		t.Errorf("%d bytes are kept of a client", bytes)
	}
	many := new(Exchange)
	for i := range 10 {
		many.Fail(Failure{Item: i})
	}
	if len(many.Failures) != maxFailures || many.More != 10-maxFailures {
		t.Errorf("%d failures and %d more", len(many.Failures), many.More)
	}
}

// What is kept does not change with the memory of the message and of the exchange.
func TestKeptIsACopy(t *testing.T) {
	k := NewKeeper()
	e, msg := failed("a sentence"), message(8)
	k.Keep("default", "array7", e, msg)
	clear(msg)
	e.Failures[0].Text, e.RequestID = "changed", "changed"
	kept := k.Of("default", "array7")[0]
	if kept.Failures[0].Text != "a sentence" || kept.RequestID != "" || strings.Join(kept.Request(), "") != `Name Value: "nnnnnnnn"` {
		t.Errorf("%+v, %q", kept, kept.Request())
	}
}

// A tenant with very many clients that fail drives out its own, and not those of others.
func TestTenantsHaveShares(t *testing.T) {
	k := NewKeeper()
	k.Keep("small", "array7", failed("x"), nil)
	for i := range 3 * maxClients {
		k.Keep("large", fmt.Sprint("client", i), failed("x"), nil)
	}
	if got := k.clients.Len(); got > maxClients {
		t.Errorf("%d clients are kept", got)
	}
	if len(k.Of("small", "array7")) != 1 {
		t.Error("the client of the small tenant is gone")
	}
	if len(k.Of("large", "array7"))+len(k.Of("small", "client0")) != 0 {
		t.Error("a tenant sees what another one's client sent")
	}
}

// certificate returns one that claims a principal, or has a common name alone.
func certificate(uri, common string) []*x509.Certificate {
	c := &x509.Certificate{Raw: []byte(uri + common), SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: common}, NotAfter: time.Unix(1<<32, 0)}
	if u, err := url.Parse(uri); err == nil && uri != "" {
		c.URIs = []*url.URL{u}
	}
	return []*x509.Certificate{c}
}

// A refused connection is found by what its certificate claims, in the tenant that it claims. One
// address cannot drive out the others.
func TestRefusedConnections(t *testing.T) {
	k := NewKeeper()
	now := time.Now()
	k.KeepRefused(now, "10.0.0.1", nil, false, "no certificate")
	k.KeepRefused(now, "10.0.0.1", certificate("keyreeve://default/array7", "x"), false, "unknown authority")
	k.KeepRefused(now, "10.0.0.1", certificate("", "array7"), false, "also unknown")
	for i := range 3 * maxRefusals {
		k.KeepRefused(now, "10.6.6.6", certificate("keyreeve://default/array8", fmt.Sprint(i)), false, "a flood\n")
	}
	if got := k.Refused("default", "array7", false); len(got) != 1 || got[0].Why != "unknown authority" || got[0].Verified || got[0].Serial != "7" || len(got[0].Fingerprint) != 64 {
		t.Errorf("a tenant sees %+v", got)
	}
	if got := k.Refused("default", "array7", true); len(got) != 2 || got[0].Why != "also unknown" {
		t.Errorf("the administrator of the server sees %+v", got)
	}
	if got := k.Refused("acme", "array7", false); len(got) != 0 {
		t.Errorf("another tenant sees %+v", got)
	}
	if got := k.Refused("default", "array8", false); len(got) != perClient || got[0].Why != "a flood?" {
		t.Errorf("%d of a flood are shown", len(got))
	}
	for i := range 3 * maxRefusals {
		k.KeepRefused(now, fmt.Sprint("10.6.0.", i), certificate("keyreeve://default/array9", ""), true, "a wide flood")
	}
	if len(k.refused) > maxRefusals {
		t.Errorf("%d are kept", len(k.refused))
	}
}

// Each hint is shown for its symptom and names the client. A client without symptoms has none.
func TestHints(t *testing.T) {
	for i := range hints {
		h := &hints[i]
		var all []*Exchange
		var refused []Refusal
		if h.handshake {
			refused = []Refusal{{Why: "x " + h.contains + " y"}}
		} else {
			e := new(Exchange)
			e.Fail(Failure{Code: h.code, Text: "x " + h.contains + " y"})
			all = []*Exchange{e, e}
		}
		want := strings.ReplaceAll(h.say, "{client}", "array7")
		if got := Hints("array7", all, refused); strings.Count(strings.Join(got, "\n"), want) != 1 || strings.Contains(want, "{") {
			t.Errorf("%q %v: the hints are %q", h.contains, h.code, got)
		}
		if h.handshake == (h.code != core.Internal) {
			t.Errorf("%q has a code and is about handshakes, or neither", h.say)
		}
	}
	if got := Hints("array7", []*Exchange{failed("x")}, nil); len(got) != 1 {
		t.Errorf("hints about an object that is not there: %q", got)
	}
	if got := Hints("array7", nil, nil); len(got) != 0 {
		t.Errorf("hints about nothing: %q", got)
	}
}

// Many goroutines keep and read at once (for the race detector).
func TestKeeperAtOnce(t *testing.T) {
	k := NewKeeper()
	done := make(chan bool)
	for i := range 8 {
		go func() {
			for n := range 200 {
				k.Keep("default", fmt.Sprint("c", i%2), failed(fmt.Sprint(n%3)), message(8))
				k.KeepRefused(time.Now(), "10.0.0.1", certificate("keyreeve://default/c1", ""), false, "x")
				for _, e := range k.Of("default", "c1") {
					e.Request()
				}
				k.Refused("default", "c1", true)
			}
			done <- true
		}()
	}
	for range 8 {
		<-done
	}
}
