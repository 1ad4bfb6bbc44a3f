package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// What the hostile client and the one that works are given by the environment.
const (
	hostileAddr = "KEYREEVE_TEST_HOSTILE_ADDR"
	hostileDir  = "KEYREEVE_TEST_HOSTILE_DIR"
	hostileKind = "KEYREEVE_TEST_HOSTILE_KIND" // one of worst by its number; left out: all
	busyFor     = "KEYREEVE_TEST_BUSY"
)

const (
	hostileConnections = 32
	maxResident        = 512 << 10 // KiB
)

// hostileClient is what the hostile tenant's connections share.
type hostileClient struct {
	addr      string
	config    *tls.Config
	signs     string // an RSA key
	large     string // an object with large attributes
	stop, end time.Time
}

func (h *hostileClient) dial() (*kmiptest.Client, error) {
	d := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	raw, err := tls.DialWithDialer(d, "tcp", h.addr, h.config)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(h.end)
	return &kmiptest.Client{Conn: raw, Version: core.V1_4}, nil
}

// worst is what one hostile connection does again and again, by its number.
var worst = []func(h *hostileClient, c *kmiptest.Client) error{
	func(h *hostileClient, c *kmiptest.Client) error { // answers that nobody reads
		raw := c.Conn.(*tls.Conn)
		msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmiptest.Item(&kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(h.large)}))
		if err != nil {
			return err
		}
		for time.Now().Before(h.stop) {
			raw.SetWriteDeadline(time.Now().Add(2 * time.Second))
			if _, err := raw.Write(msg); err != nil {
				return err
			}
		}
		return nil
	},
	func(h *hostileClient, c *kmiptest.Client) error { // key pairs that take seconds
		_, err := kmiptest.Do(c, &kmip.CreateKeyPair, pairOf(4096))
		return err
	},
	func(h *hostileClient, c *kmiptest.Client) error { // searches that find nothing
		_, err := kmiptest.Do(c, &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagCryptographicLength, Value: core.Int(257)}}})
		return err
	},
	func(h *hostileClient, c *kmiptest.Client) error { // signatures without a pause
		_, err := kmiptest.Do(c, &kmip.Sign, &operation.SignInput{ID: core.ID(h.signs), Data: []byte("deed"), Parameters: &core.CryptographicParameters{
			PaddingMethod: core.PaddingMethodPKCS1V1_5, HashingAlgorithm: core.HashSHA256, CryptographicAlgorithm: core.AlgorithmRSA}})
		return err
	},
	func(h *hostileClient, c *kmiptest.Client) error { // messages of 1 MB
		names := make([][]byte, 0, 30_000)
		names = append(names, kmiptest.RawItem(core.TagUniqueIdentifier, core.KindTextString, []byte(h.large)))
		for i := range cap(names) - 1 {
			names = append(names, kmiptest.RawItem(core.TagAttributeName, core.KindTextString, []byte("x-"+strconv.Itoa(i))))
		}
		_, err := c.Batch(hostileItem(core.OperationGetAttributes, names...))
		return err
	},
	func(h *hostileClient, c *kmiptest.Client) error { // silence, before and after the handshake
		raw, err := net.DialTimeout("tcp", h.addr, time.Second)
		if err == nil {
			defer raw.Close()
		}
		time.Sleep(min(time.Second, time.Until(h.stop)))
		return nil
	},
}

func pairOf(bits int32) *operation.CreateKeyPairInput {
	return &operation.CreateKeyPairInput{
		Common:  core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmRSA)}, {Tag: core.TagCryptographicLength, Value: core.Int(bits)}},
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}, activeNow, locked},
		Public:  core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}}
}

// TestHostileProcess is the hostile tenant of TestFairness, in a process of its
// own; by itself it does nothing.
func TestHostileProcess(t *testing.T) {
	addr := os.Getenv(hostileAddr)
	if addr == "" {
		return
	}
	lasts, err := time.ParseDuration(os.Getenv(busyFor))
	if err != nil {
		t.Fatal(err)
	}
	config, err := kmiptest.Config(os.Getenv(hostileDir), "hostile")
	if err != nil {
		t.Fatal(err)
	}
	h := &hostileClient{addr: addr, config: config, end: time.Now().Add(lasts + time.Minute)}
	h.prepare(t)
	fmt.Println("hostile")
	h.stop = time.Now().Add(lasts)
	h.end = h.stop.Add(time.Second)
	kind, one := os.LookupEnv(hostileKind)
	only, _ := strconv.Atoi(kind)
	var done [hostileConnections]int
	var wg sync.WaitGroup
	for i := range hostileConnections {
		wg.Go(func() {
			for time.Now().Before(h.stop) {
				c, err := h.dial()
				does := i % len(worst)
				if one {
					does = only
				}
				for err == nil && time.Now().Before(h.stop) {
					err = worst[does](h, c)
					if kmiptest.Reason(err) != 0 { // an answer, if not the one asked for
						err = nil
					}
					done[i]++
				}
				if c != nil {
					c.Close()
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	var sums [6]int
	for i, n := range done {
		sums[i%len(worst)] += n
	}
	fmt.Printf("unread %d, pairs %d, searches %d, signatures %d, messages of 1 MB %d, silent %d\n", sums[0], sums[1], sums[2], sums[3], sums[4], sums[5])
}

// prepare fills the hostile tenant with objects that its searches read and do not find.
func (h *hostileClient) prepare(t *testing.T) {
	objects := 1000
	if soaking() > 0 {
		objects = 10_000
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := h.dial()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for range objects / 8 {
				if _, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	c, err := h.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var large core.Attributes
	for i := range 15 {
		large = append(large, core.Attribute{Vendor: "x", Name: fmt.Sprint("large", i), Value: core.Text(strings.Repeat("l", 3000))})
	}
	out, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, large...))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, pairOf(2048))
	if err != nil {
		t.Fatal(err)
	}
	h.large, h.signs = out.ID, pair.PrivateID
}

// TestBusyProcess keeps one core busy beside TestFairness; by itself it does
// nothing.
func TestBusyProcess(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv(busyFor))
	if err != nil || os.Getenv(hostileAddr) != "" {
		return
	}
	n := uint64(1)
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		for range 1_000_000 {
			n = n*6364136223846793005 + 1
		}
	}
	if n == 0 {
		t.Log(n)
	}
}

// beside starts another process of this test's program.
func beside(t *testing.T, test string, out io.Writer, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd
}

// gets has the client that works do what it does until the other process ends, and
// returns how long each Get took.
func gets(t *testing.T, c *kmiptest.Client, id string, lasts time.Duration, each func()) (took []time.Duration) {
	t.Helper()
	failures := 0
	for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		began := time.Now()
		if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
			if failures++; failures < 5 {
				t.Errorf("a Get of the tenant that works: %v", err)
			}
		}
		took = append(took, time.Since(began))
		if len(took)%50 == 0 {
			each()
		}
	}
	slices.Sort(took)
	return took
}

func p99(took []time.Duration) time.Duration { return took[len(took)*99/100] }

// 32 connections of one tenant do the worst they can. Another tenant's Get does not
// fail and takes no more than three times as long, at the 99th percentile, as
// beside processes that merely keep the cores busy. Memory stays bounded, and
// afterwards nothing of the hostile tenant is under way any more. How long a Get
// takes is always shown. Only a soak of more than a minute demands it, because
// other work on the machine moves it.
func TestFairness(t *testing.T) {
	s := servertest.Start(t)
	s.Issue("hostile", "hostile", "h")
	lasts := 6 * time.Second
	if soaking() > 0 {
		lasts = time.Minute
	}
	c := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, c)
	gets(t, c, id, 500*time.Millisecond, func() {})
	for range runtime.NumCPU() {
		beside(t, "TestBusyProcess", nil, busyFor+"="+(lasts/2+time.Second).String())
	}
	time.Sleep(500 * time.Millisecond)
	plain := gets(t, c, id, lasts/2, func() {})

	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	before := figures(t, s)
	hostile := beside(t, "TestHostileProcess", write, hostileAddr+"="+s.KMIP, hostileDir+"="+s.Certs, busyFor+"="+(lasts+time.Second).String())
	write.Close()
	output := lines(read)
	for line := range output { // it is ready
		if line == "hostile" {
			break
		}
		if strings.Contains(line, "FAIL") {
			t.Fatalf("the hostile process says %s", line)
		}
	}
	time.Sleep(500 * time.Millisecond)
	memory := 0
	under := gets(t, c, id, lasts, func() { memory = max(memory, s.Resident(t)) })
	hostile.Wait()
	ended := time.Now()
	for line := range output {
		if strings.HasPrefix(line, "unread") {
			t.Log(line)
		}
	}
	ratio := float64(p99(under)) / float64(p99(plain))
	t.Logf("beside busy processes %d Gets, p50 %v, p99 %v; beside the hostile tenant %d, p50 %v, p99 %v, slowest %v: p99 is %.1f times as long; %d MiB of memory at most",
		len(plain), plain[len(plain)/2], p99(plain), len(under), under[len(under)/2], p99(under), under[len(under)-1], ratio, memory>>10)
	if memory > maxResident {
		t.Errorf("%d KiB of memory, at most %d", memory, maxResident)
	}
	if soaking() > time.Minute && ratio > 3 {
		t.Errorf("p99 is %.1f times as long as beside processes that keep the cores busy, at most 3", ratio)
	}
	comesToRest(t, s, before, ended)
}

// lines sends what is read, line by line, until its end.
func lines(r io.Reader) <-chan string {
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		b, rest := make([]byte, 4096), ""
		for {
			n, err := r.Read(b)
			rest += string(b[:n])
			for {
				line, after, ok := strings.Cut(rest, "\n")
				if !ok {
					break
				}
				out <- line
				rest = after
			}
			if err != nil {
				return
			}
		}
	}()
	return out
}

// figures are some of the server's metrics.
func figures(t *testing.T, s *servertest.Server) map[string]float64 {
	t.Helper()
	_, text := askREST(t, s, "dev", http.MethodGet, "/metrics", "")
	out := map[string]float64{}
	for _, line := range strings.Split(text, "\n") {
		name, value, ok := strings.Cut(line, " ")
		if f, err := strconv.ParseFloat(value, 64); ok && err == nil {
			out[name] = f
		}
	}
	return out
}

// comesToRest demands that within limits.operation no call, connection or
// goroutine of the hostile tenant is left.
func comesToRest(t *testing.T, s *servertest.Server, before map[string]float64, ended time.Time) {
	t.Helper()
	const operation = 30 * time.Second // limits.operation of serve --dev
	var now map[string]float64
	for time.Since(ended) < operation+5*time.Second {
		now = figures(t, s)
		if now["keyreeve_hsm_sessions_in_use"] == 0 && now["keyreeve_hsm_waiting"] == 0 && now["keyreeve_hsm_stuck"] == 0 &&
			now["keyreeve_kmip_connections"] <= before["keyreeve_kmip_connections"] && now["go_goroutines"] <= before["go_goroutines"]+20 {
			t.Logf("%v after the hostile clients left nothing of theirs is under way", time.Since(ended).Round(time.Millisecond))
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	for _, name := range []string{"keyreeve_hsm_sessions_in_use", "keyreeve_hsm_waiting", "keyreeve_hsm_stuck", "keyreeve_kmip_connections", "go_goroutines"} {
		t.Errorf("%v after the hostile clients left, %s is %v, %v before", time.Since(ended), name, now[name], before[name])
	}
}

// unread is a connection of a client that sends and never reads.
func unread(with *tls.Config, addr string, host byte) (*tls.Conn, error) {
	d := &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 7, host)}, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	return tls.DialWithDialer(d, "tcp", addr, with)
}

func batchOf(t *testing.T, n int, item kmip.ClientItem) []byte {
	t.Helper()
	items := make([]kmip.ClientItem, n)
	for i := range items {
		items[i] = item
	}
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{ErrorOption: core.BatchErrorContinuationOptionContinue}, items...)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// Clients of one principal ask for as much as they can and read none of it, or send
// the largest messages there are, slowly. Memory stays bounded, and another principal
// of the same tenant is served.
func TestMemoryOfUnreadAnswers(t *testing.T) {
	s := servertest.Start(t)
	dev := dial(t, s, "dev", core.V1_4)
	var large core.Attributes
	for i := range 15 {
		large = append(large, core.Attribute{Vendor: "x", Name: fmt.Sprint("large", i), Value: core.Text(strings.Repeat("a", 4<<10))})
	}
	rich := aesKey(t, dev, large...)
	opaque, err := kmiptest.Do(dev, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject,
		OpaqueDataType: 0x80000001, OpaqueData: make([]byte, 900<<10)}})
	if err != nil {
		t.Fatal(err)
	}
	with := clientTLS(t, s, "dev")
	hash := kmiptest.Item(&kmip.Hash, &operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: make([]byte, 1<<20-4096)})
	floods := [][]byte{
		batchOf(t, 64, kmiptest.Item(&kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(rich)})),
		batchOf(t, 4, kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID(opaque.ID)})),
		batchOf(t, 64, kmiptest.Item(&kmip.Locate, &operation.LocateInput{MaximumItems: -1})),
		batchOf(t, 1, hash), // sent without its end
	}
	victim := dial(t, s, "dev2", core.V1_4)
	id := aesKey(t, victim)
	stop := make(chan bool)
	var wg sync.WaitGroup
	for i := range 240 {
		wg.Go(func() {
			for msg := floods[i%len(floods)]; ; {
				c, err := unread(with, s.KMIP, byte(1+i%200))
				if err == nil {
					if i%len(floods) == 3 {
						c.Write(msg[:len(msg)-100])
					} else {
						c.SetWriteDeadline(time.Now().Add(3 * time.Second))
						c.Write(bytes.Repeat(msg, 20))
					}
				}
				select {
				case <-stop:
				case <-time.After(3 * time.Second):
				}
				if c != nil {
					c.Close()
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	most, served, slowest := 0, 0, time.Duration(0)
	for end := time.Now().Add(lasting(12 * time.Second)); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		began := time.Now()
		if _, err := kmiptest.Do(victim, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
			t.Errorf("the client that works: %v", err)
			break
		}
		served++
		slowest = max(slowest, time.Since(began))
		most = max(most, s.Resident(t))
	}
	close(stop)
	wg.Wait()
	t.Logf("%d MiB of memory at most; another client was served %d times, slowest %v", most>>10, served, slowest)
	if most > 512<<10 {
		t.Errorf("the server has taken %d MiB of memory; 512 is the bound", most>>10)
	}
	still(t, s)
}

// The Go runtime has a limit: the budget of the doors, a base and checks of passwords, or what
// GOMEMLIMIT says.
func TestRuntimeMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"GOMEMLIMIT="}, fmt.Sprintf("runtime_limit_mib=%d from=limits.memory_total_mib", 448+password.CheckMemory()>>20)},
		{[]string{"GOMEMLIMIT=600MiB"}, "runtime_limit_mib=600 from=GOMEMLIMIT"},
	} {
		s := servertest.Start(t, c.env...)
		if log, err := os.ReadFile(s.Log); err != nil || !bytes.Contains(log, []byte(c.want)) {
			t.Errorf("with %v the log does not have %q: %s %v", c.env, c.want, log, err)
		}
	}
}

// What a stream holds is in the figures of memory until it ends.
func TestHeldPartsAreInTheMemoryFigures(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	part := &operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: make([]byte, 900<<10), Init: &truth}
	out, err := kmiptest.Do(c, &kmip.Hash, part)
	if err != nil {
		t.Fatal(err)
	}
	if n := figures(t, s)["keyreeve_memory_bytes"]; n < 900<<10 {
		t.Errorf("a stream that holds 900 KiB counts %v bytes", n)
	}
	part = &operation.HashInput{Parameters: part.Parameters, Correlation: bytes.Clone(out.Correlation), Data: []byte("x"), Final: &truth}
	if _, err := kmiptest.Do(c, &kmip.Hash, part); err != nil {
		t.Fatal(err)
	}
	if n := figures(t, s)["keyreeve_memory_bytes"]; n > 64<<10 {
		t.Errorf("after its end %v bytes are counted", n)
	}
}

// restFlood is 200 clients of one tenant that send large bodies to the REST door.
type restFlood struct {
	with     *tls.Config
	addr     string
	stop     chan bool
	refused  atomic.Int64 // answers 503 that say when to try again
	puzzling atomic.Value // another answer
}

// slowBody sends all of the largest body but its end, and reads the answer, if any
// comes.
func (f *restFlood) slowBody(host byte) {
	c, err := unread(f.with, f.addr, host)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(7 * time.Second))
	fmt.Fprintf(c, "POST /v1/encrypt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", 1<<20)
	go c.Write(bytes.Repeat([]byte(" "), 1<<20-1))
	answer := make([]byte, 4096)
	n, _ := c.Read(answer)
	switch text := string(answer[:n]); {
	case strings.HasPrefix(text, "HTTP/1.1 503") && strings.Contains(text, "Retry-After:"):
		f.refused.Add(1)
	case n > 0:
		f.puzzling.Store(text)
	}
}

// unreadAnswer asks for a large answer and reads none of it.
func (f *restFlood) unreadAnswer(host byte, body string) {
	c, err := unread(f.with, f.addr, host)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	fmt.Fprintf(c, "POST /v1/encrypt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	select {
	case <-f.stop:
	case <-time.After(3 * time.Second):
	}
}

func (f *restFlood) run(wg *sync.WaitGroup, body string) {
	for i := range 200 {
		wg.Go(func() {
			for {
				select {
				case <-f.stop:
					return
				default:
				}
				if i%4 == 0 {
					f.unreadAnswer(byte(1+i), body)
				} else {
					f.slowBody(byte(1 + i))
				}
			}
		})
	}
}

// Clients of one tenant send large bodies slowly to the REST door and read no
// answers. Memory stays bounded, what does not fit is refused with a time to try
// again, and another tenant is served at both doors.
func TestMemoryOfSlowBodies(t *testing.T) {
	s := servertest.Start(t)
	s.Issue("hostile", "hostile", "h")
	hostile := dial(t, s, "hostile", core.V1_4)
	theirs := aesKey(t, hostile, activeNow)
	victim := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, victim, activeNow)
	with := clientTLS(t, s, "hostile")
	ours := clientTLS(t, s, "dev")
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: ours}, Timeout: 20 * time.Second}
	flood := &restFlood{with: with, addr: s.HTTPS, stop: make(chan bool)}
	var wg sync.WaitGroup
	flood.run(&wg, fmt.Sprintf(`{"keyId":%q,"format":"raw","plaintext":%q}`, theirs, strings.Repeat("AAAA", 170_000)))

	most, served, slowest := 0, 0, time.Duration(0)
	for end := time.Now().Add(lasting(8 * time.Second)); time.Now().Before(end) && !t.Failed(); time.Sleep(20 * time.Millisecond) {
		began := time.Now()
		if _, err := kmiptest.Do(victim, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
			t.Errorf("the other tenant's Get: %v", err)
		}
		res, err := rest.Post("https://"+s.HTTPS+"/v1/encrypt", "application/json", strings.NewReader(fmt.Sprintf(`{"keyId":%q,"format":"raw","plaintext":"AAAA"}`, id)))
		if err != nil {
			t.Fatalf("the other tenant's encrypt: %v", err)
		}
		if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
			t.Errorf("the other tenant's encrypt: %s %s", res.Status, text)
		}
		res.Body.Close()
		served++
		slowest = max(slowest, time.Since(began))
		most = max(most, s.Resident(t))
	}
	close(flood.stop)
	wg.Wait()
	t.Logf("%d MiB of memory at most; another tenant was served %d times, slowest %v; %d bodies were refused", most>>10, served, slowest, flood.refused.Load())
	if most > 512<<10 {
		t.Errorf("the server has taken %d MiB of memory; 512 is the bound", most>>10)
	}
	if flood.refused.Load() == 0 {
		t.Errorf("no body was refused with 503 and a time to try again; another answer: %v", flood.puzzling.Load())
	}
	still(t, s)
}

// A tenant's quota holds at both doors and after a kill, and each says so in its
// own words; keys that are there are still used and destroyed.
func TestQuotasHold(t *testing.T) {
	dir, fresh := installed(t)
	conf := fresh(t)
	conf["quotas"] = map[string]any{"objects": 3}
	s := startInstalled(t, dir, conf)
	c := dial(t, s, "dev", core.V1_4)
	id := aesKey(t, c)
	for range 2 {
		aesKey(t, c)
	}
	for round := range 2 {
		for v, want := range map[core.Version]core.ResultReason{core.V1_4: core.ReasonGeneralFailure, core.V2_1: core.ReasonServerLimitExceeded} {
			_, err := kmiptest.Do(dial(t, s, "dev", v), &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
			if kmiptest.Reason(err) != want || !strings.Contains(err.Error(), "quota of 3") {
				t.Errorf("round %d, KMIP %v: %v", round, v, err)
			}
		}
		if status, body := post(t, s, "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"]}`); status != 403 || !strings.Contains(body, "QuotaExceeded") {
			t.Errorf("round %d, REST: %d %s", round, status, body)
		}
		if round == 0 {
			s.Kill()
			s.Run()
		}
	}
	c = dial(t, s, "dev", core.V1_4)
	if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
		t.Errorf("a key of a tenant at its quota: %v", err)
	}
	if _, err := kmiptest.Do(c, &kmip.Destroy, &operation.DestroyInput{ID: core.ID(id)}); err != nil {
		t.Errorf("destroying at the quota: %v", err)
	}
}
