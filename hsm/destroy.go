package hsm

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// doubts are the token objects that the module failed to destroy. SoftHSM2 drops
// such an object from its memory while the file stays: "not found" says nothing
// of it until the library is started again and has read its files. Safe for
// concurrent use.
type doubts struct {
	mu    sync.Mutex
	since map[string]uint64 // label -> start of the library in which it failed
	next  time.Time         // before this the library is not started for a look
	wait  time.Duration     // after the next look
}

// Bounds of starting the library again only to look: it stops all calls for a
// moment and drops all handles.
const (
	firstLook = time.Minute
	lastLook  = time.Hour
)

func (d *doubts) note(label string, start uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since == nil {
		d.since = map[string]uint64{}
	}
	d.since[label] = start
}

func (d *doubts) clear(label string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.since, label)
	if len(d.since) == 0 {
		d.wait = 0
	}
}

// has reports whether the module failed to destroy the object since it last read
// its objects.
func (d *doubts) has(label string, start uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	since, ok := d.since[label]
	return ok && since == start
}

// mayLook reports whether it is time for another look, and if so plans the next.
func (d *doubts) mayLook(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Before(d.next) {
		return false
	}
	d.wait = min(max(2*d.wait, firstLook), lastLook)
	d.next = now.Add(d.wait)
	return true
}

// errDoubt says that an object was not found by a module that is not believed.
var errDoubt = errors.New("not found by a module that failed to destroy it")

// DestroyObject implements [core.HSM].
func (t *Token) DestroyObject(ctx context.Context, o core.TokenObject) error {
	if err := t.serves(); err != nil {
		return err
	}
	label := t.ObjectLabel(o.Tenant, o.ID)
	err := t.destroyLabelled(ctx, o, label)
	if errors.Is(err, errDoubt) && t.doubts.mayLook(time.Now()) {
		if err = t.readObjectsAgain(); err == nil {
			err = t.destroyLabelled(ctx, o, label)
		}
	}
	switch {
	case err == nil:
		t.doubts.clear(label)
	case errors.Is(err, errDoubt) || core.CodeOf(err) == core.CryptographicFailure:
		err = core.Wrap(core.TokenUnavailable, err, "the HSM did not remove the token object of key %q, or cannot show that it did; it is tried again. Look at the room and the permissions that the HSM has for its objects", o.ID)
	}
	return err
}

// destroyLabelled destroys what has both label and CKA_ID, and looks again. It
// notes before the call that the outcome is in doubt: the call may not come back.
func (t *Token) destroyLabelled(ctx context.Context, o core.TokenObject, label string) error {
	return t.do(ctx, "destroy a token object", func(s p11.SessionHandle) error {
		if err := t.admin.take(t.cfg.Wait); err != nil {
			return err
		}
		defer t.admin.give()
		is := []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, o.Token), p11.NewAttribute(p11.CKA_LABEL, label)}
		found, err := t.find(s, is...)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			if t.doubts.has(label, t.starts.Load()) {
				return errDoubt
			}
			return nil
		}
		for _, h := range found {
			if err := t.isObject(s, h); err != nil {
				return err
			}
			t.doubts.note(label, t.starts.Load())
			if err := t.lib.DestroyObject(s, h); err != nil {
				return err
			}
		}
		if found, err = t.find(s, is...); err == nil && len(found) > 0 {
			err = p11.Error(p11.CKR_FUNCTION_FAILED) // it says that it did
		}
		return err
	})
}

// readObjectsAgain starts the library again, with no call under way, so that it
// reads the token's objects.
func (t *Token) readObjectsAgain() error {
	t.fix.Lock()
	defer t.fix.Unlock()
	if n := t.calls.count(t.cfg.Stuck); n > 0 {
		return core.Errorf(core.TokenUnavailable, "the HSM cannot be looked at afresh: %d calls have not come back for over %v", n, t.cfg.Stuck)
	}
	if err := t.life.alone(t.cfg.Wait); err != nil {
		return err
	}
	defer t.life.over()
	if t.lib == nil {
		return core.Errorf(core.TokenUnavailable, "the HSM has been closed")
	}
	t.drainIdle()
	return t.restart()
}

// isObject refuses everything but a resident object of this installation.
func (t *Token) isObject(s p11.SessionHandle, h p11.ObjectHandle) error {
	as, err := t.lib.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_LABEL, nil)})
	if err != nil {
		return err
	}
	if t.installation == "" || !strings.HasPrefix(string(as[0].Value), objectLabels(t.installation)) {
		return core.Errorf(core.PermissionDenied, "the token object with the label %q is no object of a client of this installation, so it is not destroyed", as[0].Value)
	}
	return nil
}

// ObjectLabel implements [core.HSM].
func (t *Token) ObjectLabel(tenant, id string) string {
	return objectLabel(t.installation, tenant, id)
}

// objectOf reads the label of a resident object of an installation.
func objectOf(installation, label string) (o core.TokenObject, ok bool) {
	rest, ok := strings.CutPrefix(label, objectLabels(installation))
	tenant, id, _ := strings.Cut(rest, "/")
	var err, err2 error
	o.Tenant, err = url.PathUnescape(tenant)
	o.ID, err2 = url.PathUnescape(id)
	return o, ok && err == nil && err2 == nil && objectLabel(installation, o.Tenant, o.ID) == label
}

// Objects lists the resident objects of this installation.
func (t *Token) Objects(ctx context.Context) (out []core.TokenObject, err error) {
	all, err := t.labelled(ctx, objectLabels(t.installation))
	for _, a := range all {
		if o, ok := objectOf(t.installation, a.label); ok {
			o.Token = a.id
			out = append(out, o)
		}
	}
	return out, err
}
