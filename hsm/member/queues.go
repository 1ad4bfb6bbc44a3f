package member

import (
	"context"
	"runtime"
	"time"

	"github.com/keyreeve/keyreeve/core/fair"
)

// maxWaitingCalls is how many calls of one tenant may wait for a session, and as many for
// the turn to change objects. One more is refused at once, since it would wait longer than
// its deadline.
const maxWaitingCalls = 1024

// maxWaitingLong is the same for calls that last seconds.
const maxWaitingLong = 32

// longShare is the part of the sessions for the long calls of all tenants together: one in
// longShare. A tenant gets half of that.
const longShare = 4

// reservedShare is the part of the sessions that one tenant never gets, so that other
// tenants find one: one in reservedShare, and at least one.
const reservedShare = 4

// softwarePerCore bounds the simultaneous calls into a token that is software, for each
// processor. The calls compute here: more of them do no more work, and everything else in
// this process would wait for a processor.
const softwarePerCore = 2

// callsAtOnce returns how many sessions may be in a call: all of the pool, unless the
// token is software.
func callsAtOnce(sessions int, computesHere bool) int {
	if !computesHere {
		return sessions
	}
	return min(sessions, max(4, softwarePerCore*runtime.NumCPU()))
}

// newSessionSlots shares the sessions of the pool among tenants. A principal gets one less
// than its tenant, which leaves one for the others.
func newSessionSlots(sessions int, wait time.Duration) *fair.Slots {
	tenant := sessions - max(1, sessions/reservedShare)
	return fair.New(fair.Config{Name: "sessions of the HSM", Slots: sessions, PerTenant: max(1, tenant), PerPrincipal: max(1, tenant-1), Waiting: maxWaitingCalls, Wait: wait})
}

// newLongSlots bounds the calls that last seconds, such as making an RSA key of 4096 bits.
// Each occupies a session all that time, and a processor if the token is software. They
// wait as long as their request lasts.
func newLongSlots(sessions int) *fair.Slots {
	long := max(1, sessions/longShare)
	return fair.New(fair.Config{Name: "places for making long keys", Slots: long, PerTenant: max(1, long/2), Waiting: maxWaitingLong})
}

// changeTurn is the turn to change the token's objects. Only one call has it at a time:
// SoftHSM2 has data races if two calls change objects.
type changeTurn struct {
	slots *fair.Slots
	lease fair.Lease // of the holder
}

func newChangeTurn(wait time.Duration) *changeTurn {
	return &changeTurn{slots: fair.New(fair.Config{Name: "turns to change the HSM's objects", Slots: 1, Waiting: maxWaitingCalls, Wait: wait})}
}

// takeTurn waits for the turn on behalf of the principal in ctx.
func (t *changeTurn) takeTurn(ctx context.Context) error {
	l, err := t.slots.Acquire(ctx)
	if err == nil {
		t.lease = l
	}
	return err
}

func (t *changeTurn) giveTurn() {
	l := t.lease
	t.lease = fair.Lease{}
	l.Release()
}
