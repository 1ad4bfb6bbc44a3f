package hsm

import (
	"context"
	"errors"
	"fmt"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// class is what a PKCS#11 error means for who made the call.
type class uint8

const (
	callerFault  class = iota // parameters, data, a wrong signature
	policyFault               // the token forbids it
	goneFault                 // the handle is no more
	sessionFault              // the session is no more
	busyFault                 // no room just now
	deviceFault               // the token is away
)

var classes = map[p11.Error]class{
	p11.CKR_KEY_FUNCTION_NOT_PERMITTED: policyFault, p11.CKR_KEY_UNEXTRACTABLE: policyFault, p11.CKR_ATTRIBUTE_SENSITIVE: policyFault,
	p11.CKR_KEY_NOT_WRAPPABLE: policyFault, 0x1B: policyFault,
	p11.CKR_OBJECT_HANDLE_INVALID: goneFault, p11.CKR_KEY_HANDLE_INVALID: goneFault, p11.CKR_UNWRAPPING_KEY_HANDLE_INVALID: goneFault,
	p11.CKR_WRAPPING_KEY_HANDLE_INVALID: goneFault,
	p11.CKR_SESSION_HANDLE_INVALID:      sessionFault, p11.CKR_SESSION_CLOSED: sessionFault, p11.CKR_OPERATION_ACTIVE: sessionFault,
	p11.CKR_USER_NOT_LOGGED_IN: sessionFault, p11.CKR_OPERATION_NOT_INITIALIZED: sessionFault,
	p11.CKR_SESSION_COUNT: busyFault, p11.CKR_DEVICE_MEMORY: busyFault, p11.CKR_HOST_MEMORY: busyFault,
	p11.CKR_DEVICE_ERROR: deviceFault, p11.CKR_DEVICE_REMOVED: deviceFault, p11.CKR_TOKEN_NOT_PRESENT: deviceFault,
	p11.CKR_TOKEN_NOT_RECOGNIZED: deviceFault, p11.CKR_CRYPTOKI_NOT_INITIALIZED: deviceFault,
}

// classOf: what is ambiguous is the caller's once the probe has said so.
func classOf(err error) class {
	var e p11.Error
	if errors.As(err, &e) {
		return classes[e]
	}
	return callerFault
}

// ambiguous are what SoftHSM2 answers to corrupt data and to the loss of its
// files alike: a probe tells which it was.
var ambiguous = map[p11.Error]bool{p11.CKR_GENERAL_ERROR: true, p11.CKR_FUNCTION_FAILED: true}

// told makes an ambiguous error of a token that does not work the token's.
func (t *Token) told(err error) error {
	if e := p11.Error(0); errors.As(err, &e) && ambiguous[e] && !t.present() {
		return p11.Error(p11.CKR_DEVICE_ERROR)
	}
	return err
}

// vendorDefined is the first of the codes that only the token's maker can
// explain (CKR_VENDOR_DEFINED). They are not blamed on the client's data.
const vendorDefined p11.Error = 0x8000_0000

// coded gives an error of the token its code. Sentences name the call, never
// its data.
func coded(err error, doing string) error {
	if err == nil {
		return nil
	}
	var ours *core.Error
	if errors.As(err, &ours) {
		return err
	}
	if e := p11.Error(0); errors.As(err, &e) && e >= vendorDefined {
		return core.Wrap(core.TokenUnavailable, err, "the HSM answers an error of its maker's own when it is to %s; see its log", doing)
	}
	switch classOf(err) {
	case policyFault:
		return core.Wrap(core.PermissionDenied, err, "the HSM does not allow to %s with this key", doing)
	case busyFault:
		return core.Wrap(core.TokenUnavailable, err, "the HSM has no room to %s just now; try again", doing)
	case goneFault, sessionFault, deviceFault:
		return core.Wrap(core.TokenUnavailable, err, "the HSM is not there to %s; see its health", doing)
	}
	return core.Wrap(core.CryptographicFailure, err, "the HSM could not %s: key, parameters or data are wrong", doing)
}

// session takes an idle session or opens one. The caller has a place among the
// slots, of which there are as many as sessions.
func (t *Token) session() (*session, error) {
	select {
	case s := <-t.idle:
		return s, nil
	default:
	}
	h, err := t.lib.OpenSession(t.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		return nil, err
	}
	t.open.Add(1)
	s := &session{handle: h}
	t.calls.add(s)
	return s, nil
}

// release takes a session back; one that saw an error may be inside an
// operation, so it is closed.
func (t *Token) release(s *session, err error) {
	if err == nil {
		select {
		case t.idle <- s:
			return
		default:
		}
	}
	t.drop(s)
}

func (t *Token) drop(s *session) {
	t.calls.remove(s)
	t.lib.CloseSession(s.handle)
	t.open.Add(-1)
}

// do runs f on a session. A session or handle that has gone is replaced and f
// runs once more; a token that has gone is connected anew first. f must be
// repeatable, and must ask for handles each time: they change.
func (t *Token) do(ctx context.Context, doing string, f func(s p11.SessionHandle) error) error {
	err := t.once(ctx, f)
	if err != nil && t.mend(err) {
		err = t.once(ctx, f)
	}
	return coded(err, doing)
}

// attempt runs f on a session once: for what leaves something behind in the
// token, of which a second try would make two.
func (t *Token) attempt(ctx context.Context, doing string, f func(s p11.SessionHandle) error) error {
	err := t.once(ctx, f)
	if err != nil {
		t.mend(err)
	}
	return coded(err, doing)
}

// making is how what makes a key is run: one that stays in the token is never
// made a second time after an error that leaves open whether it is there. Its
// intent is, and the reconciler comes by.
func (t *Token) making(m core.Mode) func(context.Context, string, func(p11.SessionHandle) error) error {
	if m == core.ModeResident {
		return t.attempt
	}
	return t.do
}

// attemptWith is attempt with a handle of k.
func (t *Token) attemptWith(ctx context.Context, k core.Key, doing string, f func(p11.SessionHandle, p11.ObjectHandle) error) error {
	v, err := t.use(ctx, k)
	if err != nil {
		return err
	}
	defer t.handles.unpin(v)
	return t.attempt(ctx, doing, t.holding(v, f))
}

// holding runs f with a handle, if the library was not started anew since the
// handle was got: its number may be another key's then.
func (t *Token) holding(v *handle, f func(p11.SessionHandle, p11.ObjectHandle) error) func(p11.SessionHandle) error {
	return func(s p11.SessionHandle) error {
		if v.start != t.starts.Load() {
			return p11.Error(p11.CKR_KEY_HANDLE_INVALID)
		}
		return f(s, v.object)
	}
}

// with runs f on a session with a handle of k, as do does.
func (t *Token) with(ctx context.Context, k core.Key, doing string, f func(s p11.SessionHandle, key p11.ObjectHandle) error) error {
	once := func() error {
		v, err := t.use(ctx, k)
		if err != nil {
			return err
		}
		defer t.handles.unpin(v)
		return t.once(ctx, t.holding(v, f))
	}
	err := once()
	if err != nil && t.mend(err) {
		err = once()
	}
	return coded(err, doing)
}

// mend does what an error asks for before the call is made again, and tells
// whether that makes sense.
func (t *Token) mend(err error) bool {
	switch classOf(err) {
	case goneFault:
		t.handles.forgetAll()
		if t.life.share(t.cfg.Wait) != nil {
			return false
		}
		reloaded := t.lib != nil && t.reloadTenants() == nil
		t.life.leave()
		return reloaded || t.reconnect() == nil
	case sessionFault, deviceFault:
		return t.reconnect() == nil
	}
	return false
}

// once runs f on a session, once. A caller waits for its session before it counts
// as a call under way: a reconnect waits for calls, and need not wait for a queue.
func (t *Token) once(ctx context.Context, f func(s p11.SessionHandle) error) (err error) {
	if err := t.hangs(); err != nil {
		return err
	}
	lease, err := t.slots.Acquire(ctx)
	if err != nil {
		return t.busyOrStuck(err)
	}
	defer lease.Release() // when the session is back
	if !t.computesHere {
		defer fair.Waits(ctx).Over()
	}
	if err := t.life.share(t.cfg.Wait); err != nil {
		return err
	}
	defer t.life.leave()
	if t.lib == nil {
		return core.Errorf(core.TokenUnavailable, "the HSM has been closed")
	}
	if t.broken.Load() {
		return p11.Error(p11.CKR_TOKEN_NOT_PRESENT)
	}
	s, err := t.session()
	if err != nil {
		return err
	}
	s.began.Store(time.Now().UnixNano())
	t.inUse.Add(1)
	defer func() {
		// The binding panics on some empty inputs; that must not stop the server.
		if p := recover(); p != nil {
			err = fmt.Errorf("the PKCS#11 binding panicked: %v", p)
		}
		s.began.Store(0)
		t.inUse.Add(-1)
		t.release(s, err)
	}()
	return t.busyOrStuck(t.told(f(s.handle)))
}

// reconnectEvery is how long a connect that failed is not tried again.
const reconnectEvery = 250 * time.Millisecond

// reconnect brings a lost token back: when a probe on a fresh session works,
// the session alone was ill; else the library is finalized, with no call under
// way, and started anew. Until that has worked to the end the token is broken,
// and whoever calls comes by here first.
func (t *Token) reconnect() error {
	t.fix.Lock()
	defer t.fix.Unlock()
	if t.broken.Load() && time.Since(t.tried) < reconnectEvery {
		return t.trouble
	}
	if n := t.calls.count(t.cfg.Stuck); n > 0 { // waiting for them would keep all others out
		return core.Errorf(core.TokenUnavailable, "the connection to the HSM cannot be made again: %d calls have not come back for over %v; if they stay, restart keyreeve", n, t.cfg.Stuck)
	}
	if err := t.life.alone(t.cfg.Wait); err != nil {
		return err
	}
	defer t.life.over()
	if t.lib == nil {
		return core.Errorf(core.TokenUnavailable, "the HSM has been closed")
	}
	t.drainIdle()
	if !t.broken.Load() && t.alive() {
		return nil
	}
	return t.restart()
}

// restart finalizes the library and connects anew, with no call under way.
func (t *Token) restart() error {
	if !t.broken.Load() {
		t.cfg.Log.Warn("reconnect token", "label", t.cfg.Label)
	}
	t.broken.Store(true)
	t.starts.Add(1)
	t.root.Store(0)
	t.handles.dropAll()
	t.lib.Finalize()
	err := t.connect()
	if err == nil {
		err = t.reloadTenants()
	}
	t.tried = time.Now()
	t.report(err)
	t.broken.Store(err != nil)
	return err
}

// report logs why the token cannot be connected, once for each cause, and that
// it is there again.
func (t *Token) report(err error) {
	was := t.trouble
	t.trouble = err
	t.problem.Store(nil)
	if err == nil {
		t.cfg.Log.Info("token connected", "label", t.cfg.Label)
		return
	}
	text := err.Error()
	t.problem.Store(&text)
	if was == nil || was.Error() != text {
		t.cfg.Log.Error("reconnect token", "label", t.cfg.Label, "error", err)
	}
}

// drainIdle closes the pool's sessions that nobody uses.
func (t *Token) drainIdle() {
	for {
		select {
		case s := <-t.idle:
			t.drop(s)
		default:
			return
		}
	}
}

// alive tries the keeper's login, and the token on a fresh session.
func (t *Token) alive() bool {
	info, err := t.lib.GetSessionInfo(t.keeper)
	return err == nil && info.State == p11.CKS_RW_USER_FUNCTIONS && t.present()
}

// present tries the token on a fresh session. One that has no more of them just
// now is there.
func (t *Token) present() bool {
	s, err := t.lib.OpenSession(t.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	if err != nil {
		return classOf(err) == busyFault
	}
	defer t.lib.CloseSession(s)
	return t.works(s) == nil
}

// works tries a real operation, and one with a key that the token keeps: a token
// whose files have gone still makes random numbers.
func (t *Token) works(s p11.SessionHandle) error {
	if _, err := t.lib.GenerateRandom(s, 16); err != nil {
		return err
	}
	root := p11.ObjectHandle(t.root.Load())
	if root == 0 {
		return nil // no tenant yet
	}
	if err := t.lib.SignInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA256_HMAC, nil)}, root); err != nil {
		return err
	}
	_, err := t.lib.Sign(s, []byte("keyreeve probe"))
	return err
}

// Health tells the state of the token by real operations.
func (t *Token) Health(ctx context.Context) core.HSMHealth {
	h := core.HSMHealth{Label: t.cfg.Label, Serial: t.info.SerialNumber, Module: t.cfg.Module, Refusals: t.refusals,
		Sessions: int(t.open.Load()), InUse: int(t.inUse.Load()), Stuck: t.calls.count(t.cfg.Stuck), CachedHandles: t.handles.count(), CachedCopies: t.copies.count(), Waiting: t.slots.Usage().Waiting}
	err := t.do(ctx, "be tried", t.works)
	if h.Ready = err == nil; err != nil {
		h.Problem = err.Error()
		if why := t.problem.Load(); why != nil { // rather than that it is not there
			h.Problem = *why
		}
	}
	return h
}
