package server_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// harm is what a proxy does to the connections through it.
type harm int

const (
	pass   harm = iota
	hold        // take everything and hand on nothing
	refuse      // close what is there and what comes
)

// proxy stands between a server and its database.
type proxy struct {
	URL    string
	target string

	mu    sync.Mutex
	ease  sync.Cond // told when harm changes
	harm  harm
	conns map[net.Conn]bool
	want  []byte // the request with this in it,
	nth   int    // when it comes so often, loses
	reach bool   // its answer; false: itself does not get through
	lost  int
}

func proxied(t *testing.T, database string) *proxy {
	t.Helper()
	p := &proxy{target: storetest.Address(t, database), conns: map[net.Conn]bool{}}
	p.ease.L = &p.mu
	p.URL = storetest.Redirect(t, database, p.serve)
	t.Cleanup(func() { p.set(refuse) })
	return p
}

func (p *proxy) serve(client net.Conn) {
	database, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[database] = true, true
	gone := p.harm == refuse
	p.mu.Unlock()
	end := sync.OnceFunc(func() {
		client.Close()
		database.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, client)
		delete(p.conns, database)
	})
	defer end()
	if gone {
		return
	}
	var dropping bool // under mu
	go p.pump(client, database, end, func(b []byte) bool {
		if p.want == nil || !bytes.Contains(b, p.want) {
			return true
		}
		if p.nth--; p.nth > 0 {
			return true
		}
		p.want = nil
		p.lost++
		dropping = p.reach
		return p.reach
	})
	p.pump(database, client, end, func([]byte) bool { return !dropping })
}

// pump hands bytes on while let allows it, which is asked under mu.
func (p *proxy) pump(from, to net.Conn, end func(), let func([]byte) bool) {
	defer end()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		for p.harm == hold {
			p.ease.Wait()
		}
		ok := let(b[:n])
		p.mu.Unlock()
		if !ok {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) set(h harm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.harm = h
	if h == refuse {
		for c := range p.conns {
			c.Close()
		}
	}
	p.ease.Broadcast()
}

// lose makes the nth request from now on with want in it lose its answer, or itself.
func (p *proxy) lose(want string, nth int, reach bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want, p.nth, p.reach, p.lost = []byte(want), nth, reach, 0
}

func (p *proxy) losses() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// The connection breaks between COMMIT and its answer, and just before COMMIT.
// Either way the client hears that nobody knows; what is stored is whole and has
// its record, what is not stored has neither; and afterwards token and database
// agree.
func TestCommitOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	pg := storetest.StartPostgres(t)
	between := proxied(t, pg.URL)
	s := servertest.Start(t, "KEYREEVE_DEV_STORE="+between.URL)
	p := admitted(t, s)
	const commit = "COMMIT\x00"
	for _, reach := range []bool{true, false} {
		for what, more := range map[string][]core.Attribute{"wrapped": nil, "resident": {resident, locked}} {
			c := dial(t, s, "dev", core.V1_4)
			name := fmt.Sprintf("%s %v", what, reach)
			between.lose(commit, map[bool]int{false: 1, true: 2}[more != nil], reach) // the intent of a token object is the first
			_, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, usesOfAES, append(more, activeNow, kmiptest.Name(name))...))
			if between.losses() != 1 {
				t.Fatalf("Create %s: nothing was lost: %v", name, err)
			}
			if kmiptest.Reason(err) != core.ReasonGeneralFailure || !strings.Contains(err.Error(), "not known") {
				t.Errorf("Create %s: %v; nobody knows whether it is stored, and it must say so", name, err)
			}
			well(t, s, p)
			found, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{kmiptest.Name(name)}})
			if err != nil || len(found.IDs) != map[bool]int{true: 1}[reach] {
				t.Errorf("Create %s: stored are %v, %v", name, found.IDs, err)
				continue
			}
			for _, id := range found.IDs {
				w := &worker{ledger: newLedger(), c: dial(t, s, "dev", core.V1_4)}
				if err := w.used(&kept{id: id}, core.OperationCreate, more == nil); err != nil {
					t.Errorf("Create %s: what is stored does not work: %v", name, err)
				}
				w.since = time.Now().Add(-time.Minute)
				w.check(t, s, "Create "+name, true)
			}
		}
		id := aesKey(t, dial(t, s, "dev", core.V1_4))
		between.lose(commit, 1, reach)
		if _, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Destroy, &operation.DestroyInput{ID: core.ID(id)}); kmiptest.Reason(err) != core.ReasonGeneralFailure || !strings.Contains(err.Error(), "not known") {
			t.Errorf("Destroy, %v: %v", reach, err)
		}
		well(t, s, p)
		_, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Get, &operation.GetInput{ID: core.ID(id)})
		if gone := kmiptest.Reason(err) == core.ReasonItemNotFound; gone != reach || (err != nil) != reach {
			t.Errorf("Destroy, %v: Get answers %v", reach, err)
		}
		between.lose("\"operation\":\"Get\"", 1, reach)
		if out, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Get, &operation.GetInput{ID: core.ID(p.copied)}); kmiptest.Reason(err) != core.ReasonGeneralFailure || between.losses() != 1 {
			t.Errorf("Get whose record may be lost gives %d bytes, %v", len(out.Object.KeyBlock.Material), err)
		}
		well(t, s, p)
	}
	between.set(pass)
	tokenAgrees(t, s, pg.URL)
}

// Connections are ended by the database, over and over, under load.
func TestBackendsTerminated(t *testing.T) {
	t.Parallel()
	pg := storetest.StartPostgres(t)
	s := servertest.Start(t, "KEYREEVE_DEV_STORE="+pg.URL)
	db := openDatabase(t, "", pg.URL)
	ended := 0
	l := underLoad(t, s, pg.URL, func(p patients) {
		for end := time.Now().Add(lasting(time.Second)); time.Now().Before(end); {
			var n int
			if err := db.QueryRow("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'keyreeve' AND backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&n); err != nil {
				t.Fatal(err)
			}
			ended += n
			time.Sleep(50 * time.Millisecond)
		}
		well(t, s, p)
	})
	t.Logf("%d connections ended; done: %s; refused: %v", ended, listed(l.acts), l.no)
	for what, answer := range l.no {
		if !strings.Contains(answer, core.ReasonGeneralFailure.String()) {
			t.Errorf("%s: %s", what, answer)
		}
	}
	if ended == 0 {
		t.Error("no connection was ended, so nothing was tried")
	}
}

// A database that stands still: operations end in time with a sentence, and when
// it goes on so do they.
func TestDatabaseStandsStill(t *testing.T) {
	t.Parallel()
	pg := storetest.StartPostgres(t)
	s := servertest.Start(t, "KEYREEVE_DEV_STORE="+pg.URL)
	underLoad(t, s, pg.URL, func(p patients) {
		pg.Pause()
		began := time.Now()
		var wg sync.WaitGroup
		for what, op := range treatments(nil, p) {
			_ = op
			wg.Go(func() {
				err := treatments(dial(t, s, "dev", core.V1_4), p)[what]()
				if kmiptest.Reason(err) != core.ReasonGeneralFailure || !strings.Contains(err.Error(), "database") {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		if ready, text := health(t, s); ready || !strings.Contains(text, "database") {
			t.Errorf("health says %s", text)
		}
		wg.Wait()
		if took := time.Since(began); took > 16*time.Second {
			t.Errorf("answers took %v", took)
		}
		pg.Resume()
		well(t, s, p)
	})
}

// What one node revokes or destroys no other uses a second later, also where that
// one has lost the database: then it refuses.
func TestRevokedOnAnotherNode(t *testing.T) {
	t.Parallel()
	pg := storetest.StartPostgres(t)
	first := servertest.Start(t, "KEYREEVE_DEV_STORE="+pg.URL)
	between := proxied(t, pg.URL)
	second := secondNode(t, first, between.URL)
	encrypt := func(c *kmiptest.Client, id string) error {
		_, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(id), Parameters: &gcmMode, Data: []byte("x")})
		return err
	}
	for _, h := range []harm{pass, hold, refuse} {
		a, b := dial(t, first, "dev", core.V1_4), dial(t, second, "dev", core.V1_4)
		ids := []string{aesKey(t, a, activeNow), aesKey(t, a, activeNow, resident, locked)}
		for _, id := range ids {
			if err := encrypt(b, id); err != nil {
				t.Fatalf("the second node cannot use a key of the first: %v", err)
			}
		}
		between.set(h)
		for _, id := range ids {
			if _, err := kmiptest.Do(a, &kmip.Revoke, &operation.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeKeyCompromise}); err != nil {
				t.Fatal(err)
			}
		}
		revoked, last := time.Now(), time.Time{}
		end := revoked.Add(1500 * time.Millisecond)
		b.Conn.SetDeadline(end)
		for time.Now().Before(end) {
			for _, id := range ids {
				if encrypt(b, id) == nil {
					last = time.Now()
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		if late := last.Sub(revoked); late > time.Second {
			t.Errorf("harm %d: used %v after it was revoked", h, late)
		}
		between.set(pass)
		b = dial(t, second, "dev", core.V1_4)
		for _, id := range ids {
			var err error
			for range 200 {
				if err = encrypt(b, id); kmiptest.Reason(err) == core.ReasonPermissionDenied {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if kmiptest.Reason(err) != core.ReasonPermissionDenied {
				t.Errorf("harm %d, afterwards: %v", h, err)
			}
		}
		t.Logf("harm %d: last used %v after it was revoked, known %v after the end of the harm", h, max(0, last.Sub(revoked)), time.Since(end))
	}
}

// secondNode starts the program by a configuration file on the token and the
// database of another: two nodes of one installation.
func secondNode(t *testing.T, first *servertest.Server, url string) *servertest.Server {
	t.Helper()
	module, err := member.SoftHSM()
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := file("keyreeve.yaml", fmt.Sprintf(`
dir: %s
node: second
kmip: 127.0.0.1:0
https: 127.0.0.1:0
tls: {certificate: %[2]s/server.pem, key: %[2]s/server-key.pem, client_ca: %[2]s/ca.pem, authorities: [{file: %[2]s/ca.pem, tenants: ["*"], groups: ["*"], roles: ["*"]}]}
hsm: {module: %s, token: keyreeve, pin_file: %s/pin}
store: {url_file: %s}
`, dir, first.Certs, module, first.Dir, file("url", url)))
	s := servertest.StartConfig(t, config, dir, first.Certs, softHSMOf(first.Dir))
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			log, _ := os.ReadFile(s.Log)
			t.Errorf("the second node ended with %v:\n%s", err, log)
		}
	})
	return s
}

// Two nodes on one PostgreSQL and one token: what one makes the other uses, also
// for a tenant that one declares and both use at the same moment; what one revokes or destroys
// the other refuses within a second; Usage Limits are counted once for both.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	nodes := [2]*servertest.Server{one, secondNode(t, one, url)}
	one.Issue("new", "fresh", "g")
	encrypt := func(c *kmiptest.Client, id string) error {
		_, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(id), Data: make([]byte, 16), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}})
		return err
	}

	var ids [2]string
	var both sync.WaitGroup
	for i, s := range nodes {
		c := dial(t, s, "new", core.V1_4)
		both.Go(func() { ids[i] = aesKey(t, c, activeNow) })
	}
	both.Wait()
	for i, s := range nodes {
		if err := encrypt(dial(t, s, "new", core.V1_4), ids[1-i]); err != nil {
			t.Errorf("node %d cannot use what the other made for a new tenant: %v", i, err)
		}
	}

	for what, end := range map[string]func(c *kmiptest.Client, id string) error{
		"revoked": func(c *kmiptest.Client, id string) error {
			_, err := kmiptest.Do(c, &kmip.Revoke, &operation.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeKeyCompromise})
			return err
		},
		"destroyed": func(c *kmiptest.Client, id string) error {
			if _, err := kmiptest.Do(c, &kmip.Revoke, &operation.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeSuperseded}); err != nil {
				return err
			}
			_, err := kmiptest.Do(c, &kmip.Destroy, &operation.DestroyInput{ID: core.ID(id)})
			return err
		},
		"archived": func(c *kmiptest.Client, id string) error {
			_, err := kmiptest.Do(c, &kmip.Archive, &operation.LifeInput{ID: core.ID(id)})
			return err
		},
		"disabled": func(_ *kmiptest.Client, id string) error {
			restAs(t, nodes[0], "dev").must(200, "POST", "/v1/keys/"+id+"/disable", `{}`)
			return nil
		},
		"deleted": func(_ *kmiptest.Client, id string) error {
			restAs(t, nodes[0], "dev").must(202, "DELETE", "/v1/keys/"+id, "")
			return nil
		},
	} {
		here, there := dial(t, nodes[0], "dev", core.V1_4), dial(t, nodes[1], "dev", core.V1_4)
		id := aesKey(t, here, activeNow)
		if err := encrypt(there, id); err != nil {
			t.Fatal(err)
		}
		stop, asked := make(chan struct{}), make(chan time.Time)
		go func() { // used without a pause, so that the snapshot is as young as can be
			var last time.Time
			for {
				select {
				case <-stop:
					asked <- last
					return
				default:
					began := time.Now()
					if encrypt(there, id) == nil {
						last = began
					}
				}
			}
		}()
		time.Sleep(300 * time.Millisecond)
		if err := end(here, id); err != nil {
			t.Fatal(err)
		}
		ended := time.Now()
		time.Sleep(1500 * time.Millisecond)
		close(stop)
		if last := <-asked; last.Sub(ended) > time.Second {
			t.Errorf("a key %s on one node was used on the other %v later", what, last.Sub(ended))
		}
		if err := encrypt(there, id); err == nil {
			t.Errorf("a key %s on one node is in use on the other", what)
		}
	}

	const total, asked = 40, 60
	limits := core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(total)}, core.Field{Tag: core.TagUsageLimitsUnit, Value: core.Enum(core.UsageLimitsUnitObject)})
	id := aesKey(t, dial(t, one, "dev", core.V1_4), activeNow, core.Attribute{Tag: core.TagUsageLimits, Value: limits})
	var clients [asked]*kmiptest.Client
	for i := range clients {
		clients[i] = dial(t, nodes[i%2], "dev", core.V1_4)
	}
	var used, refused atomic.Int32
	coretest.AtOnce(asked, func(i int) {
		switch err := encrypt(clients[i], id); {
		case err == nil:
			used.Add(1)
		case kmiptest.Reason(err) == core.ReasonPermissionDenied:
			refused.Add(1)
		default:
			t.Errorf("a use within or beyond the limit: %v", err)
		}
	})
	if used.Load() != total || refused.Load() != asked-total {
		t.Errorf("of %d uses %d were allowed and %d refused; the limit is %d", asked, used.Load(), refused.Load(), total)
	}
}

// What one node declares, the other serves at once.
func TestTenantOfAnotherNode(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	two := secondNode(t, one, url)
	strangers(t, one, "acme")
	if err := discover(dial(t, two, "acme", core.V1_4)); err == nil {
		t.Error("a tenant that nobody declared is let in")
	}
	one.DeclareTenant("acme")
	aesKey(t, dial(t, two, "acme", core.V1_4))
}

// PostgreSQL goes away under load and comes back.
func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	pg := storetest.StartPostgres(t)
	s := servertest.Start(t, "KEYREEVE_DEV_STORE="+pg.URL)
	underLoad(t, s, pg.URL, func(p patients) {
		pg.Crash()
		sick(t, s, p, "database", "database")
		pg.Start()
		well(t, s, p)
	})
}
