package server_test

import (
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
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
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
		msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmiptest.Item(&kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(h.large)}))
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
		_, err := kmiptest.Do(c, &kmip.Locate, &core.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagCryptographicLength, Value: core.Int(257)}}})
		return err
	},
	func(h *hostileClient, c *kmiptest.Client) error { // signatures without a pause
		_, err := kmiptest.Do(c, &kmip.Sign, &core.SignInput{ID: core.ID(h.signs), Data: []byte("deed"), Parameters: &core.CryptographicParameters{
			PaddingMethod: core.PaddingMethodPKCS1V1_5, HashingAlgorithm: core.HashSHA256, CryptographicAlgorithm: core.AlgorithmRSA}})
		return err
	},
	func(h *hostileClient, c *kmiptest.Client) error { // messages of 1 MB
		names := make([][]byte, 0, 30_000)
		names = append(names, rawItem(core.TagUniqueIdentifier, core.KindTextString, []byte(h.large)))
		for i := range cap(names) - 1 {
			names = append(names, rawItem(core.TagAttributeName, core.KindTextString, []byte("x-"+strconv.Itoa(i))))
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

func pairOf(bits int32) *core.CreateKeyPairInput {
	return &core.CreateKeyPairInput{
		Common:  core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmRSA)}, {Tag: core.TagCryptographicLength, Value: core.Int(bits)}},
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}, {Tag: core.TagActivationDate, Value: core.Date(1)}, {Tag: core.TagExtractable, Value: core.Bool(false)}},
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
		if _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)}); err != nil {
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
	s.Issue(certs.Request{Name: "hostile", Tenant: "hostile", Groups: []string{"h"}})
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
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := rest.Get("https://" + s.HTTPS + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	out := map[string]float64{}
	for _, line := range strings.Split(string(b), "\n") {
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
