package server_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

func word(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func long(n int64) []byte  { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// attribute1 is an Attribute structure of KMIP 1.x (1.4 §2.1.1).
func attribute1(name string, k core.Kind, value ...[]byte) []byte {
	return kmiptest.RawItem(core.TagAttribute, core.KindStructure, kmiptest.RawItem(core.TagAttributeName, core.KindTextString, []byte(name)), kmiptest.RawItem(core.TagAttributeValue, k, value...))
}

// hostileItem is a batch item whose payload holds the given items.
func hostileItem(op core.Operation, fields ...[]byte) kmip.ClientItem {
	return kmip.ClientItem{Operation: op, Payload: func(dst []byte, _ core.Version) ([]byte, error) {
		return append(dst, kmiptest.RawItem(core.TagRequestPayload, core.KindStructure, fields...)...), nil
	}}
}

// hostileCreate asks for an AES key with more attributes.
func hostileCreate(more ...[]byte) kmip.ClientItem {
	as := append([][]byte{attribute1("Cryptographic Algorithm", core.KindEnumeration, word(3)), attribute1("Cryptographic Length", core.KindInteger, word(256)),
		attribute1("Cryptographic Usage Mask", core.KindInteger, word(12))}, more...)
	return hostileItem(core.OperationCreate, kmiptest.RawItem(core.TagObjectType, core.KindEnumeration, word(2)), kmiptest.RawItem(core.TagTemplateAttribute, core.KindStructure, as...))
}

func named(s string) []byte {
	return attribute1("Name", core.KindStructure, kmiptest.RawItem(core.TagNameValue, core.KindTextString, []byte(s)), kmiptest.RawItem(core.TagNameType, core.KindEnumeration, word(1)))
}

// onBothDatabases runs a test on a server of each database.
func onBothDatabases(t *testing.T, test func(*testing.T, *servertest.Server)) {
	t.Run("SQLite", func(t *testing.T) { test(t, servertest.Start(t)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		p := storetest.StartPostgres(t)
		test(t, servertest.Start(t, "KEYREEVE_DEV_STORE="+p.URL))
	})
}

// Each message is well framed and means harm; each gets an answer within
// seconds that says no, unless taken is set: then yes does no harm.
func TestHostilePayloads(t *testing.T) {
	t.Parallel()
	onBothDatabases(t, hostilePayloads)
}

func hostilePayloads(t *testing.T, s *servertest.Server) {
	uid := func(v string) []byte {
		return kmiptest.RawItem(core.TagUniqueIdentifier, core.KindTextString, []byte(v))
	}
	many := make([][]byte, 20_000)
	for i := range many {
		many[i] = attribute1("x-"+strconv.Itoa(i), core.KindInteger, word(1))
	}
	for what, c := range map[string]struct {
		item  kmip.ClientItem
		taken bool
	}{
		"a Big Integer of 900 KiB":        {hostileCreate(attribute1("x-big", core.KindBigInteger, make([]byte, 900<<10))), false},
		"an attribute name of 900 KiB":    {hostileCreate(attribute1("x-"+strings.Repeat("n", 900<<10), core.KindInteger, word(1))), false},
		"a Name of 900 KiB":               {hostileCreate(named(strings.Repeat("n", 900<<10))), false},
		"20,000 attributes":               {hostileCreate(many...), false},
		"two Unique Identifiers":          {hostileItem(core.OperationGet, uid("a"), uid("b")), false},
		"an Integer as Unique Identifier": {hostileItem(core.OperationGet, kmiptest.RawItem(core.TagUniqueIdentifier, core.KindInteger, word(1))), false},
		"SQL as Unique Identifier":        {hostileItem(core.OperationGet, uid(`' OR '1'='1'; DROP TABLE objects; --`)), false},
		"JSON as Unique Identifier":       {hostileItem(core.OperationGet, uid("\"},{\"outcome\":\"allowed\"}\n{")), false},
		"NUL in a Unique Identifier":      {hostileItem(core.OperationGet, uid("a\x00b")), false},
		"900 KiB of Unique Identifier":    {hostileItem(core.OperationGet, uid(strings.Repeat("u", 900<<10))), false},
		"NUL in an attribute name":        {hostileCreate(attribute1("x-a\x00b", core.KindInteger, word(1))), false},
		"NUL in a Name":                   {hostileCreate(named("a\x00b")), false},
		"Locate of a Name with NUL":       {hostileItem(core.OperationLocate, named("a\x00b")), true},
		"Locate of an attribute with NUL": {hostileItem(core.OperationLocate, attribute1("x-a\x00b", core.KindTextString, []byte("c\x00d"))), true},
		"NUL in a wanted attribute":       {hostileItem(core.OperationGetAttributes, uid("none"), kmiptest.RawItem(core.TagAttributeName, core.KindTextString, []byte("x-\x00"))), false},
		"a Name of 60,000 bytes":          {hostileCreate(named(rand.Text() + strings.Repeat("n", 60_000) + rand.Text())), true},
		"a Name that is no UTF-8":         {hostileCreate(named("a\xff\xfe")), false},
		"an Activation Date before time":  {hostileCreate(attribute1("Activation Date", core.KindDateTime, long(math.MinInt64))), true},
		"an Activation Date after time":   {hostileCreate(attribute1("Activation Date", core.KindDateTime, long(math.MaxInt64))), true},
		"a length of -1":                  {hostileItem(core.OperationCreate, kmiptest.RawItem(core.TagObjectType, core.KindEnumeration, word(2)), kmiptest.RawItem(core.TagTemplateAttribute, core.KindStructure, attribute1("Cryptographic Algorithm", core.KindEnumeration, word(3)), attribute1("Cryptographic Length", core.KindInteger, word(math.MaxUint32)), attribute1("Cryptographic Usage Mask", core.KindInteger, word(12)))), false},
		"all bits of the usage mask":      {hostileCreate(attribute1("Cryptographic Usage Mask", core.KindInteger, word(math.MaxUint32))), false},
		"Locate of -1 items":              {hostileItem(core.OperationLocate, kmiptest.RawItem(core.TagMaximumItems, core.KindInteger, word(math.MaxUint32))), false},
		"Locate of 2^31-1 items":          {hostileItem(core.OperationLocate, kmiptest.RawItem(core.TagMaximumItems, core.KindInteger, word(math.MaxInt32)), kmiptest.RawItem(core.TagOffsetItems, core.KindInteger, word(math.MaxInt32))), true},
		"Locate from -1":                  {hostileItem(core.OperationLocate, kmiptest.RawItem(core.TagOffsetItems, core.KindInteger, word(math.MaxUint32))), false},
		"2^31-1 random bytes":             {hostileItem(core.OperationRNGRetrieve, kmiptest.RawItem(core.TagDataLength, core.KindInteger, word(math.MaxInt32))), false},
		"-1 random bytes":                 {hostileItem(core.OperationRNGRetrieve, kmiptest.RawItem(core.TagDataLength, core.KindInteger, word(math.MaxUint32))), false},
		"no payload at all":               {kmip.ClientItem{Operation: core.OperationGet, Payload: func(dst []byte, _ core.Version) ([]byte, error) { return dst, nil }}, false},
	} {
		conn := dial(t, s, "dev", core.V1_4)
		conn.Conn.SetDeadline(time.Now().Add(10 * time.Second))
		r, err := conn.Batch(c.item)
		if err != nil {
			t.Errorf("%s: no answer: %v", what, err)
			continue
		}
		i := r.Items[0]
		if (i.Status == core.StatusSuccess) != c.taken {
			t.Errorf("%s: %v, %v: %s; taken should be %v", what, i.Status, i.Reason, i.Message, c.taken)
		}
		if i.Status != core.StatusSuccess && (i.Reason == 0 || i.Message == "" || len(i.Message) > 300 || strings.ContainsAny(i.Message, "\n\x00")) {
			t.Errorf("%s is answered %v: %q; want a reason and one short sentence", what, i.Reason, i.Message)
		}
		if i.Status != core.StatusSuccess && i.Reason == core.ReasonGeneralFailure {
			t.Errorf("%s is answered as if the server were at fault: %s", what, i.Message)
		}
	}
	still(t, s)
}

// still demands that the server serves, has not panicked, and that its audit
// list is one line a record with nothing that a terminal acts on.
func still(t *testing.T, s *servertest.Server) {
	t.Helper()
	if _, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	log, _ := os.ReadFile(s.Log)
	if strings.Contains(string(log), "panic") {
		t.Errorf("something panicked:\n%s", log)
	}
	var out, js string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Second) { // what was asked before may still leave records
		var err error
		if out, err = s.Command("audit", "list", "--dir", s.Dir, "--limit", "1000"); err != nil {
			t.Errorf("audit list: %v\n%s", err, out)
		}
		if js, err = s.Command("audit", "list", "--dir", s.Dir, "--limit", "1000", "--json"); err != nil {
			t.Errorf("audit list --json: %v", err)
		}
		if sameLists(out, js) || time.Now().After(deadline) {
			break
		}
	}
	for name, text := range map[string]string{"the log": string(log), "audit list": out, "audit list --json": js} {
		if at := strings.IndexFunc(text, func(r rune) bool {
			return r != '\n' && (r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069)
		}); at >= 0 {
			t.Errorf("%s holds a character that a terminal acts on: %q", name, text[max(0, at-40):min(len(text), at+40)])
		}
	}
	if !sameLists(out, js) {
		t.Errorf("audit list has %d lines, with --json %d", strings.Count(out, "\n"), strings.Count(js, "\n"))
	}
}

// sameLists reports whether two lists of at most 1,000 records, one asked for after the
// other, have a line for each record: the second has the record of the first one too.
func sameLists(first, second string) bool {
	return min(strings.Count(first, "\n")+1, 1000) == strings.Count(second, "\n")
}

// Text that a terminal or a log reader would act on is kept and given back as
// it is, and shown to people as question marks.
func TestHostileText(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, text := range []string{"line\nallowed kmip default/admin Destroy", "\x1b[2J\x1b[31mred", "csi\u009b31m", "\u202egnp.exe", "a\u2066b", "\u2028new", strings.Repeat("\u202e", 400)} {
		c := dial(t, s, "dev", core.V1_4)
		c.Options.ClientCorrelation = text
		made, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, kmiptest.Name(text)))
		if err != nil {
			continue // refused is as good
		}
		found, err := kmiptest.Do(c, &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{kmiptest.Name(text)}})
		if err != nil || len(found.IDs) != 1 || found.IDs[0] != made.ID {
			t.Errorf("Name %q is taken and not found: %v, %v", text, found.IDs, err)
		}
		kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(text)})
		restRaw(t, s, "GET /v1/keys/"+url.PathEscape(text)+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		restRaw(t, s, "GET /v1/keys?filter=name:"+url.QueryEscape(text)+"&"+url.QueryEscape(text)+"=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: \u202e\u009b31m\r\n\r\n")
	}
	still(t, s)
}

// Lengths that lie, as a whole and inside.
func TestHostileLengths(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	good, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, hostileItem(core.OperationGet, kmiptest.RawItem(core.TagUniqueIdentifier, core.KindTextString, []byte("12345678"))))
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at+8 <= len(good); at += 8 {
		if good[at] != 0x42 {
			continue
		}
		for _, n := range []uint32{0, 1, 7, 8, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff} {
			m := bytes.Clone(good)
			if binary.BigEndian.PutUint32(m[at+4:], n); bytes.Equal(m, good) {
				continue
			}
			conn := dial(t, s, "dev", core.V1_4)
			conn.Conn.SetDeadline(time.Now().Add(5 * time.Second))
			raw, err := conn.Send(m)
			if err != nil {
				t.Errorf("length %#x at %d: %v", n, at, err)
				continue
			}
			if r, err := kmip.ParseResponse(raw); err != nil || len(r.Items) != 1 || r.Items[0].Status == core.StatusSuccess {
				t.Errorf("length %#x at %d is answered %+v, %v", n, at, r, err)
			}
			conn.Close()
		}
	}
	still(t, s)
}

// Batches that are too long, or whose items cannot be told apart.
func TestHostileBatches(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	ask := kmiptest.Item(&kmip.DiscoverVersions, &operation.DiscoverVersionsInput{})
	items := make([]kmip.ClientItem, 1000)
	for i := range items {
		items[i] = ask
		items[i].BatchID = word(uint32(i))
	}
	same := []kmip.ClientItem{ask, ask}
	same[0].BatchID, same[1].BatchID = []byte("x"), []byte("x")
	for what, batch := range map[string][]kmip.ClientItem{"1,000 items": items, "65 items": items[:65], "one id twice": same, "no items": nil} {
		r, err := dial(t, s, "dev", core.V1_4).Batch(batch...)
		if err != nil || len(r.Items) != 1 || r.Items[0].Status != core.StatusOperationFailed {
			t.Errorf("%s: %d answers, %v; want one that refuses the message", what, len(r.Items), err)
		}
	}
	for _, size := range []int32{math.MinInt32, -1, 1, 100} {
		c := dial(t, s, "dev", core.V1_4)
		c.Options.MaximumResponseSize = size
		raw, err := kmiptest.Do(c, &kmip.RNGRetrieve, &operation.RNGRetrieveInput{Length: 1000})
		if err == nil {
			t.Errorf("Maximum Response Size %d: %d bytes", size, len(raw.Data))
		}
	}
	still(t, s)
}

// restRaw sends bytes to the REST door and returns all that comes back.
func restRaw(t *testing.T, s *servertest.Server, request string) string {
	t.Helper()
	cfg := clientTLS(t, s, "dev")
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", s.HTTPS, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(c, request)
	b, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Errorf("%.60q: the connection hangs", request)
	}
	return string(b)
}

// Bodies and requests that mean harm at the REST door, and their status.
func TestHostileREST(t *testing.T) {
	t.Parallel()
	onBothDatabases(t, hostileREST)
}

func hostileREST(t *testing.T, s *servertest.Server) {
	post := func(path, body string, headers ...string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n%s", path, len(body), strings.Join(headers, ""), body)
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(make([]byte, 64<<20))
	z.Close()
	const key = `{"type":"symmetric","algorithm":"AES","usage":["encrypt"]`
	for what, c := range map[string]struct {
		request string
		status  int
	}{
		"a member twice":           {post("/v1/keys", key+`,"name":"a","name":"b"}`), 400},
		"a member in another case": {post("/v1/keys", key+`,"NAME":"a"}`), 400},
		"a huge number":            {post("/v1/keys", key+`,"length":1e400}`), 400},
		"a fraction":               {post("/v1/keys", key+`,"length":256.5}`), 400},
		"a negative length":        {post("/v1/keys", key+`,"length":-256}`), 400},
		"2^31 as length":           {post("/v1/keys", key+`,"length":2147483648}`), 400},
		"NaN":                      {post("/v1/keys", key+`,"length":NaN}`), 400},
		"deep nesting":             {post("/v1/keys", strings.Repeat(`{"usage":[`, 50_000)), 400},
		"no UTF-8":                 {post("/v1/keys", key+",\"name\":\"a\xff\"}"), 400},
		"half a surrogate":         {post("/v1/keys", key+`,"name":"\ud800"}`), 400},
		"NUL in a name":            {post("/v1/keys", key+`,"name":"a\u0000b"}`), 400},
		"something behind it":      {post("/v1/keys", key+`}{}`), 400},
		"null":                     {post("/v1/keys", `null`), 400},
		"a gzip bomb":              {post("/v1/keys", bomb.String(), "Content-Encoding: gzip\r\n"), 400},
		"another content type":     {strings.Replace(post("/v1/keys", key+"}"), "application/json", "text/plain", 1), 400},
		"a coding without effect":  {post("/v1/keys", key+"}", "Content-Encoding: gzip\r\n"), 400},
		"two codings":              {post("/v1/keys", key+"}", "Content-Encoding: identity\r\nContent-Encoding: br\r\n"), 400},
		"another charset":          {strings.Replace(post("/v1/keys", key+"}"), "application/json", "application/json; charset=utf-16", 1), 400},
		"the charset of JSON":      {strings.Replace(post("/v1/keys", key+"}"), "application/json", "application/json;charset=UTF-8", 1), 201},
		"two content types":        {post("/v1/keys", key+"}", "Content-Type: text/plain\r\n"), 400},
		"a body behind HEAD":       {"HEAD /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", 400},
		"OPTIONS of everything":    {"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400},
		"both lengths":             {post("/v1/keys", "0\r\n\r\nGET /v1/keys HTTP/1.1\r\nHost: x\r\n\r\n", "Transfer-Encoding: chunked\r\n"), 400},
		"two Content-Lengths":      {post("/v1/keys", key+"}", "Content-Length: 3\r\n"), 400},
		"an unknown coding":        {"POST /v1/keys HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\nConnection: close\r\n\r\n", 501},
		"a broken chunk":           {"POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nffffffffffffffffff\r\n", 400},
		"an id of no UTF-8":        {"GET /v1/keys/%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404},
		"a name of no UTF-8":       {"GET /v1/keys?filter=name:%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200},
		"a path out of the folder": {"GET /v1/keys/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404},
		"a header of 64 KiB":       {"GET /v1/keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		"a header in a value":      {"GET /v1/keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: a\rSet-Cookie: b\r\n\r\n", 400},
		"no Host":                  {"GET /v1/keys HTTP/1.1\r\nConnection: close\r\n\r\n", 400},
		"two Hosts":                {"GET /v1/keys HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n", 400},
		"no HTTP":                  {"\x42\x00\x78\x01\xff\xff\xff\xf8\r\n\r\n", 400},
	} {
		answer := restRaw(t, s, c.request)
		status := 0
		fmt.Sscanf(answer, "HTTP/1.1 %d", &status)
		if status != c.status {
			t.Errorf("%s: %.300q; want %d", what, answer, c.status)
		}
		if n := strings.Count(answer, "HTTP/1.1 "); n > 1 {
			t.Errorf("%s: %d answers to one request", what, n)
		}
		if strings.Contains(answer, "Set-Cookie") || strings.Contains(answer, "goroutine ") || strings.Contains(answer, ".go:") {
			t.Errorf("%s: %q", what, answer)
		}
	}
	// A client that sends its head byte by byte is cut off.
	began := time.Now()
	cfg, _ := kmiptest.Config(s.Certs, "dev")
	c, err := tls.Dial("tcp", s.HTTPS, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	go func() {
		for range 100 {
			if _, err := io.WriteString(c, "G"); err != nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	bufio.NewReader(c).ReadString('\n')
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a head sent byte by byte holds its connection %v", took)
	}
	still(t, s)
}

// turnedAway returns an error if an answer says that the client is nobody here, as
// both doors do after the handshake.
func turnedAway(answer []byte) error {
	if bytes.HasPrefix(answer, []byte("HTTP/1.1 401")) {
		return errors.New("refused after the handshake")
	}
	r, err := kmip.ParseResponse(answer)
	if err == nil && len(r.Items) == 1 && r.Items[0].Reason == core.ReasonAuthenticationNotSuccessful {
		return errors.New("refused after the handshake")
	}
	return nil
}

// issue makes a client certificate of the server's own authority around a
// public key that keyreeve would not make itself.
func issue(t *testing.T, s *servertest.Server, key *rsa.PrivateKey) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.Certs, "ca.pem"), filepath.Join(s.Certs, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(77), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{{Scheme: "keyreeve", Host: "default", Path: "/weak"}}}
	return tls.Certificate{Certificate: [][]byte{signCertificate(t, leaf, ca, &key.PublicKey, pair.PrivateKey)}, PrivateKey: key}
}

// signCertificate makes a certificate that is valid for an hour.
func signCertificate(t *testing.T, template, issuer *x509.Certificate, public, signer any) []byte {
	t.Helper()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Old and weak TLS gets nobody in, at either door.
func TestHostileTLS(t *testing.T) {
	s := servertest.Start(t)
	base, _ := kmiptest.Config(s.Certs, "dev")
	old := base.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	rc4 := base.Clone()
	rc4.MaxVersion, rc4.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}
	long := base.Clone()
	long.Certificates = []tls.Certificate{base.Certificates[0]}
	for range 800 {
		long.Certificates[0].Certificate = append(long.Certificates[0].Certificate, base.Certificates[0].Certificate[0])
	}
	os.Setenv("GODEBUG", "rsa1024min=0")
	defer os.Unsetenv("GODEBUG")
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := base.Clone()
	weak.Certificates = []tls.Certificate{issue(t, s, weakKey)}
	for what, cfg := range map[string]*tls.Config{"TLS 1.1": old, "ciphers without forward secrecy": rc4, "a chain of 800": long, "RSA of 1024 bits": weak} {
		for _, addr := range []string{s.KMIP, s.HTTPS} {
			c, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, cfg)
			if err == nil {
				c.SetDeadline(time.Now().Add(5 * time.Second))
				c.Write([]byte("GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"))
				var answer []byte
				if answer, err = io.ReadAll(c); len(answer) > 0 {
					err = turnedAway(answer)
				} else if err == nil {
					err = io.EOF // closed without an answer
				}
				c.Close()
			}
			if err == nil {
				t.Errorf("%s got in at %s", what, addr)
			}
		}
	}
	// Bytes beside TLS after the handshake end the connection, not the server.
	raw, err := net.Dial("tcp", s.KMIP)
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, base)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	raw.Write(bytes.Repeat([]byte{0x16, 3, 3, 0, 4, 1, 0, 0, 0}, 100))
	raw.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, raw); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("a connection goes on after bytes beside TLS: %v", err)
	}
	still(t, s)
}

// The admin socket is the server's own user's alone, and garbage does not end it.
func TestHostileAdmin(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	found, _ := filepath.Glob(filepath.Join(s.Dir, "*.sock"))
	if len(found) != 1 {
		t.Fatalf("sockets %v", found)
	}
	info, err := os.Stat(found[0])
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may open the socket: %v, %v", info.Mode(), err)
	}
	for _, garbage := range []string{"\x00\xff\xff\xff", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "POST /policy/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "GET /audit?limit=-9223372036854775808&before=x HTTP/1.1\r\nHost: x\r\n\r\n"} {
		c, err := net.Dial("unix", found[0])
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, garbage)
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		io.ReadAll(c)
		c.Close()
	}
	still(t, s)
}

// Silent connections of one address take no slot of the REST door from a client of
// that address that works, nor the file descriptors of both doors.
func TestManyRESTConnections(t *testing.T) {
	s := servertest.Start(t)
	const perPeer = 256 // limits.per_peer of serve --dev
	before := s.Files(t)
	for range perPeer + 44 {
		c, err := net.Dial("tcp", s.HTTPS)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if kmipd := dial(t, s, "dev", core.V1_4); aesKey(t, kmipd) == "" {
		t.Error("no key")
	}
	fewFiles(t, s, before+perPeer+20)
	cfg, _ := kmiptest.Config(s.Certs, "dev")
	for range 50 { // those that have been silent for a while make room
		if c, err := tls.DialWithDialer(&net.Dialer{Timeout: 2 * time.Second}, "tcp", s.HTTPS, cfg); err == nil {
			c.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("the door takes no connection beside silent ones")
}

// floods are what one address does to a door until stop is closed. Each returns
// after at most a second, and is then done again.
var floods = map[string]func(d *net.Dialer, addr string, with *tls.Config, stop <-chan bool){
	"handshakes without a certificate": func(d *net.Dialer, addr string, with *tls.Config, _ <-chan bool) {
		bare := with.Clone()
		bare.Certificates = nil
		if c, err := tls.DialWithDialer(d, "tcp", addr, bare); err == nil {
			c.SetDeadline(time.Now().Add(time.Second))
			c.Read(make([]byte, 1))
			c.Close()
		}
	},
	"handshakes": func(d *net.Dialer, addr string, with *tls.Config, _ <-chan bool) {
		if c, err := tls.DialWithDialer(d, "tcp", addr, with); err == nil {
			c.Close()
		}
	},
	"silence": func(d *net.Dialer, addr string, _ *tls.Config, stop <-chan bool) {
		held(d, addr, nil, func(net.Conn) {}, stop)
	},
	"a handshake byte by byte": func(d *net.Dialer, addr string, _ *tls.Config, stop <-chan bool) {
		hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}
		held(d, addr, nil, func(c net.Conn) { c.Write(hello[:1]); hello = append(hello[1:], hello[0]) }, stop)
	},
	"a message byte by byte": func(d *net.Dialer, addr string, with *tls.Config, stop <-chan bool) {
		held(d, addr, with, func(c net.Conn) { c.Write([]byte{0x42}) }, stop)
	},
}

// held opens a connection and does something on it ten times a second, until it
// is closed.
func held(d *net.Dialer, addr string, with *tls.Config, do func(net.Conn), stop <-chan bool) {
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	if with != nil {
		t := tls.Client(c, with)
		t.SetDeadline(time.Now().Add(5 * time.Second))
		if t.Handshake() != nil {
			return
		}
		t.SetDeadline(time.Time{})
		c = t
	}
	gone := make(chan bool)
	go func() { defer close(gone); c.Read(make([]byte, 1)) }()
	for {
		select {
		case <-gone:
			return
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
			do(c)
		}
	}
}

// One address floods both doors with handshakes, silence and slow senders. A
// client that works goes on working, over its connection and over new ones; one
// address gets no more connections than it may have, memory stays bounded, and
// afterwards everything is given back.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, c)
	with := clientTLS(t, s, "dev")
	hostile := with.Clone()
	from := &net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	if l, err := from.Dial("tcp", s.KMIP); err != nil {
		t.Skipf("the loopback has one address alone: %v", err)
	} else {
		l.Close()
	}
	memory, files := s.Resident(t), s.Files(t)
	stop := make(chan bool)
	var wg sync.WaitGroup
	for what, flood := range floods {
		n := 6
		if what != "handshakes" && what != "handshakes without a certificate" {
			n = 150 // of each kind, more than one address may have in all
		}
		for i := range n {
			wg.Go(func() {
				addr := []string{s.KMIP, s.HTTPS}[i%2]
				for {
					select {
					case <-stop:
						return
					default:
						flood(from, addr, hostile, stop)
						time.Sleep(20 * time.Millisecond) // refused ones come again soon
					}
				}
			})
		}
	}
	time.Sleep(500 * time.Millisecond)
	var took, fresh []time.Duration
	most, end := 0, time.Now().Add(lasting(4*time.Second))
	for time.Now().Before(end) || len(fresh) == 0 {
		began := time.Now()
		if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
			t.Fatalf("the client that works: %v", err)
		}
		took = append(took, time.Since(began))
		if len(took)%20 == 0 {
			began = time.Now()
			again, err := kmiptest.Dial(s.KMIP, with, core.V1_4)
			if err != nil {
				t.Fatalf("a new connection of the client that works: %v", err)
			}
			if _, err := kmiptest.Do(again, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
				t.Errorf("a new connection of the client that works: %v", err)
			}
			again.Close()
			fresh = append(fresh, time.Since(began))
			if ready, text := health(t, s); !ready {
				t.Errorf("health says %s", text)
			}
			most = max(most, s.Files(t))
		}
		time.Sleep(5 * time.Millisecond)
	}
	grown := s.Resident(t) - memory
	close(stop)
	wg.Wait()
	slices.Sort(took)
	slices.Sort(fresh)
	t.Logf("under the flood %d Gets, p50 %v, p99 %v; %d new connections, slowest %v; %d files at most, %d before; %d KiB of memory more", len(took), took[len(took)/2], took[len(took)*99/100],
		len(fresh), fresh[len(fresh)-1], most, files, grown)
	const perPeer = 256 // of each door
	if most > files+2*perPeer+40 {
		t.Errorf("%d files are open, %d before: one address may have %d connections of each door", most, files, perPeer)
	}
	if most < files+perPeer {
		t.Errorf("%d files were open at most: that was no flood", most)
	}
	if grown > 96<<10 {
		t.Errorf("memory has grown by %d KiB", grown)
	}
	if p99 := took[len(took)*99/100]; p99 > 2*time.Second || fresh[len(fresh)-1] > 5*time.Second {
		t.Errorf("the client that works waits %v, for a new connection %v", p99, fresh[len(fresh)-1])
	}
	for range 200 {
		if s.Files(t) <= files+8 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("20 s later %d files are open, %d before", s.Files(t), files)
}

// The bounds of all connections together hold too, whatever address they come from.
func TestConnectionBounds(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	conf := fresh(t)
	conf["limits"] = map[string]any{"connections": 30, "per_peer": 20, "waiting": 40, "waiting_per_net": 30}
	s := startInstalled(t, dir, conf)
	works := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, works)
	with := clientTLS(t, s, "dev")
	in := map[string]int{}
	for _, host := range []byte{71, 72, 73} {
		from := &net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}}
		for range 25 {
			c, err := tls.DialWithDialer(from, "tcp", s.KMIP, with)
			if err != nil {
				continue
			}
			t.Cleanup(func() { c.Close() })
			k := &kmiptest.Client{Conn: c, Version: core.V1_4}
			if _, err := kmiptest.Do(k, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}); err == nil {
				in[fmt.Sprint(host)]++
			}
		}
	}
	// An eighth is left for other tenants: 27 of 30, and one is there.
	if in["71"] != 20 || in["72"] != 6 || in["73"] != 0 {
		t.Errorf("taken are %v of 25 each; want 20, 6 and none: 20 of one address, 27 of one tenant, and one is there", in)
	}
	s.Issue("other", "elsewhere")
	other := dial(t, s, "other", core.V1_4)
	if _, err := kmiptest.Do(other, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}); err != nil {
		t.Errorf("a client of another tenant finds no slot: %v", err)
	}
	if _, err := kmiptest.Do(works, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
		t.Errorf("the client that was there first: %v", err)
	}
}

// fewFiles fails if the server still has more than most files and connections open after
// 10 s: connections that others pushed out end a moment later.
func fewFiles(t *testing.T, s *servertest.Server, most int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.Files(t) > most; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d files and connections are open; want %d at most", s.Files(t), most)
		}
	}
}

// Silent connections from many addresses take the slots of nobody: new clients get
// in at both doors, though there are more silent ones than slots before and after
// authentication together, and one that is connected goes on.
func TestSilentConnectionsFromManyAddresses(t *testing.T) {
	dir, fresh := installed(t)
	conf := fresh(t)
	conf["limits"] = map[string]any{"connections": 60, "per_peer": 20, "waiting": 100, "waiting_per_net": 40, "handshake": "30s"}
	s := startInstalled(t, dir, conf)
	works := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, works)
	get := func(c *kmiptest.Client) error {
		_, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)})
		return err
	}
	before := s.Files(t)
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			c.Close()
		}
	}()
	hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}
	for i := range 300 {
		from := &net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i%20), byte(1+i/20))}}
		for _, addr := range []string{s.KMIP, s.HTTPS} {
			c, err := from.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			c.Write(hello[:i%len(hello)])
			silent = append(silent, c)
		}
		if i%50 != 0 {
			continue
		}
		c := dial(t, s, "dev", core.V1_4)
		if err := get(c); err != nil {
			t.Errorf("a new client beside %d silent connections: %v", len(silent), err)
		}
		c.Close()
		if ready, text := health(t, s); !ready {
			t.Errorf("REST beside %d silent connections: %s", len(silent), text)
		}
	}
	if err := get(works); err != nil {
		t.Errorf("the client that was there first: %v", err)
	}
	fewFiles(t, s, before+2*100+20)
}
