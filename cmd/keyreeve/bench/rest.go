package bench

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// restRequest is a request of the REST door that is measured.
type restRequest struct {
	name   string
	twin   string // what asks the KMIP door for the same, see itemsOf
	method string
	path   func(restKey) string
	body   func(restKey) any // nil: none
}

// restKey is a key of the REST door.
type restKey struct {
	id       string
	envelope string // by the key, of 1 KiB
}

var restRequests = []restRequest{
	{"rest-read", "get attributes", "GET", func(k restKey) string { return "/v1/keys/" + k.id }, nil},
	{"rest-encrypt", "encrypt", "POST", pathOf("/v1/encrypt"), func(k restKey) any {
		return map[string]any{"keyId": k.id, "plaintext": base64.StdEncoding.EncodeToString(make([]byte, 1024))}
	}},
	{"rest-decrypt", "decrypt", "POST", pathOf("/v1/decrypt"), func(k restKey) any {
		return map[string]any{"keyId": k.id, "ciphertext": k.envelope}
	}},
	{"rest-create", "create active", "POST", pathOf("/v1/keys"), func(restKey) any { return aesKey }},
	// KMIP has no operation for it: these two do as much in one message.
	{"rest-data-keys", "random, encrypt", "POST", pathOf("/v1/data-keys"), func(k restKey) any {
		return map[string]any{"keyId": k.id, "plaintext": true}
	}},
}

var aesKey = map[string]any{"type": "symmetric", "algorithm": "AES", "length": 256, "usage": []string{"encrypt", "decrypt"}}

func pathOf(path string) func(restKey) string { return func(restKey) string { return path } }

// restRequestNamed returns nil if there is none with that name.
func restRequestNamed(name string) *restRequest {
	if i := slices.IndexFunc(restRequests, func(r restRequest) bool { return r.name == name }); i >= 0 {
		return &restRequests[i]
	}
	return nil
}

// bytes returns the request as it is sent.
func (r *restRequest) bytes(k restKey) ([]byte, error) {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\n", r.method, r.path(k))
	if r.body == nil {
		return []byte(head + "\r\n"), nil
	}
	body, err := json.Marshal(r.body(k))
	return fmt.Appendf(nil, "%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body), err
}

// restRounds are the rounds in which a request of the REST door is compared.
const restRounds = 5

// measureREST compares requests of the REST door with the same ones of the KMIP door, and with
// bare HTTPS servers that answer the same bytes: HTTP L1 does nothing else, and HTTP L3 commits a
// record in groups before it answers.
func (b *bench) measureREST() error {
	short := *b.Command
	short.Duration = max(b.Duration/restRounds, 1)
	in := *b
	in.Command = &short
	for _, name := range b.Operation {
		r := restRequestNamed(name)
		if r == nil {
			continue
		}
		if err := in.prepareREST(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := in.compareREST(r); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.procs = in.procs
	}
	return nil
}

// prepareREST makes the key that the requests need, if there is none yet.
func (b *bench) prepareREST() error {
	if b.rest.id != "" {
		return nil
	}
	var key struct{ KeyID string }
	if err := b.askREST(restRequestNamed("rest-create"), &key); err != nil {
		return err
	}
	b.rest.id = key.KeyID
	var sealed struct{ Ciphertext string }
	if err := b.askREST(restRequestNamed("rest-encrypt"), &sealed); err != nil {
		return err
	}
	b.rest.envelope = sealed.Ciphertext
	c, err := b.dialClient(b.KMIP)
	if err != nil {
		return err
	}
	defer c.Close()
	out, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(b.key), Data: make([]byte, 1024), Parameters: &gcm})
	b.sealed = operation.EncryptOutput{Data: bytes.Clone(out.Data), IV: bytes.Clone(out.IV), Tag: bytes.Clone(out.Tag)}
	return err
}

// askREST sends one request and reads its answer.
func (b *bench) askREST(r *restRequest, answer any) error {
	raw, err := b.answerOf(r)
	if err != nil {
		return err
	}
	_, body, err := splitAnswer(raw)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

// answerOf returns the answer to one request as it came.
func (b *bench) answerOf(r *restRequest) ([]byte, error) {
	msg, err := r.bytes(b.rest)
	if err != nil {
		return nil, err
	}
	c, err := b.dialHTTP(b.HTTP)()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	answer, err := c.Send(msg)
	if err == nil {
		err = checkSuccess(answer)
	}
	return bytes.Clone(answer), err
}

// compareREST measures a request on each number of connections.
func (b *bench) compareREST(r *restRequest) error {
	msg, err := r.bytes(b.rest)
	if err != nil {
		return err
	}
	var limits []side
	connections := 0
	over := func(addr string) func() (result, error) {
		return func() (result, error) { return b.runLoop(b.dialHTTP(addr), connections, msg, checkSuccess) }
	}
	if b.Limits {
		answer, err := b.answerOf(r)
		if err != nil {
			return err
		}
		for _, l := range []struct {
			name string
			more []string
		}{{"HTTP L3", []string{"--commit", filepath.Join(b.Dir, "echo.log")}}, {"HTTP L1", nil}} {
			addr, err := b.startHTTPEcho(answer, l.more...)
			if err != nil {
				return err
			}
			defer b.stopLast()
			limits = append(limits, side{l.name, over(addr)})
		}
	}
	twin := side{"KMIP " + r.twin, func() (result, error) { return b.runOperation(r.twin, b.KMIP, connections) }}
	for _, connections = range b.Connections {
		if err := compareInRounds(restRounds, connections, side{r.name, over(b.HTTP)}, append(limits, twin)); err != nil {
			return err
		}
	}
	return nil
}

// startHTTPEcho starts a bare HTTPS server that gives the same answer to every request.
func (b *bench) startHTTPEcho(answer []byte, more ...string) (string, error) {
	file := filepath.Join(b.Dir, "echo.answer")
	if err := os.WriteFile(file, answer, 0o600); err != nil {
		return "", err
	}
	defer os.Remove(file)
	return b.startProcess(nil, append([]string{"bench-echo", "--certs", b.certs, "--answer", file}, more...)...)
}

// httpConn is a client for HTTP/1.1 that does as little as possible, because it shares the
// machine with the server.
type httpConn struct {
	net.Conn
	in     *bufio.Reader
	answer bytes.Buffer
}

func (b *bench) dialHTTP(addr string) func() (exchanger, error) {
	return func() (exchanger, error) {
		cfg, err := kmiptest.Config(b.certs, "dev")
		if err != nil {
			return nil, err
		}
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, cfg)
		if err != nil {
			return nil, err
		}
		return &httpConn{Conn: conn, in: bufio.NewReader(conn)}, nil
	}
}

// Send returns the answer with its head.
func (c *httpConn) Send(request []byte) ([]byte, error) {
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	c.answer.Reset()
	length := -1
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		c.answer.Write(line)
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if digits, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(digits)); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, fmt.Errorf("the answer has no Content-Length: %q", c.answer.Bytes())
	}
	_, err := io.CopyN(&c.answer, c.in, int64(length))
	return c.answer.Bytes(), err
}

// checkSuccess refuses an answer with another status than 2xx.
func checkSuccess(answer []byte) error {
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 2")) {
		return fmt.Errorf("the server answers %q", answer)
	}
	return nil
}

// splitAnswer reads an answer as it came.
func splitAnswer(raw []byte) (*http.Response, []byte, error) {
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer, body, err
}

// echoHTTP gives each request the answer in a file, after the request was read and commit was called.
func echoHTTP(file string, commit func() error) (http.Handler, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	answer, body, err := splitAnswer(raw)
	if err != nil {
		return nil, err
	}
	answer.Header.Del("Date") // net/http sets these two
	answer.Header.Del("Content-Length")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			err = commit()
		}
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		w.Write(body)
	}), nil
}
