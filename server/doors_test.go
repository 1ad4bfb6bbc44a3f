package server_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

func dial(t *testing.T, s *servertest.Server, name string, v core.Version) *kmiptest.Client {
	t.Helper()
	return dialWith(t, s, clientTLS(t, s, name), v)
}

// dialWith connects to the KMIP door by TLS settings of the caller.
func dialWith(t *testing.T, s *servertest.Server, cfg *tls.Config, v core.Version) *kmiptest.Client {
	t.Helper()
	c, err := kmiptest.Dial(s.KMIP, cfg, v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// clientTLS returns the TLS settings of a client whose certificate the server's folder has.
func clientTLS(t *testing.T, s *servertest.Server, name string) *tls.Config {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, name)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func aesKey(t *testing.T, c *kmiptest.Client, more ...core.Attribute) string {
	t.Helper()
	out, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt|core.MaskDecrypt, more...))
	if err != nil {
		t.Fatal(err)
	}
	return out.ID
}

// who must not get in: nobody, strangers of another authority, expired and
// revoked certificates; each is recorded, and the server goes on.
func TestWhoMayNotEnter(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	_, theirs := anotherAuthority(t, s)
	s.Certify(certs.Request{Name: "old", Tenant: "default", TTL: time.Second})
	s.Certify(certs.Request{Name: "thief", Tenant: "default", Groups: []string{"dev"}})
	ours, _ := kmiptest.Config(s.Certs, "dev")
	nobody := ours.Clone()
	nobody.Certificates = nil
	expired, _ := kmiptest.Config(s.Certs, "old")
	refused := func(what string, cfg *tls.Config) {
		t.Helper()
		c, err := kmiptest.Dial(s.KMIP, cfg, core.V1_4)
		if err == nil {
			defer c.Close()
			_, err = kmiptest.Do(c, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{})
		}
		if r := kmiptest.Reason(err); err == nil || (r != 0 && r != core.ReasonAuthenticationNotSuccessful) {
			t.Errorf("%s got in: %v", what, err)
		}
	}
	time.Sleep(1100 * time.Millisecond) // until the old one is
	refused("nobody", nobody)
	refused("a stranger", theirs)
	refused("an expired certificate", expired)
	for what, cfg := range map[string]*tls.Config{"nobody": nobody, "a stranger": theirs, "an expired certificate": expired} {
		rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: 5 * time.Second}
		if res, err := rest.Get("https://" + s.HTTPS + "/v1/health"); err == nil {
			res.Body.Close()
			if what == "nobody" && res.StatusCode == http.StatusUnauthorized {
				continue // TLS lets in who has no certificate, for health without details
			}
			t.Errorf("%s got into the REST door: %s", what, res.Status)
		}
	}

	thief := dial(t, s, "thief", core.V1_4)
	id := aesKey(t, thief)
	if out, err := s.Command("cert", "revoke", "--dir", s.Dir, "--name", "thief"); err != nil {
		t.Fatal(err, out)
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := kmiptest.Do(thief, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a certificate revoked while connected: %v", err)
	}
	cfg, _ := kmiptest.Config(s.Certs, "thief")
	refused("a revoked certificate", cfg)
	if _, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
		t.Errorf("others of the group: %v", err)
	}
	if out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Login"); err != nil || strings.Count(out, "denied  kmip") < 4 || strings.Count(out, "denied  rest") < 3 {
		t.Errorf("failed logins are not recorded: %v\n%s", err, out)
	}
}

// What a client can send wrongly gets an answer or a closed connection, and
// the next client is served.
func TestHostileBytes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	good, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmiptest.Item(&kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}))
	if err != nil {
		t.Fatal(err)
	}
	claim := func(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{0x42, 0, 0x78, 1}, n) }
	edit := func(at int, b byte) []byte { m := bytes.Clone(good); m[at] = b; return m }
	for what, c := range map[string]struct {
		msg    []byte
		answer bool
	}{
		"a claim of 4 GiB":         {claim(0xffff_fff8), true},
		"a claim of 2 MiB":         {claim(2 << 20), true},
		"another protocol":         {[]byte("GET / HTTP/1.1\r\n\r\n"), true},
		"an answer as a question":  {edit(2, 0x7b), true},
		"a broken inner length":    {edit(15, 0xff), true},
		"an unknown major version": {edit(39, 9), true},
		"deep nesting":             {deep(40), true},
		"no items":                 {edit(len(good)-1, 1), true},
	} {
		conn := dial(t, s, "dev", core.V1_4)
		conn.Conn.SetDeadline(time.Now().Add(5 * time.Second))
		raw, err := conn.Send(c.msg)
		if (err == nil) != c.answer {
			t.Errorf("%s: answer %x, %v", what, raw, err)
			continue
		}
		r, err := kmip.ParseResponse(raw)
		if err != nil || len(r.Items) != 1 || r.Items[0].Status != core.StatusOperationFailed {
			t.Errorf("%s is answered %+v, %v", what, r, err)
		}
	}
	if _, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if log, _ := os.ReadFile(s.Log); strings.Contains(string(log), "panic") {
		t.Errorf("something panicked:\n%s", log)
	}
}

func deep(n int) []byte {
	var b []byte
	for range n {
		b = append(binary.BigEndian.AppendUint32([]byte{0x42, 0, 0x78, 1}, uint32(len(b))), b...)
	}
	return b
}

// Requests sent at once, and one sent byte by byte, are answered in order.
func TestPipelining(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	var all []byte
	for i := range 8 {
		item := kmiptest.Item(&kmip.RNGRetrieve, &operation.RNGRetrieveInput{Length: int32(i + 1)})
		item.BatchID = []byte{byte(i)}
		msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, item)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, msg...)
	}
	half := len(all) / 2
	c.Conn.Write(all[:half])
	for _, b := range all[half : half+40] {
		c.Conn.Write([]byte{b})
	}
	c.Conn.Write(all[half+40:])
	for i := range 8 {
		raw, err := c.Receive()
		if err != nil {
			t.Fatal(err)
		}
		r, err := kmip.ParseResponse(raw)
		if err != nil || !bytes.Equal(r.Items[0].BatchID, []byte{byte(i)}) {
			t.Fatalf("answer %d is %+v, %v", i, r, err)
		}
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	create := func(name string) kmip.ClientItem {
		return kmiptest.Item(&kmip.Create, kmiptest.AESKey(128, core.MaskEncrypt, kmiptest.Name(name)))
	}
	bad := kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID("nobody")})
	get := kmiptest.Item(&kmip.Get, &operation.GetInput{})
	for _, b := range []struct {
		option core.BatchErrorContinuationOption
		items  []kmip.ClientItem
		want   string // S success, F failed, U undone
		stays  int
	}{
		{0, []kmip.ClientItem{create("stop"), get, bad, create("stop")}, "SSF", 1},
		{core.BatchErrorContinuationOptionStop, []kmip.ClientItem{bad, create("stop2")}, "F", 0},
		{core.BatchErrorContinuationOptionContinue, []kmip.ClientItem{create("go"), bad, create("go"), get}, "SFSS", 2},
		{core.BatchErrorContinuationOptionUndo, []kmip.ClientItem{create("undo"), create("undo"), bad, create("undo")}, "UUF", 0},
		{core.BatchErrorContinuationOptionUndo, []kmip.ClientItem{create("done"), get}, "SS", 1},
	} {
		c.Options.ErrorOption = b.option
		r, err := c.Batch(b.items...)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, i := range r.Items {
			got += map[core.ResultStatus]string{core.StatusSuccess: "S", core.StatusOperationFailed: "F", core.StatusOperationUndone: "U"}[i.Status]
		}
		if got != b.want {
			t.Errorf("option %v: %s, want %s", b.option, got, b.want)
		}
	}
	c.Options.ErrorOption = 0
	for name, want := range map[string]int{"stop": 1, "stop2": 0, "go": 2, "undo": 0, "done": 1} {
		found, err := kmiptest.Do(c, &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{kmiptest.Name(name)}})
		if err != nil || len(found.IDs) != want {
			t.Errorf("%d objects are named %s, want %d (%v)", len(found.IDs), name, want, err)
		}
	}
	// the placeholder ends with its message
	if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{}); kmiptest.Reason(err) != core.ReasonItemNotFound {
		t.Errorf("Get without an identifier in a message of its own: %v", err)
	}
	c.Options.MaximumResponseSize = 200
	n := len(locateAll(t, s))
	if _, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(128, core.MaskEncrypt)); kmiptest.Reason(err) != core.ReasonResponseTooLarge {
		t.Errorf("a Create whose answer would not fit: %v", err)
	}
	if now := len(locateAll(t, s)); now != n {
		t.Error("it was made all the same")
	}
}

// KMIP 2.x names objects by what the batch has answered so far: the nth Unique
// Identifier of it (2.1 §4.58), or that of the last item of an operation (§11.58).
func TestReferencesIntoTheBatch(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V2_1)
	c.Options.ErrorOption = core.BatchErrorContinuationOptionContinue
	nth := func(n int32) core.Identifier { return core.Identifier{Nth: &n} }
	of := func(e core.UniqueIdentifierEnum) core.Identifier { return core.Identifier{Enum: e} }
	get := func(id core.Identifier) kmip.ClientItem {
		return kmiptest.Item(&kmip.GetAttributeList, &operation.GetAttributeListInput{ID: id})
	}
	link := func(v core.Value) core.Attribute {
		return core.Attribute{Tag: core.TagLink, Value: core.Structure(core.Field{Tag: core.TagLinkType, Value: core.Enum(core.LinkTypeParentLink)}, core.Field{Tag: core.TagLinkedObjectIdentifier, Value: v})}
	}
	r, err := c.Batch(
		kmiptest.Item(&kmip.CreateKeyPair, &operation.CreateKeyPairInput{Common: core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)},
			{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}}}), // identifiers 0 and 1
		get(core.ID("nobody")), // fails and has none
		kmiptest.Item(&kmip.Create, kmiptest.AESKey(128, core.MaskEncrypt, link(core.Enum(core.UniqueCreateKeyPairPublicKey)), link(core.Int(-2)))), // 2
		get(nth(0)), get(nth(1)), get(nth(2)), // 3, 4, 5
		get(nth(-1)), get(nth(-4)), // 5 is 2: 6; 6 is 2, 3 is 0: 7
		get(of(core.UniqueCreateKeyPairPrivateKey)), get(of(core.UniqueCreateKeyPairPublicKey)), get(of(core.UniqueCreate)),
		get(of(core.UniqueIDPlaceholder)), get(of(core.UniqueCreateKeyPair)), get(of(core.UniqueLocate)), get(nth(99)), get(nth(-99)),
		kmiptest.Item(&kmip.Create, kmiptest.AESKey(128, core.MaskEncrypt, link(core.Int(99)))))
	if err != nil || len(r.Items) != 17 {
		t.Fatalf("%d answers, %v", len(r.Items), err)
	}
	var pair operation.CreateKeyPairOutput
	var key operation.CreateOutput
	if err := kmip.CreateKeyPair.DecodeResponse(r.Items[0].Payload, c.Version, &pair); err != nil {
		t.Fatal(err)
	}
	if err := kmip.Create.DecodeResponse(r.Items[2].Payload, c.Version, &key); err != nil {
		t.Fatalf("%v: %s", err, r.Items[2].Message)
	}
	private, public, fresh := pair.PrivateID, pair.PublicID, key.ID
	for i, want := range []string{3: private, 4: public, 5: fresh, 6: fresh, 7: private, 8: private, 9: public, 10: fresh, 11: fresh} {
		var out operation.GetAttributeListOutput
		if i < 3 {
			continue
		}
		if err := kmip.GetAttributeList.DecodeResponse(r.Items[i].Payload, c.Version, &out); err != nil || out.ID != want {
			t.Errorf("item %d is about %s (%s, %v), want %s of private %s, public %s, key %s", i, out.ID, r.Items[i].Message, err, want, private, public, fresh)
		}
	}
	for i, want := range map[int]core.ResultReason{1: core.ReasonObjectNotFound, 12: core.ReasonFeatureNotSupported, 13: core.ReasonInvalidField, 14: core.ReasonInvalidField, 15: core.ReasonInvalidField, 16: core.ReasonInvalidField} {
		if r.Items[i].Reason != want {
			t.Errorf("item %d: %v %s, want %v", i, r.Items[i].Reason, r.Items[i].Message, want)
		}
	}
	links := attributesOf(t, c, fresh, tag(core.TagLink))
	if len(links) != 2 || links[0].Value.Field(core.TagLinkedObjectIdentifier).Text != public || links[1].Value.Field(core.TagLinkedObjectIdentifier).Text != private {
		t.Errorf("the Links are %v, want to %s and %s", links, public, private)
	}
}

// A critical Message Extension stops the whole message (KMIP 1.4 §6.16): each item
// says so with its Operation, and nothing is done. Others are ignored.
func TestMessageExtensions(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	extended := func(name string, critical ...byte) kmip.ClientItem {
		create := kmiptest.Item(&kmip.Create, kmiptest.AESKey(128, core.MaskEncrypt, kmiptest.Name(name)))
		create.BatchID = []byte(name)
		plain := create.Payload
		create.Payload = func(dst []byte, v core.Version) ([]byte, error) {
			dst, err := plain(dst, v)
			for _, c := range critical {
				dst = append(dst, kmiptest.RawItem(core.TagMessageExtension, core.KindStructure, kmiptest.RawItem(core.TagVendorIdentification, core.KindTextString, []byte("Acme")),
					kmiptest.RawItem(core.TagCriticalityIndicator, core.KindBoolean, []byte{0, 0, 0, 0, 0, 0, 0, c}), kmiptest.RawItem(core.TagVendorExtension, core.KindStructure))...)
			}
			return dst, err
		}
		return create
	}
	for v, want := range map[core.Version]core.ResultReason{core.V1_0: core.ReasonFeatureNotSupported, core.V1_4: core.ReasonFeatureNotSupported, core.V2_1: core.ReasonUnknownMessageExtension} {
		c := dial(t, s, "dev", v)
		before := len(locateAll(t, s))
		r, err := c.Batch(extended("one"), extended("two", 0, 1), extended("three", 0))
		if err != nil || len(r.Items) != 3 {
			t.Fatalf("KMIP %v: %+v, %v", v, r, err)
		}
		for _, i := range r.Items {
			if i.Status != core.StatusOperationFailed || i.Reason != want || i.Operation != core.OperationCreate || len(i.BatchID) == 0 || i.Payload != nil {
				t.Errorf("KMIP %v: %+v", v, i)
			}
		}
		if now := len(locateAll(t, s)); now != before {
			t.Errorf("KMIP %v: something was made", v)
		}
		r, err = c.Batch(extended("plain", 0), extended("also"))
		if err != nil || len(r.Items) != 2 || r.Items[0].Status != core.StatusSuccess || r.Items[1].Status != core.StatusSuccess {
			t.Errorf("KMIP %v, not critical: %+v, %v", v, r, err)
		}
	}
}

func locateAll(t *testing.T, s *servertest.Server) []string {
	t.Helper()
	out, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Locate, &operation.LocateInput{MaximumItems: -1})
	if err != nil {
		t.Fatal(err)
	}
	return out.IDs
}

// Strangers of the tenant are denied, another tenant finds nothing.
func TestTenantsAndGroups(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Issue("eve", "default")
	s.Issue("other", "acme", "dev")
	s.Certify(certs.Request{Name: "ann", Tenant: "default", Roles: []string{"auditor"}})
	id := aesKey(t, dial(t, s, "dev", core.V1_4))
	for who, want := range map[string]core.ResultReason{"dev2": 0, "eve": core.ReasonPermissionDenied, "other": core.ReasonItemNotFound, "ann": core.ReasonPermissionDenied} {
		c := dial(t, s, who, core.V1_4)
		if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); kmiptest.Reason(err) != want {
			t.Errorf("Get by %s: %v; want %v", who, err, want)
		}
	}
	if _, err := kmiptest.Do(dial(t, s, "ann", core.V1_4), &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id)}); err != nil {
		t.Errorf("an auditor reads attributes: %v", err)
	}
	mine := aesKey(t, dial(t, s, "other", core.V2_1))
	if _, err := kmiptest.Do(dial(t, s, "dev", core.V2_1), &kmip.Get, &operation.GetInput{ID: core.ID(mine)}); kmiptest.Reason(err) != core.ReasonObjectNotFound {
		t.Errorf("another tenant's key: %v", err)
	}
}

// Clients of one group share no new key until a setting names the group, and then only what is
// made from then on.
func TestAGroupSharesNewKeysWhenItIsNamed(t *testing.T) {
	s := servertest.Start(t)
	s.Issue("fay", "default", "ops")
	s.Issue("gus", "default", "ops")
	fay, gus := dial(t, s, "fay", core.V1_4), dial(t, s, "gus", core.V1_4)
	encrypt := func(id string) core.ResultReason { return kmiptest.Reason(encryptOver(gus, id)) }
	own := aesKey(t, fay, activeNow)
	if got := encrypt(own); got != core.ReasonPermissionDenied {
		t.Errorf("a member of a group that nobody has named uses the key: %v", got)
	}
	if out, err := s.Command("tenant", "set", "default", "keyGroup=ops", "--dir", s.Dir); err != nil {
		t.Fatal(err, out)
	}
	if got := encrypt(aesKey(t, fay, activeNow)); got != 0 {
		t.Errorf("a member of the group that the tenant names cannot use a new key: %v", got)
	}
	if got := encrypt(own); got != core.ReasonPermissionDenied {
		t.Errorf("a member of that group uses a key that was made before: %v", got)
	}
}

// A session is resumed with its client certificate, under 1.2 and 1.3.
func TestResumption(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := clientTLS(t, s, "dev")
		cfg.MinVersion, cfg.MaxVersion, cfg.ClientSessionCache = v, v, tls.NewLRUClientSessionCache(4)
		for i := range 2 {
			c, err := kmiptest.Dial(s.KMIP, cfg, core.V1_4)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kmiptest.Do(c, &kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryObjects}}); err != nil {
				t.Errorf("TLS %x, connection %d: %v", v, i, err)
			}
			if resumed := c.Conn.(*tls.Conn).ConnectionState().DidResume; resumed != (i == 1) {
				t.Errorf("TLS %x, connection %d: resumed is %v", v, i, resumed)
			}
			c.Close()
		}
	}
}

// What KMIP makes REST uses, and the reverse; both leave the same record.
func TestTwoDoors(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	cfg, _ := kmiptest.Config(s.Certs, "dev")
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, Timeout: 10 * time.Second}
	call := func(method, path, body string) (int, map[string]any) {
		t.Helper()
		req, _ := http.NewRequest(method, "https://"+s.HTTPS+path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		res, err := rest.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		var m map[string]any
		json.Unmarshal(b, &m)
		return res.StatusCode, m
	}
	c := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, c, activeNow)
	status, sealed := call("POST", "/v1/encrypt", fmt.Sprintf(`{"keyId":%q,"format":"raw","plaintext":"YXR0YWNr"}`, id))
	if status != 200 {
		t.Fatalf("encrypt: %d %v", status, sealed)
	}
	body, _ := json.Marshal(map[string]any{"keyId": id, "format": "raw", "ciphertext": sealed["ciphertext"], "iv": sealed["iv"], "tag": sealed["tag"]})
	if status, open := call("POST", "/v1/decrypt", string(body)); status != 200 || open["plaintext"] != "YXR0YWNr" {
		t.Errorf("decrypt: %d %v", status, open)
	}
	status, made := call("POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"name":"rest"}`)
	if status != 201 {
		t.Fatalf("create: %d %v", status, made)
	}
	if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(made["keyId"].(string))}); err != nil {
		t.Errorf("KMIP cannot get what REST made: %v", err)
	}
	if status, shown := call("GET", "/v1/keys/"+made["keyId"].(string), ""); status != 200 || shown["owner"] != "dev" || shown["group"] != "dev" || shown["class"] != "C" {
		t.Errorf("a key of dev, which development mode shares with its group: %d %v", status, shown)
	}
	if status, list := call("GET", "/v1/keys?filter=name:rest", ""); status != 200 || len(list["keys"].([]any)) != 1 {
		t.Errorf("list: %d %v", status, list)
	}
	if status, h := call("GET", "/v1/health", ""); status != 200 || h["ready"] != true {
		t.Errorf("health: %d %v", status, h)
	}
	for _, bad := range []struct {
		method, path, body string
		status             int
	}{{"POST", "/v1/keys", `{"typ":"x"}`, 400}, {"POST", "/v1/keys", `{"type":"symmetric","algorithm":"ROT13","usage":["encrypt"]}`, 400}, {"POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"],"group":"strangers"}`, 400},
		{"POST", "/v1/encrypt", `{"keyId":"nobody","format":"raw","plaintext":""}`, 404},
		{"POST", "/v1/encrypt", strings.Repeat(" ", 1<<20) + "{}", 413}, {"GET", "/v1/keys/nobody", "", 404}, {"GET", "/v1/keys?limit=0", "", 400}, {"DELETE", "/v1/keys", "", 404}, {"GET", "/", "", 404}} {
		if status, p := call(bad.method, bad.path, bad.body); status != bad.status || p["code"] == nil {
			t.Errorf("%s %s: %d %v, want %d", bad.method, bad.path, status, p, bad.status)
		}
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--object", id, "--json")
	if err != nil || !strings.Contains(out, `"door":"kmip"`) || !strings.Contains(out, `"door":"rest"`) {
		t.Errorf("the records of both doors: %v\n%s", err, out)
	}
}

// The command contract: files, the ready line, refusal of other addresses, and
// an end with status 0 in which what is under way is answered.
func TestCommandContract(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, f := range []string{"ca.pem", "server.pem", "server-key.pem", "dev.pem", "dev-key.pem", "dev2.pem", "dev2-key.pem"} {
		if _, err := os.Stat(filepath.Join(s.Certs, f)); err != nil {
			t.Error(err)
		}
	}
	id := aesKey(t, dial(t, s, "dev", core.V1_4))
	if out, err := s.Command("policy", "simulate", "--dir", s.Dir, "--as", "dev2", "--do", "Get", "--object", id); err != nil || !strings.HasPrefix(out, "allow\n") {
		t.Errorf("policy simulate: %v %s", err, out)
	}
	if out, err := s.Command("doctor", "--dir", s.Dir); err != nil || strings.Contains(out, "PROBLEM") || !strings.Contains(out, s.KMIP+", in use by the running server") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
	nothing := filepath.Join(t.TempDir(), "nothing")
	if out, err := s.Command("doctor", "--dir", nothing); err == nil || !strings.Contains(out, "serve --dev") {
		t.Errorf("doctor of an empty folder: %v\n%s", err, out)
	} else if _, err := os.Stat(nothing); err == nil {
		t.Error("doctor made the folder that it was to look at")
	}
	if out, err := s.Command("health", "--dir", s.Dir); err != nil {
		t.Errorf("health: %v\n%s", err, out)
	}
	for what, args := range map[string][]string{
		"another address":      {"serve", "--dev", "--dir", t.TempDir(), "--kmip", "0.0.0.0:0"},
		"no configuration":     {"serve", "--config", "/nowhere.yaml"},
		"no mode":              {"serve"},
		"several members":      {"serve", "--dev", "--dir", t.TempDir(), "--members", "2"},
		"a name with a path":   {"cert", "issue", "--dir", s.Dir, "--name", "../x"},
		"a name that is taken": {"cert", "issue", "--dir", s.Dir, "--name", "dev"},
		"no server":            {"audit", "list", "--dir", t.TempDir()},
		"a second server":      {"serve", "--dev", "--dir", s.Dir, "--kmip", "127.0.0.1:0", "--http", "127.0.0.1:0"},
	} {
		out, err := s.Command(args...)
		if err == nil || !strings.Contains(out, "keyreeve: ") || strings.Contains(out, "panic") {
			t.Errorf("%s: %v %q; want one sentence and status 1", what, err, out)
		}
	}
	hangUp(t, s, "level=INFO msg=reload")
	if err := s.Stop(); err != nil {
		log, _ := os.ReadFile(s.Log)
		t.Errorf("after SIGTERM: %v\n%s", err, log)
	}
}

// A client that sends half a message, or nothing, is cut off at its limit; a
// thousand idle ones cost little memory each.
func TestIdleAndSlow(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	c.Conn.Write([]byte{0x42, 0, 0x78, 1})
	c.Conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	if _, err := c.Receive(); err == nil {
		t.Error("half a header was answered")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Error("half a header still holds its connection after 15 s")
	}
	const n = 200 // from one address; the server takes 256
	before := s.Resident(t)
	for range n {
		conn := dial(t, s, "dev", core.V1_4)
		if _, err := kmiptest.Do(conn, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}); err != nil {
			t.Fatal(err)
		}
	}
	per := (s.Resident(t) - before) / n
	t.Logf("%d KiB a connection", per)
	if per > 96 { // a loose bound for so few: see docs/DESIGN.md for the figure
		t.Errorf("%d idle connections cost %d KiB each", n, per)
	}
}

// A client that TLS lets in and that is nobody gets Authentication Not
// Successful for its first message, in its version, whatever the message is, and
// then the end of the connection; a resumed session does not help.
func TestRefusedClientIsAnswered(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "thief", Tenant: "default", Groups: []string{"dev"}})
	cfg := clientTLS(t, s, "thief")
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	shake(t, s.KMIP, cfg)
	if out, err := s.Command("cert", "revoke", "--dir", s.Dir, "--name", "thief"); err != nil {
		t.Fatal(err, out)
	}
	time.Sleep(1100 * time.Millisecond)
	for _, maxTLS := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := cfg.Clone()
		cfg.MaxVersion = maxTLS
		for _, v := range core.Versions {
			if !kmip.Known(v) {
				continue
			}
			c, err := kmiptest.Dial(s.KMIP, cfg, v)
			if err != nil {
				t.Fatalf("%v: the handshake fails: %v", v, err)
			}
			if err := discover(c); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful || !strings.Contains(err.Error(), "revoked") {
				t.Errorf("%v: %v; want Authentication Not Successful, and why", v, err)
			}
			if err := discover(c); err == nil || kmiptest.Reason(err) != 0 {
				t.Errorf("%v: the connection stays open: %v", v, err)
			}
			c.Close()
		}
		// A large message, of which the server reads only the beginning.
		for range 10 {
			conn, err := tls.Dial("tcp", s.KMIP, cfg)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			large := make([]byte, 1<<20)
			copy(large, []byte{0x42, 0x00, 0x78, 0x01, 0x00, 0x0f, 0xff, 0xf8})
			conn.Write(large) // the answer may come before all is written
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.Contains(string(answer), "revoked") {
				t.Errorf("a large message: %d bytes, %v; want the refusal and a clean end", len(answer), err)
			}
			conn.Close()
		}
	}
	if out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Login", "--limit", "0"); err != nil || !strings.Contains(out, "subject CN=thief") || !strings.Contains(out, "has been revoked") {
		t.Errorf("the record does not name the certificate: %v\n%s", err, out)
	}
}

// dialTLS connects to the KMIP door with the certificate of a client.
func dialTLS(t *testing.T, s *servertest.Server, name string) *tls.Conn {
	t.Helper()
	cfg := clientTLS(t, s, name)
	conn, err := tls.Dial("tcp", s.KMIP, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// An idle connection of a client that is nobody any more is ended.
func TestIdleConnectionEnds(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "thief", Tenant: "default"})
	conn := dialTLS(t, s, "thief")
	keep := dial(t, s, "dev", core.V1_4)
	if out, err := s.Command("cert", "revoke", "--dir", s.Dir, "--name", "thief"); err != nil {
		t.Fatal(err, out)
	}
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v; want the end of the connection", err)
	}
	if err := discover(keep); err != nil {
		t.Errorf("another client's connection: %v", err)
	}
}

// A client whose certificate TLS refuses reads the alert that says why, also if
// it has sent a lot behind its handshake, at both doors; the record names the
// certificate.
func TestAlertsArrive(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	_, stranger := anotherAuthority(t, s)
	for door, addr := range map[string]string{"kmip": s.KMIP, "rest": s.HTTPS} {
		for i := range 20 {
			conn, err := tls.Dial("tcp", addr, stranger) // in TLS 1.3 the client is done before the server has looked
			if err == nil {
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				conn.Write(make([]byte, 256<<10))
				_, err = io.ReadAll(conn)
				conn.Close()
			}
			if alert, ok := errors.AsType[tls.AlertError](err); !ok && (err == nil || !strings.Contains(err.Error(), "unknown certificate authority")) {
				t.Fatalf("%s, try %d: %v (%v); want the alert", door, i, err, alert)
			}
		}
	}
	leaf, err := x509.ParseCertificate(stranger.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Login", "--limit", "0")
	if want := "subject " + certificateNames(leaf, "issuer CN=keyreeve development CA"); err != nil || strings.Count(out, want) < 2 {
		t.Errorf("the records do not name the certificate (%s): %v\n%s", want, err, out)
	}
}

// Health without details is for everybody, with details and the figures for the
// roles that the policy names; a certificate that is sent must be good.
func TestWhoReadsHealth(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for name, roles := range map[string][]string{"nosy": nil, "prometheus": {"monitor"}, "auditor": {"auditor"}, "admin": {"admin"}} {
		s.Certify(certs.Request{Name: name, Tenant: "default", Roles: roles})
	}
	_, strange := anotherAuthority(t, s)
	client := func(cfg *tls.Config) *http.Client {
		return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	}
	get := func(c *http.Client, path string) (int, string) {
		t.Helper()
		res, err := c.Get("https://" + s.HTTPS + path)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	anyone := clientTLS(t, s, "dev")
	anyone.Certificates = nil
	nobody := client(anyone)
	for path, want := range map[string]int{"/v1/health/live": 200, "/v1/health/ready": 200, "/v1/health": 401, "/metrics": 401, "/v1/keys": 401, "/nothing": 401} {
		if got, body := get(nobody, path); got != want {
			t.Errorf("%s without a certificate: %d %s, want %d", path, got, body, want)
		}
	}
	if got, body := get(client(strange), "/v1/health/live"); got != 0 || !strings.Contains(body, "unknown certificate authority") {
		t.Errorf("a certificate that is no good: %d %s", got, body)
	}
	for name, want := range map[string]int{"nosy": 403, "prometheus": 200, "auditor": 200, "admin": 200, "dev": 200} {
		cfg := clientTLS(t, s, name)
		for _, path := range []string{"/v1/health", "/metrics"} {
			if got, body := get(client(cfg), path); got != want {
				t.Errorf("%s by %s: %d %s, want %d", path, name, got, body, want)
			}
		}
		if name == "prometheus" {
			if got, body := get(client(cfg), "/v1/keys"); got != 200 || strings.Contains(body, "\"keys\":[{") {
				t.Errorf("role monitor lists %d %s", got, body)
			}
		}
	}
	var h struct {
		Ready bool
		Parts map[string]struct{ Ready bool }
	}
	cfg, _ := kmiptest.Config(s.Certs, "prometheus")
	if _, body := get(client(cfg), "/v1/health"); json.Unmarshal([]byte(body), &h) != nil || !h.Ready || !h.Parts["tls"].Ready || !h.Parts["directory"].Ready {
		t.Errorf("%s", body)
	}

	// The token goes away: not ready, and live all the same.
	tokens := filepath.Join(s.Dir, "tokens")
	if err := os.Rename(tokens, tokens+".away"); err != nil {
		t.Fatal(err)
	}
	status := 200
	for end := time.Now().Add(30 * time.Second); status == 200 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		status, _ = get(nobody, "/v1/health/ready")
	}
	if live, _ := get(nobody, "/v1/health/live"); status != 503 || live != 200 {
		t.Errorf("without a token: ready %d, live %d; want 503 and 200", status, live)
	}
	if err := os.Rename(tokens+".away", tokens); err != nil {
		t.Fatal(err)
	}
}
