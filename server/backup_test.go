package server_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A backup taken as docs/OPERATE.md says, of a server that goes on making keys
// of all classes, restores to a server with every key that was acknowledged
// before it began.
func TestBackupUnderLoad(t *testing.T) {
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
	sealed := map[string]core.EncryptOutput{}
	c := dial(t, s, "dev", core.V1_4)
	for i := range 24 {
		id := aesKey(t, c, append(classes(i, i/3), core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)})...)
		sealed[id] = encrypted(t, c, id)
	}

	restored := filepath.Join(t.TempDir(), "restored")
	if err := os.MkdirAll(restored, 0o700); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(s.Dir, "keyreeve.db")+"?_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
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
		out, err := kmiptest.Do(c, &kmip.Decrypt, &core.DecryptInput{ID: core.ID(id), Data: e.Data, IV: e.IV, Tag: e.Tag,
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
		as = append(as, core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")})
	}
	return as
}

func encrypted(t *testing.T, c *kmiptest.Client, id string) core.EncryptOutput {
	t.Helper()
	out, err := kmiptest.Do(c, &kmip.Encrypt, &core.EncryptInput{ID: core.ID(id), Data: fmt.Appendf(nil, "kept %s", id),
		Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}})
	if err != nil {
		t.Fatal(err)
	}
	return core.EncryptOutput{Data: append([]byte{}, out.Data...), IV: append([]byte{}, out.IV...), Tag: append([]byte{}, out.Tag...)}
}
