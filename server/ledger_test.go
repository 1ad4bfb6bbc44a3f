package server_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// ledger remembers what a server acknowledged, and how to see that it still is
// as it said. Safe for concurrent use while there is work.
type ledger struct {
	mu    sync.Mutex
	alive map[string]*kept
	gone  []string
	doubt map[string]*kept  // a Destroy without an answer: either is right
	done  map[string]int    // "Operation id" -> times, since the records were last compared
	hit   map[string]int    // step -> times that its answer did not come
	acts  map[string]int    // step -> times that it was done
	fresh map[string]bool   // changed since the last check
	since time.Time         // of done
	no    map[string]string // step -> an answer that said no
}

// kept is one acknowledged object. proof uses it as it was used before, and
// compares the bytes.
type kept struct {
	what, id string
	proof    func(c *kmiptest.Client) error
	mu       sync.Mutex
	value    []byte // what Get gave, of class C
	sealed   doubt  // whether it was made Sensitive
}

type doubt uint8

const (
	no doubt = iota
	perhaps
	yes
)

func newLedger() *ledger {
	return &ledger{alive: map[string]*kept{}, doubt: map[string]*kept{}, done: map[string]int{}, hit: map[string]int{}, acts: map[string]int{}, fresh: map[string]bool{}, no: map[string]string{}, since: time.Now()}
}

// worker is one client at work.
type worker struct {
	*ledger
	c    *kmiptest.Client
	mine []*kept // made in this round and not destroyed
	id   string  // of the step under way
}

var (
	resident  = core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")}
	sensitive = core.Attribute{Tag: core.TagSensitive, Value: core.Bool(true)}
	locked    = core.Attribute{Tag: core.TagExtractable, Value: core.Bool(false)}
	gcmMode   = core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeGCM, RandomIV: &truth, TagLength: new(int32(16))}
	ecdsa256  = core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmECDSA, HashingAlgorithm: core.HashSHA256}
)

const usesOfAES = core.MaskEncrypt | core.MaskDecrypt

// steps are what a worker does, one after the other.
var steps = []struct {
	what string
	do   func(*worker) error
}{
	{"Create wrapped", func(w *worker) error { return w.create("wrapped") }},
	{"Create resident", func(w *worker) error { return w.create("resident", resident) }},
	{"Register data", (*worker).registerData},
	{"Destroy wrapped", func(w *worker) error { return w.destroy("wrapped") }},
	{"Create N", func(w *worker) error { return w.create("N", sensitive, locked) }},
	{"Register wrapped", func(w *worker) error { return w.registerKey("registered") }},
	{"Destroy resident", func(w *worker) error { return w.destroy("resident") }},
	{"Create Key Pair", func(w *worker) error { return w.pair("pair") }},
	{"Register resident", func(w *worker) error { return w.registerKey("registered resident", resident, locked) }},
	{"Create Key Pair resident", func(w *worker) error { return w.pair("resident pair", resident, locked) }},
	{"Re-key", func(w *worker) error { return w.rekey("registered") }},
	{"Set Sensitive", func(w *worker) error { return w.seal("registered") }},
	{"Set Sensitive", func(w *worker) error { return w.seal("wrapped") }},
	{"Destroy pair", func(w *worker) error { return w.destroy("resident pair") }},
	{"Re-key resident", func(w *worker) error { return w.rekey("registered resident") }},
	{"Destroy data", func(w *worker) error { return w.destroy("data") }},
	{"Destroy registered", func(w *worker) error { return w.destroy("registered resident") }},
}

// notDone lists the kinds of steps that no client has been told to be done.
func (l *ledger) notDone() (missing []string) {
	for _, step := range steps {
		if l.acts[step.what] == 0 {
			missing = append(missing, step.what)
		}
	}
	return missing
}

// work does the steps, from another one each time, until an answer does not come
// or says no.
func (l *ledger) work(t *testing.T, s *servertest.Server, from int) {
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Error(err)
		return
	}
	c, err := kmiptest.Dial(s.KMIP, cfg, core.V1_4)
	if err != nil {
		return
	}
	defer c.Close()
	w := &worker{ledger: l, c: c}
	for i := from; ; i++ {
		step := steps[i%len(steps)]
		err := step.do(w)
		l.mu.Lock()
		switch f := (*kmiptest.Failure)(nil); {
		case err == nil:
			l.acts[step.what]++
		case errors.As(err, &f):
			l.no[step.what] = err.Error()
		default:
			l.hit[step.what]++
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// keep enters an acknowledged object.
func (w *worker) keep(k *kept, op core.Operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive[k.id], w.fresh[k.id] = k, true
	w.done[op.String()+" "+k.id]++
	w.mine = append(w.mine, k)
}

func (w *worker) note(op core.Operation, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done[op.String()+" "+id]++
	w.fresh[id] = true
}

// pick takes one of the worker's own objects, or makes one.
func (w *worker) pick(what string) *kept {
	i := slices.IndexFunc(w.mine, func(k *kept) bool { return k.what == what })
	if i < 0 {
		return nil
	}
	return w.mine[i]
}

func (w *worker) create(what string, more ...core.Attribute) error {
	made, err := kmiptest.Do(w.c, &kmip.Create, kmiptest.AESKey(256, usesOfAES, append(more, activeNow)...))
	if err != nil {
		return err
	}
	return w.used(&kept{what: what, id: made.ID}, core.OperationCreate, len(more) == 0)
}

// encryptUnder encrypts a text under a key that must decrypt it later.
func (w *worker) encryptUnder(k *kept, plain string) error {
	text := []byte(plain)
	sealed, err := kmiptest.Do(w.c, &kmip.Encrypt, &core.EncryptInput{ID: core.ID(k.id), Parameters: &gcmMode, Data: text})
	if err != nil {
		return err
	}
	out := core.EncryptOutput{Data: bytes.Clone(sealed.Data), IV: bytes.Clone(sealed.IV), Tag: bytes.Clone(sealed.Tag)}
	w.note(core.OperationEncrypt, k.id)
	k.set(func(c *kmiptest.Client) error { return opens(c, k.id, &out, text) })
	return nil
}

// used enters a new AES key, then uses it: what is encrypted now must be
// decrypted later.
func (w *worker) used(k *kept, op core.Operation, clear bool) error {
	w.keep(k, op)
	if err := w.encryptUnder(k, "sealed with "+k.id); err != nil || !clear {
		return err
	}
	got, err := kmiptest.Do(w.c, &kmip.Get, &core.GetInput{ID: core.ID(k.id)})
	if err != nil {
		return err
	}
	w.note(core.OperationGet, k.id)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value = bytes.Clone(got.Object.KeyBlock.Material)
	return nil
}

func (k *kept) set(proof func(c *kmiptest.Client) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.proof = proof
}

// opens demands that a key decrypts what was encrypted before.
func opens(c *kmiptest.Client, id string, sealed *core.EncryptOutput, text []byte) error {
	open, err := kmiptest.Do(c, &kmip.Decrypt, &core.DecryptInput{ID: core.ID(id), Parameters: &gcmMode, Data: sealed.Data, IV: sealed.IV, Tag: sealed.Tag})
	if err == nil && !bytes.Equal(open.Data, text) {
		return fmt.Errorf("decrypts to %q, not %q", open.Data, text)
	}
	return err
}

func (w *worker) pair(what string, more ...core.Attribute) error {
	made, err := kmiptest.Do(w.c, &kmip.CreateKeyPair, &core.CreateKeyPairInput{
		Common:  core.Attributes{activeNow, {Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmECDSA)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}},
		Private: append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}}, more...),
		Public:  core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}})
	if err != nil {
		return err
	}
	k := &kept{what: what, id: made.PrivateID}
	w.keep(k, core.OperationCreateKeyPair)
	data := []byte("signed with " + k.id)
	first, err := kmiptest.Do(w.c, &kmip.Sign, &core.SignInput{ID: core.ID(k.id), Parameters: &ecdsa256, Data: data})
	if err != nil {
		return err
	}
	signature := bytes.Clone(first.Signature)
	w.note(core.OperationSign, k.id)
	k.set(func(c *kmiptest.Client) error {
		again, err := kmiptest.Do(c, &kmip.Sign, &core.SignInput{ID: core.ID(k.id), Parameters: &ecdsa256, Data: data})
		if err != nil {
			return err
		}
		for what, s := range map[string][]byte{"before": signature, "now": bytes.Clone(again.Signature)} {
			v, err := kmiptest.Do(c, &kmip.SignatureVerify, &core.SignatureVerifyInput{ID: core.ID(made.PublicID), Parameters: &ecdsa256, Data: data, Signature: s})
			if err != nil || v.Validity != core.ValidityIndicatorValid {
				return fmt.Errorf("what was signed %s is %v: %w", what, v.Validity, err)
			}
		}
		return nil
	})
	return nil
}

// registerKey brings a key that we know, so that what we encrypt with it here
// must be decrypted there.
func (w *worker) registerKey(what string, more ...core.Attribute) error {
	key := make([]byte, 32)
	crand.Read(key)
	reg, err := kmiptest.Do(w.c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey,
		Attributes: append(core.Attributes{activeNow, {Tag: core.TagCryptographicUsageMask, Value: core.Mask(usesOfAES)}}, more...),
		Object:     core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256, Material: bytes.Clone(key)}}})
	if err != nil {
		return err
	}
	k := &kept{what: what, id: reg.ID}
	block, _ := aes.NewCipher(key)
	gcm, _ := cipher.NewGCM(block)
	text, iv := []byte("sealed outside for "+k.id), make([]byte, gcm.NonceSize())
	crand.Read(iv)
	sealed := gcm.Seal(nil, iv, text, nil)
	out := core.EncryptOutput{Data: sealed[:len(text)], Tag: sealed[len(text):], IV: iv}
	k.proof = func(c *kmiptest.Client) error { return opens(c, k.id, &out, text) }
	if len(more) == 0 {
		k.value = key
	}
	w.keep(k, core.OperationRegister)
	return nil
}

func (w *worker) registerData() error {
	value := []byte(crand.Text() + crand.Text())
	reg, err := kmiptest.Do(w.c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSecretData,
		Object: core.ObjectBody{Type: core.ObjectTypeSecretData, SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeOpaque, Material: bytes.Clone(value)}}})
	if err != nil {
		return err
	}
	w.keep(&kept{what: "data", id: reg.ID, value: value}, core.OperationRegister)
	return nil
}

// rekey replaces a key, which stays as it was.
func (w *worker) rekey(what string) error {
	old := w.pick(what)
	if old == nil {
		return nil
	}
	made, err := kmiptest.Do(w.c, &kmip.ReKey, &core.RekeyInput{ID: core.ID(old.id)})
	if err != nil {
		return err
	}
	w.note(core.OperationReKey, old.id)
	k := &kept{what: "replacement", id: made.ID}
	w.mu.Lock()
	w.alive[k.id], w.fresh[k.id] = k, true
	w.mu.Unlock()
	return w.encryptUnder(k, "sealed with the replacement "+k.id)
}

// seal moves a key of class C to class X.
func (w *worker) seal(what string) error {
	k := w.pick(what)
	if k == nil {
		return nil
	}
	k.is(perhaps)
	w.mu.Lock()
	w.fresh[k.id] = true
	w.mu.Unlock()
	if _, err := kmiptest.Do(w.c, &kmip.ModifyAttribute, &core.ModifyAttributeInput{ID: core.ID(k.id), Name: sensitive.Ref(), New: sensitive}); err != nil {
		return err
	}
	k.is(yes)
	w.note(core.OperationModifyAttribute, k.id)
	k.what = "sealed " + k.what // not again
	return nil
}

func (k *kept) is(d doubt) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sealed = d
}

// destroy ends one of the worker's objects; what is active is revoked first.
func (w *worker) destroy(what string) error {
	k := w.pick(what)
	if k == nil {
		return nil
	}
	if what != "data" {
		if _, err := kmiptest.Do(w.c, &kmip.Revoke, &core.RevokeInput{ID: core.ID(k.id), Code: core.RevocationReasonCodeKeyCompromise}); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.alive, k.id) // revoked or not, it may not decrypt any more
			return err
		}
		w.note(core.OperationRevoke, k.id)
	}
	w.mine = slices.DeleteFunc(w.mine, func(o *kept) bool { return o == k })
	w.mu.Lock()
	delete(w.alive, k.id)
	w.doubt[k.id] = k
	w.mu.Unlock()
	if _, err := kmiptest.Do(w.c, &kmip.Destroy, &core.DestroyInput{ID: core.ID(k.id)}); err != nil {
		return err
	}
	w.note(core.OperationDestroy, k.id)
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.doubt, k.id)
	w.gone = append(w.gone, k.id)
	return nil
}

// older is how many of the objects that were checked before are checked again.
const older = 40

// check tries what was acknowledged since the last check, and a few of the rest,
// or all; and whether each acknowledged operation has its record.
func (l *ledger) check(t *testing.T, s *servertest.Server, when string, all bool) {
	t.Helper()
	c := dial(t, s, "dev", core.V1_4)
	defer c.Close()
	left := older
	for id, k := range l.alive {
		if !all && !l.fresh[id] {
			if left--; left < 0 {
				continue
			}
		}
		if err := k.check(c); err != nil {
			t.Fatalf("%s: %s %s was acknowledged, and %v", when, k.what, id, err)
		}
	}
	for i, id := range l.gone {
		if !all && !l.fresh[id] && rand.IntN(len(l.gone)) > older {
			continue
		}
		if _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)}); kmiptest.Reason(err) != core.ReasonItemNotFound {
			t.Fatalf("%s: %s (%d) was destroyed, and Get answers %v", when, id, i, err)
		}
	}
	for id, k := range l.doubt {
		_, err := kmiptest.Do(c, &kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(id)})
		if err != nil {
			t.Fatalf("%s: %s %s was to be destroyed: its attributes: %v", when, k.what, id, err)
		}
		if _, err = kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)}); kmiptest.Reason(err) == core.ReasonItemNotFound {
			l.gone = append(l.gone, id)
			l.fresh[id] = false
			delete(l.doubt, id)
			continue
		}
		if _, err := kmiptest.Do(c, &kmip.Destroy, &core.DestroyInput{ID: core.ID(id)}); err != nil {
			t.Fatalf("%s: %s %s is half destroyed: %v", when, k.what, id, err)
		}
		l.gone = append(l.gone, id)
		delete(l.doubt, id)
	}
	l.compareRecords(t, s, when)
	clear(l.fresh)
}

// check uses the object, and gets it or is refused it, as its class says.
func (k *kept) check(c *kmiptest.Client) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proof != nil {
		if err := k.proof(c); err != nil {
			return err
		}
	}
	got, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(k.id)})
	switch {
	case k.value == nil:
		return nil
	case kmiptest.Reason(err) == core.ReasonSensitive && k.sealed != no:
		return nil
	case err != nil:
		return err
	case k.sealed == yes:
		return errors.New("it is Sensitive, and Get gives it")
	case !bytes.Equal(got.Object.KeyBlock.Material, k.value):
		return errors.New("it has another value")
	}
	return nil
}

// compareRecords demands a record of each operation acknowledged since the last time.
func (l *ledger) compareRecords(t *testing.T, s *servertest.Server, when string) {
	t.Helper()
	recorded := map[string]int{}
	admin := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.Dir+"/admin.sock")
	}}}
	for before := int64(0); ; {
		res, err := admin.Get(fmt.Sprintf("http://admin/audit?limit=1000&outcome=allowed&since=%d&before=%d", l.since.UnixMicro(), before))
		if err != nil {
			t.Fatal(err)
		}
		var page server.AuditPage
		err = json.NewDecoder(res.Body).Decode(&page)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			recorded[e.Operation+" "+e.Object]++
		}
		if before = page.Before; before == 0 {
			break
		}
	}
	missing := []string{}
	for what, n := range l.done {
		if recorded[what] < n {
			missing = append(missing, fmt.Sprintf("%s: %d of %d", what, recorded[what], n))
		}
	}
	if len(missing) > 0 {
		t.Fatalf("%s: acknowledged without a record: %s", when, strings.Join(missing, ", "))
	}
	clear(l.done)
	l.since = time.Now()
}
