package store

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/sqlitefile"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// needle is a blob of which each part can be found in a file.
func needle(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// remains counts the needles of which a part of 16 bytes is in a file of the database.
func remains(t *testing.T, path string, needles [][]byte) (n int) {
	t.Helper()
	var all []byte
	for _, end := range []string{"", "-wal", "-shm", "-journal"} {
		b, err := os.ReadFile(path + end)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	for _, b := range needles {
		for at := 0; at+16 <= len(b); at += 16 {
			if bytes.Contains(all, b[at:at+16]) {
				n++
				break
			}
		}
	}
	return n
}

// Key material that was destroyed, wrapped again or taken back is soon in no file of the
// database. The test first changes many rows of many lengths, so that SQLite moves them
// between its pages.
func TestDestroyedBlobsAreWiped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wiped.db")
	s, err := Create(bg, "sqlite:"+path, new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := mrand.New(mrand.NewPCG(3, 4))
	var objects []*core.ManagedObject
	var needles [][]byte
	commit := func(c *core.Change) {
		t.Helper()
		if err := s.Commit(bg, c); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 400 {
		o := storetest.Object("t", fmt.Sprintf("%016x", r.Uint64()))
		o.Material.Blob, o.Material.TTLV = needle(40), needle(56)
		if i%40 == 0 {
			o.Material.Blob = needle(20_000)
		}
		o.Attributes = o.Attributes.Add(core.Attribute{Vendor: "x", Name: "Length", Value: core.Bytes(make([]byte, r.IntN(1500)))})
		needles = append(needles, o.Material.Blob, o.Material.TTLV)
		objects = append(objects, o)
		commit(core.ChangeOf(core.InsertObject{Object: o}))
	}
	for range 2 {
		for i, o := range objects { // a change that keeps the key, and moves the row
			next := *o
			next.Version++
			next.Attributes = next.Attributes.Set(core.TagComment, core.Text(fmt.Sprintf("%*d", 1+r.IntN(900), i)))
			commit(core.ChangeOf(core.UpdateObject{Object: &next}))
			objects[i] = &next
		}
	}
	if n := remains(t, path, needles); n != len(needles) {
		t.Fatalf("%d of %d blobs are found while they are stored", n, len(needles))
	}
	for i, o := range objects {
		if i%3 == 0 {
			commit(core.ChangeOf(core.DeleteObject{Object: o}))
			continue
		}
		next := *o
		next.Version++
		next.Material = core.Material{Mode: o.Material.Mode, Class: o.Material.Class}
		if i%3 == 1 {
			next.Material.Blob, next.Material.MAC = needle(40), []byte{1}
		}
		commit(core.ChangeOf(core.UpdateObject{Object: &next, RemovesKey: true}))
	}
	left := len(needles)
	for range 200 { // a checkpoint comes within seconds
		if left = remains(t, path, needles); left == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%d of %d blobs are still in the files", left, len(needles))
}

// If a process is killed just after a Destroy, the next start wipes the WAL. The killed
// process is one connection that never checkpoints, because a store wipes in the
// background from its start on.
func TestWipedAtStart(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "first.db"), filepath.Join(dir, "copied.db")
	s, err := Create(bg, "sqlite:"+path, new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", sqlitefile.DSN(path, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	blob := needle(40)
	for _, statement := range []string{
		"PRAGMA wal_autocheckpoint = 0",
		"CREATE TABLE killed (blob BLOB)",
		fmt.Sprintf("INSERT INTO killed VALUES (x'%x')", blob),
		"DELETE FROM killed",
		"DROP TABLE killed",
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(statement, err)
		}
	}
	for _, end := range []string{"", "-wal"} { // as the files were when it was killed
		b, err := os.ReadFile(path + end)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+end, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	needles := [][]byte{blob}
	if remains(t, copied, needles) != 1 {
		t.Fatal("the WAL of the killed process does not hold the blob")
	}
	if s, err = Create(bg, "sqlite:"+copied, new(storetest.Sealer)); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 200 {
		if remains(t, copied, needles) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the blob is still in the files after a start")
}
