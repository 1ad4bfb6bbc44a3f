package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// restCipher is the body and the answer of POST /v1/encrypt and /v1/decrypt.
type restCipher struct {
	KeyID      string `json:"key_id"`
	Mode       string `json:"mode"`
	Plaintext  []byte `json:"plaintext,omitempty"`
	Ciphertext []byte `json:"ciphertext,omitempty"`
	IV         []byte `json:"iv,omitempty"`
	Tag        []byte `json:"tag,omitempty"`
	AAD        []byte `json:"aad,omitempty"`
}

// restClient keeps its connection.
func restClient(t *testing.T, s *servertest.Server) *http.Client {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, Timeout: 30 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// throughREST returns the answer, or the sentence of a refusal.
func throughREST(t *testing.T, c *http.Client, url string, in restCipher) (out restCipher, refusal string) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		err = json.Unmarshal(b, &out)
	} else {
		var p struct{ Detail string }
		err = json.Unmarshal(b, &p)
		refusal = p.Detail
	}
	if err != nil || (res.StatusCode != http.StatusOK && refusal == "") {
		t.Fatalf("%d %s: %v", res.StatusCode, b, err)
	}
	return out, refusal
}

// said is the sentence of a refusal through KMIP.
func said(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	f, ok := errors.AsType[*kmiptest.Failure](err)
	if !ok || f.Message == "" {
		t.Fatalf("an error without a sentence: %v", err)
	}
	return f.Message
}

// Both doors answer alike, for each class of key, mode, length of data, IV, Tag and
// Additional Data: what one encrypts the other decrypts, and what one refuses the other
// refuses in the same sentence.
func TestDoorsAnswerAlike(t *testing.T) {
	s := servertest.Start(t)
	c, rest := dial(t, s, "dev", core.V1_4), restClient(t, s)
	modes := map[string]core.CryptographicParameters{"GCM": {BlockCipherMode: core.BlockCipherModeGCM}, "CTR": {BlockCipherMode: core.BlockCipherModeCTR},
		"CBC": {BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5}}
	for name, m := range map[string]core.Attributes{"C": {}, "X": {sensitive}, "N": {sensitive, locked}, "N, resident": {sensitive, locked, resident}} {
		id := aesKey(t, c, append(m, activeNow)...)
		for mode, p := range modes {
			for _, n := range []int{1, 33} {
				for _, aad := range [][]byte{nil, []byte("bound")} {
					what := fmt.Sprintf("class %s, %s, %d bytes, aad %q", name, mode, n, aad)
					doorsAgree(t, c, rest, s, what, p, restCipher{KeyID: id, Mode: mode, Plaintext: bytes.Repeat([]byte{7}, n), AAD: aad})
				}
			}
		}
	}
}

// doorsAgree compares for one key, mode, length and Additional Data.
func doorsAgree(t *testing.T, c *kmiptest.Client, rest *http.Client, s *servertest.Server, what string, p core.CryptographicParameters, in restCipher) {
	t.Helper()
	sealed, refusal := throughREST(t, rest, "https://"+s.HTTPS+"/v1/encrypt", in)
	e, err := kmiptest.Do(c, &kmip.Encrypt, &core.EncryptInput{ID: core.ID(in.KeyID), Parameters: &p, Data: in.Plaintext, AAD: in.AAD})
	mine := core.EncryptOutput{Data: bytes.Clone(e.Data), IV: bytes.Clone(e.IV), Tag: bytes.Clone(e.Tag)}
	if other := said(t, err); other != refusal {
		t.Errorf("Encrypt with %s: %q through KMIP, %q through REST", what, other, refusal)
		return
	}
	if len(mine.Data) != len(sealed.Ciphertext) || len(mine.IV) != len(sealed.IV) || len(mine.Tag) != len(sealed.Tag) {
		t.Errorf("Encrypt with %s: the lengths are %d, %d, %d through KMIP and %d, %d, %d through REST", what, len(mine.Data), len(mine.IV), len(mine.Tag), len(sealed.Ciphertext), len(sealed.IV), len(sealed.Tag))
	}
	if refusal != "" { // decryption is tried all the same
		mine.Data, sealed.Ciphertext = make([]byte, 16), make([]byte, 32)
	}
	for _, one := range []core.EncryptOutput{mine, {Data: sealed.Ciphertext, IV: sealed.IV, Tag: sealed.Tag}} {
		for _, iv := range [][]byte{one.IV, nil, []byte("8 bytes "), bytes.Repeat([]byte{9}, 12), bytes.Repeat([]byte{9}, 16), bytes.Repeat([]byte{9}, 80)} {
			for _, tag := range [][]byte{one.Tag, nil, []byte("4444"), bytes.Repeat([]byte{9}, 12), bytes.Repeat([]byte{9}, 16), bytes.Repeat([]byte{9}, 17)} {
				for _, data := range [][]byte{one.Data, append(bytes.Clone(one.Data), 1)} {
					try := restCipher{KeyID: in.KeyID, Mode: in.Mode, Ciphertext: data, IV: iv, Tag: tag, AAD: in.AAD}
					back, refusal := throughREST(t, rest, "https://"+s.HTTPS+"/v1/decrypt", try)
					d, err := kmiptest.Do(c, &kmip.Decrypt, &core.DecryptInput{ID: core.ID(in.KeyID), Parameters: &p, Data: data, IV: iv, Tag: tag, AAD: in.AAD})
					if other := said(t, err); other != refusal || !bytes.Equal(d.Data, back.Plaintext) {
						t.Errorf("Decrypt with %s, IV of %d, tag of %d: %x %q through KMIP, %x %q through REST", what, len(iv), len(tag), d.Data, other, back.Plaintext, refusal)
					}
					if whole := len(data) == len(one.Data) && bytes.Equal(iv, one.IV) && bytes.Equal(tag, one.Tag); whole && !bytes.Equal(back.Plaintext, in.Plaintext) && refusal == "" {
						t.Errorf("Decrypt with %s: %x comes back", what, back.Plaintext)
					}
				}
			}
		}
	}
}
