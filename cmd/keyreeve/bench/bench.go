// Package bench measures the throughput and latency of a development server,
// beside limits that it measures in the same run. Start at [Command].
package bench

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

// Command measures a closed loop of requests over TLS, beside limits measured in the
// same run: L1 a TLS echo of the same bytes, L2 the raw PKCS#11 calls, L3 an echo
// that also commits a record in groups before it answers; and for create an echo
// that stores the rows of a Create and does nothing else. Get is also measured under four key
// policies and by a password, beside a usual Get right before it. Requests of the REST door are
// measured in rounds, beside bare HTTPS servers and the same requests of the KMIP door.
type Command struct {
	Self        bool          `help:"Start a fresh development server to measure; else --dir names a running one."`
	Dir         string        `help:"Folder of a running development server." type:"path"`
	KMIP        string        `name:"kmip" help:"Its KMIP address." default:"127.0.0.1:5696"`
	HTTP        string        `name:"http" help:"Its REST address." default:"127.0.0.1:8443"`
	Operation   []string      `short:"o" help:"Of KMIP: get, create, locate, encrypt, sign, discover. Of REST: rest-read, rest-encrypt, rest-decrypt, rest-create, rest-data-keys. Left out: all of them."`
	Connections []int         `short:"c" help:"Numbers of connections." default:"1,16,64"`
	Duration    time.Duration `short:"d" help:"Of each measurement." default:"5s"`
	Version     string        `help:"KMIP version." default:"1.4"`
	Objects     []int         `help:"Numbers of objects with names of their own, for locate." default:"1000"`
	Idle        int           `help:"Idle connections to measure the memory of; needs --self." default:"2000"`
	Limits      bool          `help:"Measure L1, L2, L3 and a bare insert too." default:"true" negatable:""`
}

// operations are the requests of the KMIP door that can be asked for.
var operations = []string{"get", "encrypt", "create", "locate", "sign", "discover"}

type result struct {
	ops      float64 // a second
	p50, p99 time.Duration
}

// limit names what was measured, for the ratios of later measurements.
type limit struct {
	name        string
	connections int
}

func (r result) String() string {
	return fmt.Sprintf("%9.0f ops/s  p50 %8s  p99 %8s", r.ops, r.p50.Round(time.Microsecond), r.p99.Round(time.Microsecond))
}

// Run measures and prints a line for each measurement.
func (c *Command) Run() error {
	v, ok := map[string]core.Version{"1.0": core.V1_0, "1.1": core.V1_1, "1.2": core.V1_2, "1.3": core.V1_3, "1.4": core.V1_4, "2.0": core.V2_0, "2.1": core.V2_1}[c.Version]
	if !ok {
		return fmt.Errorf("--version %s is not supported; use 1.0 to 1.4, 2.0 or 2.1", c.Version)
	}
	b := &bench{Command: c, version: v, limits: map[limit]result{}}
	slices.Sort(c.Objects)
	if len(c.Operation) == 0 {
		c.Operation = slices.Clone(operations)
		for _, r := range restRequests {
			c.Operation = append(c.Operation, r.name)
		}
	}
	if err := c.checkFlags(); err != nil { // before minutes are spent
		return err
	}
	defer b.stopAll()
	if c.Self {
		if err := b.startMeasured(); err != nil {
			return err
		}
	} else if c.Dir == "" {
		return errors.New("bench needs --self, or --dir of a running development server")
	} else if _, err := os.Stat(filepath.Join(c.Dir, "certs", "dev.pem")); err != nil {
		return fmt.Errorf("%s is not the folder of a development server: it has no certs/dev.pem; give --dir the folder of keyreeve serve --dev, or give --self", c.Dir)
	}
	fmt.Printf("%s, %d CPUs, %v a measurement, KMIP %s; client and server share the machine\n", runtime.Version(), runtime.NumCPU(), c.Duration, c.Version)
	return b.measureAll()
}

func (c *Command) checkFlags() error {
	for _, op := range c.Operation {
		if !slices.Contains(operations, op) && restRequestNamed(op) == nil {
			return fmt.Errorf("--operation %s is unknown; keyreeve bench --help lists them", op)
		}
	}
	for _, n := range append(slices.Clone(c.Objects), c.Connections...) {
		if n < 1 {
			return errors.New("--objects and --connections take numbers from 1")
		}
	}
	if len(c.Objects) == 0 || len(c.Connections) == 0 || c.Duration <= 0 {
		return errors.New("--objects, --connections and --duration must not be empty")
	}
	return nil
}

// bench is one run.
type bench struct {
	*Command
	version core.Version
	certs   string
	temp    string
	procs   []*exec.Cmd
	limits  map[limit]result
	made    int    // objects with names so far
	key     string // an AES key of class C that may encrypt
	signer  string // a P-256 private key
	rest    restKey
	sealed  operation.EncryptOutput // by the key, of 1 KiB

	options kmip.RequestOptions // of every request
}

func (b *bench) stopAll() {
	for len(b.procs) > 0 {
		b.stopLast()
	}
	if b.temp != "" {
		os.RemoveAll(b.temp)
	}
}

// startMeasured starts a server on the disk, so that its syncs are real ones.
func (b *bench) startMeasured() (err error) {
	if b.temp, err = os.MkdirTemp("", "keyreeve-bench-"); err != nil {
		return err
	}
	b.Dir = filepath.Join(b.temp, "dev")
	b.KMIP, b.HTTP, err = b.startServer(b.Dir)
	return err
}

// startServer returns the addresses of its doors.
func (b *bench) startServer(dir string, env ...string) (kmip, https string, err error) {
	line, err := b.startProcess(env, "serve", "--dev", "--dir", dir, "--kmip", "127.0.0.1:0", "--http", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	if n, err := fmt.Sscanf(line, "ready kmip=%s https=%s", &kmip, &https); n != 2 {
		return "", "", fmt.Errorf("serve printed %q: %w", line, err)
	}
	return kmip, https, nil
}

// stopLast ends the process that was started last.
func (b *bench) stopLast() {
	p := b.procs[len(b.procs)-1]
	b.procs = b.procs[:len(b.procs)-1]
	p.Process.Signal(syscall.SIGTERM)
	p.Wait()
}

// startProcess starts this program again and returns the first line it prints.
func (b *bench) startProcess(env []string, args ...string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	b.procs = append(b.procs, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%s did not start", args[0])
	}
	return strings.TrimSpace(line), nil
}

func (b *bench) measureAll() error {
	b.certs = filepath.Join(b.Dir, "certs")
	if err := b.prepare(); err != nil {
		return err
	}
	if err := b.measureIdle(); err != nil { // first: load leaves memory that it would find room in
		return err
	}
	if b.Limits {
		if err := b.measureLimits(); err != nil {
			return err
		}
	}
	for _, op := range b.Operation {
		if op == "locate" || restRequestNamed(op) != nil {
			continue // locate is last: its objects would be in the others' way
		}
		if err := b.measure(op, op); err != nil {
			return err
		}
	}
	if err := b.measureREST(); err != nil {
		return err
	}
	if b.Self && slices.Contains(b.Operation, "get") {
		if err := b.measureCallers(); err != nil {
			return err
		}
	}
	if b.Self && b.Limits && slices.Contains(b.Operation, "get") {
		if err := b.measureUncached(); err != nil {
			return err
		}
	}
	if !slices.Contains(b.Operation, "locate") {
		return nil
	}
	return b.measureLocate()
}

// measure runs one operation on each number of connections.
func (b *bench) measure(op, as string) error {
	for _, n := range b.Connections {
		r, err := b.runOperation(op, b.KMIP, n)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		fmt.Printf("%-16s c=%-4d %v%s\n", as, n, r, b.describeRatios(as, n, r))
		b.limits[limit{as, n}] = r
	}
	return nil
}

// measureLocate looks for one object by its name among more and more.
func (b *bench) measureLocate() error {
	for _, n := range b.Objects {
		if err := b.makeObjects(n); err != nil {
			return err
		}
		if err := b.measure("locate", fmt.Sprint("locate in ", n)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) describeRatios(as string, n int, r result) string {
	s := ""
	if few, ok := b.limits[limit{fmt.Sprint("locate in ", b.Objects[0]), n}]; ok && strings.HasPrefix(as, "locate") {
		s += fmt.Sprintf("  p99 %.1f of that in %d", float64(r.p99)/float64(few.p99), b.Objects[0])
	}
	if bare, ok := b.limits[limit{"insert", n}]; ok && as == "create" {
		s += fmt.Sprintf("  p99 %.1f of a bare insert's", float64(r.p99)/float64(bare.p99))
	}
	for _, l := range []string{"L1", "L3"} {
		if lim, ok := b.limits[limit{l, n}]; ok {
			s += fmt.Sprintf("  %.2f of %s", r.ops/lim.ops, l)
		}
	}
	if sync, ok := b.limits[limit{"sync", 1}]; ok && n == 1 {
		l1 := b.limits[limit{"L1", 1}]
		s += fmt.Sprintf("  p50 = L1 + %.1f syncs", float64(r.p50-l1.p50)/float64(sync.p50))
	}
	return s
}

// prepare makes the keys that the operations need.
func (b *bench) prepare() error {
	c, err := b.dialClient(b.KMIP)
	if err != nil {
		return err
	}
	defer c.Close()
	active := activeSince(time.Now())
	made, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt|core.MaskDecrypt, active))
	if err != nil {
		return err
	}
	b.key = made.ID
	alg := core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}, active}
	pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, &operation.CreateKeyPairInput{Common: alg,
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}}, Public: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}})
	if err != nil {
		return err
	}
	b.signer = pair.PrivateID
	return nil
}

// makeObjects makes named objects on several connections, until there are n, and
// prints its progress.
func (b *bench) makeObjects(n int) error {
	const makers = 16
	var wg sync.WaitGroup
	errs := make([]error, makers)
	for w := range makers {
		wg.Go(func() { errs[w] = b.makeObjectsFrom(b.made+w, n, makers) })
	}
	wg.Wait()
	b.made = n
	return errors.Join(errs...)
}

func (b *bench) makeObjectsFrom(first, n, step int) error {
	c, err := b.dialClient(b.KMIP)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := first; i < n; i += step {
		if _, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(128, core.MaskEncrypt, kmiptest.Name(fmt.Sprint("bench-", i)))); err != nil {
			return err
		}
		if i > 0 && i%10_000 == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d objects made\n", i, n)
		}
	}
	return nil
}

func (b *bench) dialClient(addr string) (*kmiptest.Client, error) {
	cfg, err := kmiptest.Config(b.certs, "dev")
	if err != nil {
		return nil, err
	}
	return kmiptest.Dial(addr, cfg, b.version)
}

// requestOf makes the request of an operation, which is sent again and again.
func (b *bench) requestOf(op string) ([]byte, error) {
	return kmip.AppendRequest(nil, b.version, b.options, b.itemsOf(op)...)
}

// gcm has the token make the IV.
var gcm = core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}

func (b *bench) itemsOf(op string) []kmip.ClientItem {
	encrypt := func(data []byte) kmip.ClientItem {
		return kmiptest.Item(&kmip.Encrypt, &operation.EncryptInput{ID: core.ID(b.key), Data: data, Parameters: &gcm})
	}
	var item kmip.ClientItem
	switch op {
	case "get":
		item = kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID(b.key)})
	case "encrypt":
		item = encrypt(make([]byte, 1024))
	case "sign":
		item = kmiptest.Item(&kmip.Sign, &operation.SignInput{ID: core.ID(b.signer), Data: make([]byte, 64)})
	case "create":
		item = kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt|core.MaskDecrypt))
	case "locate":
		item = kmiptest.Item(&kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{kmiptest.Name(fmt.Sprint("bench-", b.made/2))}})
	case "discover":
		item = kmiptest.Item(&kmip.DiscoverVersions, &operation.DiscoverVersionsInput{})

	// the others are beside requests of the REST door
	case "get attributes":
		item = kmiptest.Item(&kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(b.key)})
	case "decrypt":
		item = kmiptest.Item(&kmip.Decrypt, &operation.DecryptInput{ID: core.ID(b.key), Data: b.sealed.Data, IV: b.sealed.IV, Tag: b.sealed.Tag, Parameters: &gcm})
	case "create active":
		item = kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt|core.MaskDecrypt, activeSince(time.Now())))
	case "random, encrypt":
		return []kmip.ClientItem{kmiptest.Item(&kmip.RNGRetrieve, &operation.RNGRetrieveInput{Length: 32}), encrypt(make([]byte, 32))}
	}
	return []kmip.ClientItem{item}
}

// activeSince makes a new object Active.
func activeSince(t time.Time) core.Attribute {
	return core.Attribute{Tag: core.TagActivationDate, Value: core.Date(t.Unix() - 1)}
}

func (b *bench) runOperation(op, addr string, n int) (result, error) {
	msg, err := b.requestOf(op)
	if err != nil {
		return result{}, err
	}
	return b.runLoop(b.dialKMIP(addr), n, msg, func(answer []byte) error {
		r, err := kmip.ParseResponse(answer)
		if err != nil {
			return err
		}
		for _, i := range r.Items {
			if i.Status != core.StatusSuccess {
				return fmt.Errorf("the server answers %v: %s", i.Reason, i.Message)
			}
		}
		return nil
	})
}

// exchanger is a connection with one request at a time.
type exchanger interface {
	Send(request []byte) (answer []byte, err error) // the answer is valid until the next call
	Close() error
}

// dialKMIP returns a function that connects to a KMIP door, or to an echo.
func (b *bench) dialKMIP(addr string) func() (exchanger, error) {
	return func() (exchanger, error) { return b.dialClient(addr) }
}

// runLoop sends msg on n connections for the duration, each waiting for its
// answer. The first answer of each connection is checked and not counted.
func (b *bench) runLoop(dial func() (exchanger, error), n int, msg []byte, check func([]byte) error) (result, error) {
	clients := make([]exchanger, n)
	for i := range clients {
		c, err := dial()
		if err != nil {
			return result{}, err
		}
		defer c.Close()
		clients[i] = c
		answer, err := c.Send(msg)
		if err == nil && check != nil {
			err = check(answer)
		}
		if err != nil {
			return result{}, err
		}
	}
	times := make([][]time.Duration, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	began := time.Now()
	for i, c := range clients {
		wg.Go(func() {
			for last := began; last.Sub(began) < b.Duration; {
				if _, errs[i] = c.Send(msg); errs[i] != nil {
					return
				}
				now := time.Now()
				times[i] = append(times[i], now.Sub(last))
				last = now
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	all := slices.Concat(times...)
	slices.Sort(all)
	if err := errors.Join(errs...); err != nil {
		return result{}, fmt.Errorf("the connection broke: %w", err)
	}
	return result{float64(len(all)) / took.Seconds(), all[len(all)/2], all[len(all)*99/100]}, nil
}
