package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/store"
)

// recordBytes is the size of the record that L3 commits: that of an audit entry.
const recordBytes = 230

// measureLimits measures the best that the machine can do with the bytes of a Get.
func (b *bench) measureLimits() error {
	msg, err := b.requestOf("get")
	if err != nil {
		return err
	}
	sync, err := syncTime(b.Dir)
	if err != nil {
		return err
	}
	b.limits[limit{"sync", 1}] = sync
	fmt.Printf("%-16s        %v\n", "one sync", sync)
	limits := []string{"L1", "L3"}
	if slices.Contains(b.Operation, "create") {
		limits = append(limits, "insert")
	}
	for _, l := range limits {
		if err := b.measureLimit(l, msg); err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
	}
	return nil
}

// measureLimit measures an echo, in a process of its own that ends with it.
func (b *bench) measureLimit(l string, msg []byte) error {
	more := map[string][]string{"L3": {"--commit", filepath.Join(b.Dir, "echo.log")}, "insert": {"--insert", filepath.Join(b.Dir, "insert.db")}}[l]
	addr, err := b.startProcess(nil, append([]string{"bench-echo", "--certs", b.certs}, more...)...)
	if err != nil {
		return err
	}
	for _, n := range b.Connections {
		r, err := b.runLoop(b.dialKMIP(addr), n, msg, nil)
		if err != nil {
			return err
		}
		b.limits[limit{l, n}] = r
		fmt.Printf("%-16s c=%-4d %v\n", l, n, r)
	}
	b.stopLast()
	return nil
}

// syncTime measures fdatasync of one record at the end of a file on the disk of
// the server's folder.
func syncTime(dir string) (result, error) {
	f, err := os.Create(filepath.Join(dir, "sync.tmp"))
	if err != nil {
		return result{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var times []time.Duration
	for range 500 {
		began := time.Now()
		if _, err := f.Write(make([]byte, recordBytes)); err != nil {
			return result{}, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return result{}, err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	p50 := times[len(times)/2]
	return result{1 / p50.Seconds(), p50, times[len(times)*99/100]}, nil
}

// measureUncached measures Get of a class C key that is not in memory, beside L2.
func (b *bench) measureUncached() error {
	l2, err := b.rawGets()
	if err != nil {
		return err
	}
	for _, n := range rawSessions {
		fmt.Printf("%-16s s=%-4d %9.0f ops/s\n", "L2 raw PKCS#11", n, l2[n])
	}
	addr, _, err := b.startServer(b.Dir+"-uncached", "KEYREEVE_DEV_COPIES=none")
	if err != nil {
		return err
	}
	b.certs, b.KMIP = filepath.Join(b.Dir+"-uncached", "certs"), addr
	if err := b.prepare(); err != nil {
		return err
	}
	for _, n := range b.Connections {
		r, err := b.runOperation("get", addr, n)
		if err != nil {
			return err
		}
		fmt.Printf("%-16s c=%-4d %v  %.2f of L2\n", "get, not cached", n, r, r.ops/l2[member.DefaultSessions])
	}
	return nil
}

// rawSessions are the numbers of sessions that L2 is measured with. The ratios
// are of the last, which is what the server uses.
var rawSessions = []int{1, 2, member.DefaultSessions}

// rawGets runs the bare calls on a token of its own.
func (b *bench) rawGets() (map[int]float64, error) {
	ctx := context.Background()
	dir := filepath.Join(b.temp, "raw")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cfg, err := member.DevToken(dir)
	if err != nil {
		return nil, err
	}
	module, err := member.Open(cfg)
	if err != nil {
		return nil, err
	}
	defer module.Close(ctx)
	t, err := custody.Open(ctx, module, custody.Options{})
	if err != nil {
		return nil, err
	}
	if err := benchTenant(ctx, t); err != nil {
		return nil, err
	}
	k := core.Key{Tenant: "bench", ID: "k", Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES}
	m, _, err := t.Generate(ctx, k, core.KeySpec{Kind: core.KeyAES, Class: core.ClassC, Mode: core.ModeWrapped, Bits: 256, Format: core.KeyFormatTypeRaw})
	if err != nil {
		return nil, err
	}
	k.Material = &m
	ref, err := t.Reference(k)
	if err != nil {
		return nil, err
	}
	out := map[int]float64{}
	for _, n := range rawSessions {
		done, err := module.MeasureReads(ctx, ref, n, b.Duration)
		if err != nil {
			return nil, err
		}
		out[n] = float64(done) / b.Duration.Seconds()
	}
	return out, nil
}

// benchTenant makes an installation with one tenant.
func benchTenant(ctx context.Context, t *custody.Custody) error {
	id := strings.Repeat("be", 16)
	if _, err := t.MakeSystemSet(ctx, id); err != nil {
		return err
	}
	if err := t.OpenInstallation(ctx, id); err != nil {
		return err
	}
	set := core.KeySet{Number: 1, Tenant: "bench", Epoch: 1, State: core.KeySetActive}
	var err error
	if set.Checks, err = t.MakeKeySet(ctx, set); err != nil {
		return err
	}
	return t.LoadKeySets(ctx, []core.KeySet{set})
}

// perAddress is how many connections one address may have, with room to spare.
const perAddress = 200

// measureIdle measures what connections cost that have shaken hands and been answered
// once, in the server's resident memory, as the runtime leaves it. The first half
// of the connections fills the room that the start has left; the second is measured.
func (b *bench) measureIdle() error {
	if !b.Self || b.Idle == 0 {
		return nil
	}
	cfg, err := kmiptest.Config(b.certs, "dev")
	if err != nil {
		return err
	}
	msg, err := b.requestOf("discover")
	if err != nil {
		return err
	}
	var before int
	for i := range b.Idle {
		if i == b.Idle/2 {
			if before, err = residentBytes(b.procs[0].Process.Pid); err != nil {
				return err
			}
		}
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i/perAddress))}}
		conn, err := tls.DialWithDialer(&d, "tcp", b.KMIP, cfg)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := (&kmiptest.Client{Conn: conn, Version: b.version}).Send(msg); err != nil {
			return err
		}
	}
	after, err := residentBytes(b.procs[0].Process.Pid)
	fmt.Printf("%-16s n=%-4d %9.1f KiB each\n", "idle connection", b.Idle, float64(after-before)/1024/float64(b.Idle-b.Idle/2))
	return err
}

// residentBytes is a process's resident memory in bytes.
func residentBytes(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var size, pages int
	_, err = fmt.Sscan(string(text), &size, &pages)
	return pages * os.Getpagesize(), err
}

// EchoCommand is L1, with --commit L3, with --insert the bare insert, and with --answer the same
// over HTTP, in a process of its own.
type EchoCommand struct {
	Certs  string `required:""`
	Commit string
	Insert string
	Answer string // file with the answer to every request
}

// Run echoes until it is killed.
func (c *EchoCommand) Run() error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.Certs, "server.pem"), filepath.Join(c.Certs, "server-key.pem"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(c.Certs, "ca.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
	if err != nil {
		return err
	}
	commit := func() error { return nil }
	if c.Commit != "" {
		f, err := os.Create(c.Commit)
		if err != nil {
			return err
		}
		commit = (&committer{file: f}).commitRecord
	}
	if c.Insert != "" {
		s, err := store.Create(context.Background(), "sqlite:"+c.Insert, unsealed{})
		if err != nil {
			return err
		}
		commit = func() error { return s.Commit(context.Background(), bareRows()) }
	}
	if c.Answer != "" {
		h, err := echoHTTP(c.Answer, commit)
		if err != nil {
			return err
		}
		fmt.Println(l.Addr())
		return http.Serve(l, h)
	}
	fmt.Println(l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go echoMessages(conn, commit)
	}
}

// unsealed seals nothing: the limit is what the database can do by itself.
type unsealed struct{}

func (unsealed) Seal(string, []byte) ([]byte, error)        { return []byte{}, nil }
func (unsealed) CheckSeal(string, []byte, []byte) error     { return nil }
func (unsealed) EncryptBody(_, body []byte) ([]byte, error) { return body, nil }
func (unsealed) DecryptBody(_, body []byte) ([]byte, error) { return body, nil }

// echoMessages answers each message with itself, as long as the answer of a Get is.
func echoMessages(conn net.Conn, commit func() error) {
	defer conn.Close()
	const answer = 312
	buf := make([]byte, 64*1024)
	for {
		if _, err := io.ReadFull(conn, buf[:8]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(buf[4:]))
		if n > len(buf)-8 {
			return
		}
		if _, err := io.ReadFull(conn, buf[8:8+n]); err != nil {
			return
		}
		if err := commit(); err != nil {
			return
		}
		binary.BigEndian.PutUint32(buf[4:], answer-8)
		if _, err := conn.Write(buf[:answer]); err != nil {
			return
		}
	}
}

// bareRows are what a Create of the bench stores: an object and its record.
func bareRows() *core.Change {
	now := time.Now()
	id := uuid.NewString()
	random := make([]byte, 32)
	rand.Read(random)
	o := &core.ManagedObject{Tenant: "default", ID: id, Version: 1, Type: core.ObjectTypeSymmetricKey, Owner: "dev", Group: "dev",
		Attributes: core.Attributes{{Tag: core.TagUniqueIdentifier, Value: core.Text(id)}, {Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeSymmetricKey)},
			{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)},
			{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskEncrypt | core.MaskDecrypt)}, {Tag: core.TagState, Value: core.Enum(core.PreActive)},
			{Tag: core.TagInitialDate, Value: core.Date(now.Unix())}, {Tag: core.TagLastChangeDate, Value: core.Date(now.Unix())},
			{Tag: core.TagDigest, Value: core.Digest{Hash: core.HashSHA256, Sum: random, Format: core.KeyFormatTypeRaw}.Value()}},
		Material: core.Material{Mode: core.ModeWrapped, Class: core.ClassC, Epoch: 1, Wrap: "aes-kw", Kind: core.KeyAES, Format: core.KeyFormatTypeRaw,
			Length: 32, Blob: append(random, random[:8]...), MAC: random}}
	return core.ChangeOf(core.InsertObject{Object: o}, core.AppendEntry{Entry: &core.Entry{Tenant: "default", Time: now.UnixMicro(), Body: make([]byte, recordBytes)}})
}

// committer writes records in groups, with one fdatasync for each group: one caller
// writes for everyone who is waiting.
type committer struct {
	file    *os.File
	mu      sync.Mutex
	waiting []chan error
	busy    bool
}

func (c *committer) commitRecord() error {
	me := make(chan error, 1)
	c.mu.Lock()
	c.waiting = append(c.waiting, me)
	if c.busy {
		c.mu.Unlock()
		return <-me
	}
	c.busy = true
	for len(c.waiting) > 0 {
		batch := c.waiting
		c.waiting = nil
		c.mu.Unlock()
		_, err := c.file.Write(make([]byte, recordBytes*len(batch)))
		if err == nil {
			err = unix.Fdatasync(int(c.file.Fd()))
		}
		for _, w := range batch {
			w <- err
		}
		c.mu.Lock()
	}
	c.busy = false
	c.mu.Unlock()
	return <-me
}
