package server_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	crand "crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/mattn/go-sqlite3"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// The server is killed in the middle of Create, Create Key Pair, Register,
// Re-key, a change of class and Destroy, of keys in the database and in the
// token, under load. Whatever it had acknowledged is there, works with the bytes
// of before and has its record; what was destroyed is gone; nothing is half
// made, and the token holds what the database names and nothing else.
// KEYREEVE_SOAK lengthens it.

func TestKilledUnderLoadSQLite(t *testing.T) {
	t.Parallel()
	killUnderLoad(t, "")
}

func TestKilledUnderLoadPostgres(t *testing.T) {
	t.Parallel()
	killUnderLoad(t, storetest.Postgres(t))
}

// kills is how often the server is killed in a plain test run, and on a busy machine
// up to mostKills times, until every kind of step has been done once. The soak goes
// on for its time, 50 times at least.
const (
	kills     = 5
	mostKills = 50
	soakKills = 50
)

// soaking is the time that the soak is given; 0 in a plain test run.
func soaking() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("KEYREEVE_SOAK"))
	return d
}

// lasting is how long a fault is kept up that a plain run tries for plain.
func lasting(plain time.Duration) time.Duration { return max(plain, soaking()/10) }

func killUnderLoad(t *testing.T, postgres string) {
	s := startOn(t, postgres)
	l := newLedger()
	began, round := time.Now(), 0
	for ; round < kills || (round < mostKills && len(l.notDone()) > 0) || (soaking() > 0 && (round < soakKills || time.Since(began) < soaking()/2)); round++ {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() { l.work(t, s, rand.IntN(len(steps))+w) })
		}
		time.Sleep(time.Duration(20+rand.IntN(250)) * time.Millisecond)
		s.Kill()
		wg.Wait()
		s.Run()
		l.check(t, s, fmt.Sprintf("round %d", round), false)
	}
	l.check(t, s, "in the end", true)
	t.Logf("%d kills in %v; %d objects are there, %d are destroyed, all as acknowledged", round, time.Since(began).Round(time.Second), len(l.alive), len(l.gone))
	t.Logf("done: %s", listed(l.acts))
	t.Logf("under way when it was killed: %s", listed(l.hit))
	for _, what := range l.notDone() {
		t.Errorf("%s was never done, so nothing was tried", what)
	}
	for _, op := range []string{"Create", "Register", "Re-key", "Destroy"} {
		if soaking() > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(l.hit)), func(what string) bool { return strings.HasPrefix(what, op) }) {
			t.Errorf("no kill came in the middle of %s", op)
		}
	}
	for what, answer := range l.no {
		t.Errorf("%s was refused: %s", what, answer)
	}
	tokenAgrees(t, s, postgres)
	noGaps(t, s, postgres)
}

// openDatabase opens the database of a server that has ended: the file, unless
// postgres has a URL.
func openDatabase(t *testing.T, file, postgres string) *sql.DB {
	t.Helper()
	driver, source := "sqlite3", file
	if postgres != "" {
		driver, source = "pgx", postgres
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// noGaps demands that no record of a server that has ended is missing. Several of
// its writers may have counted.
func noGaps(t *testing.T, s *servertest.Server, postgres string) {
	t.Helper()
	db := openDatabase(t, filepath.Join(s.Dir, "keyreeve.db"), postgres)
	var records, gaps int
	if err := db.QueryRow("SELECT count(*) FROM audit_entry WHERE node = 'dev'").Scan(&records); err != nil {
		t.Fatal(err)
	}
	// The question of docs/OPERATE.md.
	if err := db.QueryRow("SELECT count(*) FROM (SELECT node, writer, count(*), max(count) FROM audit_entry GROUP BY node, writer HAVING count(*) <> max(count)) AS g").Scan(&gaps); err != nil {
		t.Fatal(err)
	}
	if records == 0 || gaps > 0 {
		t.Errorf("of %d records some are missing, by %d writers", records, gaps)
	}
}

// startOn starts a server on PostgreSQL, or with "" on SQLite.
func startOn(t *testing.T, postgres string, env ...string) *servertest.Server {
	t.Helper()
	if postgres != "" {
		env = append(env, "KEYREEVE_DEV_STORE="+postgres)
	}
	return servertest.Start(t, env...)
}

func listed(m map[string]int) string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(m)) {
		all = append(all, fmt.Sprintf("%s %d", what, m[what]))
	}
	return strings.Join(all, ", ")
}

// ourToken is held by who has a token in this process: SoftHSM2 knows one
// configuration a process.
var ourToken sync.Mutex

// tokenAgrees has the reconciler run, then demands that the token holds what the
// database names, and beyond that only what an open intent explains. On SQLite,
// where nobody else can be at work, the command then purges exactly that. It
// leaves the server ended.
// database is the URL of a PostgreSQL or of an SQLite file elsewhere; "": the server's own.
func tokenAgrees(t *testing.T, s *servertest.Server, database string) {
	t.Helper()
	file, elsewhere := strings.CutPrefix(database, "sqlite:")
	postgres := database
	if elsewhere || database == "" {
		postgres = ""
	}
	if !elsewhere {
		file = filepath.Join(s.Dir, "keyreeve.db")
	}
	s.Kill()
	s.Run()
	if postgres == "" {
		if out, err := s.Command("hsm", "orphans", "purge", "--dir", s.Dir, "--all", "--yes"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	s.Kill()
	db := openDatabase(t, file, postgres)
	named, explained := tokens(t, db, "SELECT token FROM object WHERE token IS NOT NULL"), tokens(t, db, "SELECT token FROM intent")
	if postgres == "" && len(explained) > 0 {
		t.Errorf("%d intents are open after the purge", len(explained))
	}
	have := tokenObjects(t, s, db)
	orphans := 0
	for _, o := range have {
		if !named[string(o.CKAID)] && !explained[string(o.CKAID)] {
			orphans++
		}
		delete(named, string(o.CKAID))
	}
	if orphans > 0 || len(named) > 0 {
		t.Errorf("of %d objects in the token %d are named by no row and no intent, and %d that rows name are not there", len(have), orphans, len(named))
	}
	if log, _ := os.ReadFile(s.Log); strings.Contains(string(log), "panic") {
		t.Errorf("the log says:\n%s", log)
	}
}

// tokens reads a column of CKA_IDs.
func tokens(t *testing.T, db *sql.DB, query string) map[string]bool {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[string]bool{}
	for rows.Next() {
		var token []byte
		if err := rows.Scan(&token); err != nil {
			t.Fatal(err)
		}
		out[string(token)] = true
	}
	return out
}

// tokenObjects lists the resident objects in the token of a server that has ended.
func tokenObjects(t *testing.T, s *servertest.Server, db *sql.DB) []core.TokenObject {
	t.Helper()
	ourToken.Lock()
	defer ourToken.Unlock()
	cfg, err := member.DevToken(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	module, err := member.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	token, err := custody.Open(context.Background(), module, custody.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close(context.Background())
	var id string
	if err := db.QueryRow("SELECT id FROM installation").Scan(&id); err != nil {
		t.Fatal(err)
	}
	if err := token.OpenInstallation(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	have, err := token.Objects(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return have
}

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
	activeNow = core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)}
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
	{"Derive Key", func(w *worker) error { return w.derive("derived") }},
	{"Derive Key resident", func(w *worker) error { return w.derive("derived resident", resident, sensitive, locked) }},
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
	sealed, err := kmiptest.Do(w.c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(k.id), Parameters: &gcmMode, Data: text})
	if err != nil {
		return err
	}
	out := operation.EncryptOutput{Data: bytes.Clone(sealed.Data), IV: bytes.Clone(sealed.IV), Tag: bytes.Clone(sealed.Tag)}
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
	got, err := kmiptest.Do(w.c, &kmip.Get, &operation.GetInput{ID: core.ID(k.id)})
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
func opens(c *kmiptest.Client, id string, sealed *operation.EncryptOutput, text []byte) error {
	open, err := kmiptest.Do(c, &kmip.Decrypt, &operation.DecryptInput{ID: core.ID(id), Parameters: &gcmMode, Data: sealed.Data, IV: sealed.IV, Tag: sealed.Tag})
	if err == nil && !bytes.Equal(open.Data, text) {
		return fmt.Errorf("decrypts to %q, not %q", open.Data, text)
	}
	return err
}

func (w *worker) pair(what string, more ...core.Attribute) error {
	made, err := kmiptest.Do(w.c, &kmip.CreateKeyPair, &operation.CreateKeyPairInput{
		Common:  core.Attributes{activeNow, {Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmECDSA)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}},
		Private: append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}}, more...),
		Public:  core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}})
	if err != nil {
		return err
	}
	k := &kept{what: what, id: made.PrivateID}
	w.keep(k, core.OperationCreateKeyPair)
	data := []byte("signed with " + k.id)
	first, err := kmiptest.Do(w.c, &kmip.Sign, &operation.SignInput{ID: core.ID(k.id), Parameters: &ecdsa256, Data: data})
	if err != nil {
		return err
	}
	signature := bytes.Clone(first.Signature)
	w.note(core.OperationSign, k.id)
	k.set(func(c *kmiptest.Client) error {
		again, err := kmiptest.Do(c, &kmip.Sign, &operation.SignInput{ID: core.ID(k.id), Parameters: &ecdsa256, Data: data})
		if err != nil {
			return err
		}
		for what, s := range map[string][]byte{"before": signature, "now": bytes.Clone(again.Signature)} {
			v, err := kmiptest.Do(c, &kmip.SignatureVerify, &operation.SignatureVerifyInput{ID: core.ID(made.PublicID), Parameters: &ecdsa256, Data: data, Signature: s})
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
	reg, err := kmiptest.Do(w.c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey,
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
	out := operation.EncryptOutput{Data: sealed[:len(text)], Tag: sealed[len(text):], IV: iv}
	k.proof = func(c *kmiptest.Client) error { return opens(c, k.id, &out, text) }
	if len(more) == 0 {
		k.value = key
	}
	w.keep(k, core.OperationRegister)
	return nil
}

func (w *worker) registerData() error {
	value := []byte(crand.Text() + crand.Text())
	reg, err := kmiptest.Do(w.c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData,
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
	made, err := kmiptest.Do(w.c, &kmip.ReKey, &operation.RekeyInput{ID: core.ID(old.id)})
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

// derive derives a key from a new one.
func (w *worker) derive(what string, more ...core.Attribute) error {
	base, err := kmiptest.Do(w.c, &kmip.Create, kmiptest.AESKey(256, core.MaskDeriveKey, activeNow, sensitive, locked))
	if err != nil {
		return err
	}
	w.note(core.OperationCreate, base.ID)
	in := deriveFrom(core.ID(base.ID))
	in.Attributes = append(in.Attributes, more...)
	made, err := kmiptest.Do(w.c, &kmip.DeriveKey, in)
	if err != nil {
		return err
	}
	w.note(core.OperationDeriveKey, base.ID)
	k := &kept{what: what, id: made.ID}
	w.mu.Lock()
	w.alive[k.id], w.fresh[k.id] = k, true
	w.mu.Unlock()
	return w.encryptUnder(k, "sealed with the derived key "+k.id)
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
	if _, err := kmiptest.Do(w.c, &kmip.ModifyAttribute, &operation.ModifyAttributeInput{ID: core.ID(k.id), Name: sensitive.Ref(), New: sensitive}); err != nil {
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
		if _, err := kmiptest.Do(w.c, &kmip.Revoke, &operation.RevokeInput{ID: core.ID(k.id), Code: core.RevocationReasonCodeKeyCompromise}); err != nil {
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
	if _, err := kmiptest.Do(w.c, &kmip.Destroy, &operation.DestroyInput{ID: core.ID(k.id)}); err != nil {
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
		if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); kmiptest.Reason(err) != core.ReasonItemNotFound {
			t.Fatalf("%s: %s (%d) was destroyed, and Get answers %v", when, id, i, err)
		}
	}
	for id, k := range l.doubt {
		_, err := kmiptest.Do(c, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id)})
		if err != nil {
			t.Fatalf("%s: %s %s was to be destroyed: its attributes: %v", when, k.what, id, err)
		}
		if _, err = kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); kmiptest.Reason(err) == core.ReasonItemNotFound {
			l.gone = append(l.gone, id)
			l.fresh[id] = false
			delete(l.doubt, id)
			continue
		}
		if _, err := kmiptest.Do(c, &kmip.Destroy, &operation.DestroyInput{ID: core.ID(id)}); err != nil {
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
	got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(k.id)})
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

// A backup taken as docs/OPERATE.md says, of a server that goes on making keys
// of all classes, restores to a server with every key that was acknowledged
// before it began.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 3 {
		c := dial(t, s, "dev", core.V1_4)
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt|core.MaskDecrypt, classes(w, i)...))
			}
		})
	}
	sealed := map[string]operation.EncryptOutput{}
	c := dial(t, s, "dev", core.V1_4)
	for i := range 24 {
		id := aesKey(t, c, append(classes(i, i/3), activeNow)...)
		sealed[id] = encrypted(t, c, id)
	}

	restored := filepath.Join(t.TempDir(), "restored")
	if err := os.MkdirAll(restored, 0o700); err != nil {
		t.Fatal(err)
	}
	db := openDatabase(t, "file:"+filepath.Join(s.Dir, "keyreeve.db")+"?_busy_timeout=5000", "")
	if _, err := db.Exec("VACUUM INTO ?", filepath.Join(restored, "keyreeve.db")); err != nil {
		t.Fatal(err)
	}
	db.Close()
	for _, part := range []string{"tokens", "certs"} {
		if err := os.CopyFS(filepath.Join(restored, part), os.DirFS(filepath.Join(s.Dir, part))); err != nil {
			t.Fatal(err)
		}
	}
	private, err := filepath.Glob(filepath.Join(restored, "certs", "*-key.pem"))
	if err != nil || len(private) == 0 {
		t.Fatalf("%d private keys were copied, %v", len(private), err)
	}
	for _, key := range private {
		if err := os.Chmod(key, 0o600); err != nil { // CopyFS keeps no modes
			t.Fatal(err)
		}
	}
	pin, err := os.ReadFile(filepath.Join(s.Dir, "pin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(restored, "pin"), pin, 0o600); err != nil {
		t.Fatal(err)
	}
	stop.Store(true)
	wg.Wait()
	s.Kill()

	s.Move(restored)
	s.Run()
	c = dial(t, s, "dev", core.V1_4)
	for id, e := range sealed {
		out, err := kmiptest.Do(c, &kmip.Decrypt, &operation.DecryptInput{ID: core.ID(id), Data: e.Data, IV: e.IV, Tag: e.Tag,
			Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}})
		if err != nil || string(out.Data) != "kept "+id {
			t.Errorf("after the restore key %s decrypts to %q, %v", id, out.Data, err)
		}
	}
	aesKey(t, c)
}

// classes are attributes that choose class and custody in turn.
func classes(class, custody int) []core.Attribute {
	as := []core.Attribute{{Tag: core.TagSensitive, Value: core.Bool(class%3 > 0)}, {Tag: core.TagExtractable, Value: core.Bool(class%3 < 2)}}
	if custody%4 == 0 && class%3 > 0 {
		as = append(as, resident)
	}
	return as
}

func encrypted(t *testing.T, c *kmiptest.Client, id string) operation.EncryptOutput {
	t.Helper()
	out, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(id), Data: fmt.Appendf(nil, "kept %s", id),
		Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}})
	if err != nil {
		t.Fatal(err)
	}
	return operation.EncryptOutput{Data: append([]byte{}, out.Data...), IV: append([]byte{}, out.IV...), Tag: append([]byte{}, out.Tag...)}
}
