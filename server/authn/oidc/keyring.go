package oidc

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keyreeve/keyreeve/certs/pemfile"
)

// Bounds of reading the keys of an issuer.
const (
	fetchPause   = 10 * time.Second // between two tries, in the background or for a token
	fetchTime    = 5 * time.Second  // of one try, both documents included
	refreshEvery = 5 * time.Minute  // in the background
	maxDocument  = 1 << 20          // bytes of one document
	maxRedirects = 3
	maxKeys      = 64
	minRSABits   = 2048
	maxRSABits   = 8192
)

// keySet holds the keys that an issuer listed at one time. It never changes.
type keySet struct {
	byID map[string][]jose.JSONWebKey
	read time.Time
}

// keyring keeps the newest keySet of an issuer. Safe for concurrent use.
type keyring struct {
	url    string
	client *http.Client
	now    func() time.Time
	report func(issuer string, err error)
	newest atomic.Pointer[keySet] // nil: never read

	mu      sync.Mutex
	tried   time.Time
	running chan struct{} // closed when the fetch that runs has ended; nil: none runs
	failed  bool          // the last fetch did
}

func newKeyring(s *Issuer, now func() time.Time, report func(string, error)) (*keyring, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	if s.CA != "" {
		roots, err := pemfile.Certificates(s.CA)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		for _, c := range roots {
			pool.AddCert(c)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &keyring{url: s.URL, now: now, report: report, client: &http.Client{Transport: transport, CheckRedirect: checkRedirect}}, nil
}

// checkRedirect refuses a redirect to another host, port or scheme.
func checkRedirect(next *http.Request, before []*http.Request) error {
	if len(before) > maxRedirects {
		return errors.New("there are too many redirects")
	}
	if first := before[0].URL; next.URL.Host != first.Host || next.URL.Scheme != first.Scheme {
		return errors.New("a redirect to another host is not followed")
	}
	return nil
}

// Watch reads the keys again and again until ctx ends.
func (k *keyring) Watch(ctx context.Context) {
	for ctx.Err() == nil {
		k.refresh(ctx)
		pause := refreshEvery
		if k.hasFailed() {
			pause = 2 * fetchPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (k *keyring) hasFailed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// refresh reads the keys, unless a try began less than fetchPause ago. If one runs, it waits
// for that one. It waits at most until ctx ends; the try goes on for all who wait.
func (k *keyring) refresh(ctx context.Context) {
	k.mu.Lock()
	if k.running == nil {
		if now := k.now(); now.Sub(k.tried) >= fetchPause {
			k.tried, k.running = now, make(chan struct{})
			go k.fetchKeys(k.running)
		}
	}
	running := k.running
	k.mu.Unlock()
	if running == nil {
		return
	}
	select {
	case <-running:
	case <-ctx.Done():
	}
}

// fetchKeys reads the keys once, then closes ended. A failure leaves the keys as they are.
func (k *keyring) fetchKeys(ended chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	keys, err := k.readKeys(ctx)
	if err == nil {
		k.newest.Store(&keySet{keys, k.now()})
	}
	k.mu.Lock()
	tell := err != nil || k.failed
	k.failed, k.running = err != nil, nil
	k.mu.Unlock()
	if tell {
		k.report(k.url, err)
	}
	close(ended)
}

// readKeys reads the issuer's configuration (OpenID Connect Discovery 1.0 §4) and the keys
// that it points to (RFC 7517 §5).
func (k *keyring) readKeys(ctx context.Context) (map[string][]jose.JSONWebKey, error) {
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := k.readJSON(ctx, strings.TrimSuffix(k.url, "/")+"/.well-known/openid-configuration", &discovery); err != nil {
		return nil, err
	}
	if discovery.Issuer != k.url {
		return nil, errors.New("its configuration names another issuer")
	}
	if _, err := secureURL(discovery.Keys, strings.HasPrefix(k.url, "http:")); err != nil {
		return nil, fmt.Errorf("its jwks_uri cannot be used: %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := k.readJSON(ctx, discovery.Keys, &set); err != nil {
		return nil, err
	}
	return signatureKeys(set.Keys)
}

func (k *keyring) readJSON(ctx context.Context, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	answer, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", url, answer.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxDocument+1))
	if err != nil {
		return err
	}
	if len(text) > maxDocument {
		return fmt.Errorf("%s has more than %d bytes", url, maxDocument)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s is not the JSON that it should be", url)
	}
	return nil
}

// signatureKeys returns the public keys that verify signatures, by their key ID. It leaves out
// keys for another use, of an unknown kind, without an ID, or too weak.
func signatureKeys(all []json.RawMessage) (map[string][]jose.JSONWebKey, error) {
	byID, n := map[string][]jose.JSONWebKey{}, 0
	for _, text := range all {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(text) != nil || !verifiesSignatures(&key) {
			continue
		}
		if n++; n > maxKeys {
			return nil, fmt.Errorf("it lists more than %d keys", maxKeys)
		}
		byID[key.KeyID] = append(byID[key.KeyID], key)
	}
	if n == 0 {
		return nil, errors.New("it lists no public key for signatures that has a kid")
	}
	return byID, nil
}

func verifiesSignatures(k *jose.JSONWebKey) bool {
	if !k.Valid() || !k.IsPublic() || k.KeyID == "" || (k.Use != "" && k.Use != "sig") {
		return false
	}
	weak, isRSA := k.Key.(*rsa.PublicKey)
	return !isRSA || weak.N.BitLen() >= minRSABits && weak.N.BitLen() <= maxRSABits
}

// keysNamed returns the keys with an ID, and the set that they are of. It reads the keys again
// if the set is too old or lacks the ID. A set that is too old is never used.
func (k *keyring) keysNamed(ctx context.Context, id string, keysFor time.Duration) ([]jose.JSONWebKey, *keySet, error) {
	set := k.newest.Load()
	if !k.isFresh(set, keysFor) || len(set.byID[id]) == 0 {
		k.refresh(ctx)
		set = k.newest.Load()
	}
	if !k.isFresh(set, keysFor) {
		return nil, nil, errNoKeys
	}
	if len(set.byID[id]) == 0 {
		return nil, nil, errKey
	}
	return set.byID[id], set, nil
}

func (k *keyring) isFresh(set *keySet, keysFor time.Duration) bool {
	return set != nil && k.now().Sub(set.read) < keysFor
}
