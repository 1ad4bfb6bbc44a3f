package hsm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// DefaultSessions is the number of logged-in sessions where none is asked for.
const DefaultSessions = 8

// Config names one token and says how to use it.
type Config struct {
	Module string // path of the PKCS#11 library
	Label  string // token label
	Serial string // token serial number; "" if only one token has the label
	PIN    func() (string, error)

	Sessions      int           // logged-in sessions in the pool; 0: DefaultSessions
	Wait          time.Duration // for a session, or the token's lock; 0: 5 s
	Stuck         time.Duration // a call that lasts longer hangs; 0: 10 s
	Handles       int           // unwrapped keys kept in the token; 0: 4096
	HandleTTL     time.Duration // 0: 10 min
	Copies        int           // class C keys kept in locked memory; 0: 8192, negative: none
	CopyTTL       time.Duration // 0: 60 s, negative: none
	AllowSoftware bool          // class C keys may be used in Go where the token lacks the mechanism: ChaCha20, Ed25519
	UnwrapPKCS1   bool          // keys wrapped by PKCS#1 v1.5 are unwrapped, by RSA keys for Unwrap Key alone
	Log           *slog.Logger
}

func (c Config) withDefaults() Config {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.Sessions, DefaultSessions)
	set(&c.Handles, 4096)
	set(&c.Copies, 8192)
	for _, d := range []struct {
		p *time.Duration
		v time.Duration
	}{{&c.Wait, 5 * time.Second}, {&c.Stuck, 10 * time.Second}, {&c.HandleTTL, 10 * time.Minute}, {&c.CopyTTL, time.Minute}} {
		if *d.p == 0 {
			*d.p = d.v
		}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

// Token is one member. It implements core.HSM.
type Token struct {
	cfg   Config
	lib   *p11.Ctx
	glue  *glue
	mechs map[uint]p11.MechanismInfo

	oracle pkcs1Oracle
	ivs    ivs

	life  life  // held alone while the library is finalized: a call then is a crash
	admin *turn // one create, destroy, find or unwrap at a time (SoftHSM races)

	fix          sync.Mutex             // one reconnect at a time
	broken       atomic.Bool            // finalized, or not connected to the end
	starts       atomic.Uint64          // of the library: a handle is a number of one of them, and another object's in the next
	tried        time.Time              // when connecting failed last
	trouble      error                  // and why
	problem      atomic.Pointer[string] // the same for who does not hold fix
	root         atomic.Uint64          // handle of a key that the token keeps, to probe it with; 0: none yet
	slot         uint
	info         p11.TokenInfo
	computesHere bool              // the token is software: its calls use this process's processors
	keeper       p11.SessionHandle // logged in, owns the unwrapped keys
	slots        *fair.Slots       // who may have a session
	long         *fair.Slots       // who may have one for a call of seconds
	idle         chan *session
	open         atomic.Int64 // sessions of the pool
	calls        calls        // under way
	inUse        atomic.Int64
	finds        atomic.Int64 // C_FindObjects calls

	tenantsMu sync.RWMutex
	tenants   map[string]*tenant
	known     map[string][]core.KeySet // to load again after a reconnect

	installation string // set once, by OpenInstallation, before anything is served
	inPlace      bool   // keys of sets are made in the token, not copied into it: see generateKey

	doubts   doubts
	reads    reads
	handles  *handles
	copies   *copies
	refusals []string
	refused  refusedPIN    // never tried again by ourselves
	stop     chan struct{} // ends the sweeper
}

var (
	_ core.HSM    = (*Token)(nil)
	_ core.Sealer = (*Token)(nil)
)

// Open loads the library, finds the token, logs in once and runs the self-test.
func Open(ctx context.Context, cfg Config) (*Token, error) {
	cfg = cfg.withDefaults()
	t, err := loadLibrary(cfg)
	if err != nil {
		return nil, err
	}
	if err := t.connect(); err != nil {
		t.lib.Finalize()
		t.lib.Destroy()
		return nil, err
	}
	calls := t.callsAtOnce()
	t.computesHere = strings.HasPrefix(t.info.ManufacturerID, "SoftHSM")
	t.slots, t.long = newSessionSlots(calls, cfg.Wait), newLongSlots(calls)
	t.handles = newHandles(t, cfg.Handles, cfg.HandleTTL)
	if t.copies, err = newCopies(cfg.Copies, cfg.CopyTTL); err != nil {
		t.refusals = append(t.refusals, "class C keys are not kept in memory: "+err.Error())
	}
	if !freedIsZeroed() {
		t.refusals = append(t.refusals, "C memory that is freed is not zeroed on this platform: a token that is software leaves copies of keys there")
	}
	if err := t.selfTest(ctx); err != nil {
		t.Close(ctx)
		return nil, err
	}
	go t.sweep(t.stop)
	return t, nil
}

// loadLibrary loads the library of a token and calls nothing in it.
func loadLibrary(cfg Config) (*Token, error) {
	t := &Token{cfg: cfg, tenants: map[string]*tenant{}, known: map[string][]core.KeySet{}, stop: make(chan struct{}), admin: newTurn(cfg.Wait)}
	if t.lib = p11.New(cfg.Module); t.lib == nil {
		return nil, core.Errorf(core.TokenUnavailable, "the PKCS#11 library %s cannot be loaded; see hsm.module (for SoftHSM2 install the package softhsm2)", cfg.Module)
	}
	var err error
	if t.glue, err = loadGlue(cfg.Module); err != nil {
		return nil, core.Wrap(core.TokenUnavailable, err, "the PKCS#11 library cannot be used; see hsm.module")
	}
	return t, nil
}

// initialize starts the library, and reports false if this process has it
// started already.
func (t *Token) initialize() (started bool, err error) {
	err = t.lib.Initialize()
	if errors.Is(err, p11.Error(p11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return false, nil
	}
	if err != nil {
		return false, core.Wrap(core.TokenUnavailable, err, "the PKCS#11 library %s does not start; see its own configuration (SoftHSM2: SOFTHSM2_CONF)", t.cfg.Module)
	}
	return true, nil
}

// connect initializes the library, finds the token and logs in.
func (t *Token) connect() error {
	if _, err := t.initialize(); err != nil {
		return err
	}
	if err := t.findSlot(); err != nil {
		return err
	}
	var err error
	if t.keeper, err = t.lib.OpenSession(t.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION); err != nil {
		return core.Wrap(core.TokenUnavailable, err, "token %q opens no session", t.cfg.Label)
	}
	if err := t.sameToken(); err != nil {
		return err
	}
	if err := t.login(); err != nil {
		return err
	}
	t.idle = make(chan *session, t.cfg.Sessions)
	t.open.Store(0)
	return t.probe()
}

// findSlot finds the token by label and serial: slot numbers change. Without a
// serial there must be only one of the label, since no PIN is tried on a token
// that was not meant. After the first time the serial is that of the first time.
func (t *Token) findSlot() error {
	slots, err := t.lib.GetSlotList(true)
	if err != nil {
		return core.Wrap(core.TokenUnavailable, err, "the PKCS#11 library lists no slots")
	}
	serial := cmp.Or(t.cfg.Serial, t.info.SerialNumber)
	var there, serials []string
	for _, s := range slots {
		info, err := t.lib.GetTokenInfo(s)
		switch {
		case err != nil:
		case info.Flags&p11.CKF_TOKEN_INITIALIZED == 0:
			there = append(there, "one that is not initialised")
		case info.Label == t.cfg.Label && (serial == "" || info.SerialNumber == serial):
			t.slot, t.info = s, info
			serials = append(serials, info.SerialNumber)
		default:
			there = append(there, fmt.Sprintf("%q with serial %s", info.Label, info.SerialNumber))
		}
	}
	switch len(serials) {
	case 0:
		return t.noToken(serial, there)
	case 1:
		return nil
	}
	t.info = p11.TokenInfo{}
	return core.Errorf(core.TokenUnavailable, "%d tokens are labelled %q, with the serials %s; set hsm.serial to the one that is meant. No PIN was tried", len(serials), t.cfg.Label, strings.Join(serials, " and "))
}

// sameToken refuses a slot whose token was exchanged after it was found.
func (t *Token) sameToken() error {
	info, err := t.lib.GetTokenInfo(t.slot)
	if err != nil {
		return core.Wrap(core.TokenUnavailable, err, "token %q cannot be looked at again; no PIN was tried", t.cfg.Label)
	}
	if info.Label != t.info.Label || info.SerialNumber != t.info.SerialNumber {
		return core.Errorf(core.TokenUnavailable, "the token in slot %d is %q with serial %s now, not %q with serial %s; no PIN was tried", t.slot, info.Label, info.SerialNumber, t.info.Label, t.info.SerialNumber)
	}
	return nil
}

// noToken says which token was looked for, and which are there instead.
func (t *Token) noToken(serial string, there []string) error {
	asked, see := fmt.Sprintf("%q", t.cfg.Label), "hsm.token"
	if serial != "" {
		asked, see = asked+" with serial "+serial, "hsm.token and hsm.serial"
	}
	if there == nil {
		there = []string{"none"}
	}
	return core.Errorf(core.TokenUnavailable, "no token is labelled %s; there is: %s; see %s, and the configuration of %s", asked, strings.Join(there, ", "), see, t.cfg.Module)
}

// probe asks what the token can do.
func (t *Token) probe() error {
	list, err := t.lib.GetMechanismList(t.slot)
	if err != nil {
		return core.Wrap(core.TokenUnavailable, err, "token %q lists no mechanisms", t.cfg.Label)
	}
	mechs := make(map[uint]p11.MechanismInfo, len(list))
	for _, m := range list {
		if info, err := t.lib.GetMechanismInfo(t.slot, []*p11.Mechanism{m}); err == nil {
			mechs[m.Mechanism] = info
		}
	}
	t.mechs = mechs
	return nil
}

// has reports whether the token has a mechanism for a use (CKF_ENCRYPT ...).
func (t *Token) has(mechanism, use uint) bool {
	info, ok := t.mechs[mechanism]
	return ok && info.Flags&use != 0
}

// Close waits for calls under way, within a bound, then logs out and unloads.
// A library that hangs in a call is left as it is: the process ends anyway.
func (t *Token) Close(context.Context) error {
	if err := t.life.alone(t.cfg.Stuck); err != nil {
		return err
	}
	defer t.life.over()
	if t.lib == nil {
		return nil
	}
	close(t.stop)
	t.copies.close()
	t.lib.Finalize()
	t.lib.Destroy()
	t.lib = nil
	return nil
}
