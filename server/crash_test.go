package server_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// The server is killed in the middle of Create, Create Key Pair, Register,
// Re-key, a change of class and Destroy, of keys in the database and in the
// token, under load. Whatever it had acknowledged is there, works with the bytes
// of before and has its record; what was destroyed is gone; nothing is half
// made, and the token holds what the database names and nothing else.
// KEYREEVE_SOAK lengthens it.

func TestKilledUnderLoadSQLite(t *testing.T) { killUnderLoad(t, "") }

func TestKilledUnderLoadPostgres(t *testing.T) { killUnderLoad(t, storetest.Postgres(t)) }

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
