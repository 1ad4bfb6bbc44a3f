package engine

import (
	"crypto/rand"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// StreamPosition is the place in a stream that a request names.
type StreamPosition struct {
	Correlation []byte
	First, Last *bool
}

// Stream is an operation whose data comes in parts. Between two parts it is stored
// under its Correlation Value. The call that processes a part owns the stream alone
// until the record of the part is durable. If the part or its record fails, the
// stream ends, so that a part that is sent again is not counted twice.
//
// A stream keeps data and never a key. Each part loads the key again and checks
// policy, state, dates and mask, so that a stream stops when its key is revoked,
// forbidden or destroyed.
type Stream struct {
	id     string // the Correlation Value
	owner  streamOwner
	action core.Action
	object string // "" for Hash

	parameters *core.CryptographicParameters // of the first part; nil: the key's

	Held        []byte // data that is held back for a later part
	FirstIV     []byte // as used with the first part
	NextIV      []byte // for the next part
	AAD, Tag    []byte
	Proof       []byte // the signature or MAC to be verified
	Processed   int64  // bytes processed in earlier parts
	IsLaterPart bool   // this is not the first part
	IsLast      bool   // this is the last part

	reserved  int     // bytes
	memory    Account // of the owner; the bytes are reserved in it; nil: none
	table     *streams
	suspended bool // the stream continues; it is stored when the part's record is durable
	timer     *time.Timer
}

// JoinStream returns the stream that a request belongs to, or begins one (KMIP 1.4
// §4, 2.1 §6). It returns nil for a request that has all its data. The caller must
// call Release when the verb ends. A part without an identifier is for the object of
// the stream, which is stored in id; id is nil for Hash.
func (k *Call) JoinStream(id *core.Identifier, p StreamPosition, asked *core.CryptographicParameters) (*Stream, error) {
	switch {
	case p.Correlation != nil && isTrue(p.First):
		return nil, core.Errorf(core.InvalidField, "the first part of a stream has no Correlation Value yet: the answer to it has one")
	case p.Correlation != nil:
		s, err := k.nextPart(id, p, asked)
		k.stream = s
		return s, err
	case isTrue(p.Last) && !isTrue(p.First):
		return nil, core.Errorf(core.InvalidField, "the last part of a stream needs the Correlation Value that the first one was answered with")
	case isTrue(p.First) && !isTrue(p.Last):
		s, err := k.Engine.streams.beginStream(&Stream{owner: k.streamOwner(), action: k.Action, parameters: asked})
		k.stream = s
		return s, err
	}
	return nil, nil
}

func (k *Call) streamOwner() streamOwner {
	p := k.Caller.Principal
	return streamOwner{p.Tenant, p.ID, p.Fingerprint}
}

// nextPart returns the stream that a Correlation Value names. The value of another
// principal's stream is answered like an unknown one.
func (k *Call) nextPart(id *core.Identifier, p StreamPosition, asked *core.CryptographicParameters) (*Stream, error) {
	s := k.Engine.streams.takeUp(string(p.Correlation), k.streamOwner(), k.Action)
	if s == nil {
		return nil, core.Errorf(core.InvalidCorrelationValue, "you have no %s under way with this Correlation Value; a stream ends with its last part, with a part that fails, and %v after the previous part", k.Action, streamIdle)
	}
	if id != nil && id.Text == "" {
		id.Text = s.object
	}
	s.IsLaterPart, s.IsLast = true, isTrue(p.Last)
	switch {
	case id != nil && id.Text != s.object:
		s.Release()
		return nil, core.Errorf(core.InvalidField, "the parts of a stream are for one object; it was begun with %s", s.object)
	case asked != nil && (s.parameters == nil || !sameParameters(asked, s.parameters)):
		s.Release()
		return nil, core.Errorf(core.InvalidField, "the Cryptographic Parameters of a stream stay those of its first part")
	}
	return s, nil
}

// sameParameters reports whether two sets of parameters have equal fields.
func sameParameters(a, b *core.CryptographicParameters) bool {
	return slices.EqualFunc(a.Fields(), b.Fields(), func(x, y core.Field) bool { return x.Tag == y.Tag && x.Value.Equal(y.Value) })
}

func isTrue(b *bool) bool { return b != nil && *b }

// HoldBack adds data to the data that is held back. Too many bytes are an error of code
// InvalidField, or Busy if all streams together hold too many.
func (s *Stream) HoldBack(data []byte) error {
	if len(s.Held)+len(data) > maxHeld {
		return core.Errorf(core.InvalidField, "the parts together have more than %d bytes, which is the most that is held back", maxHeld)
	}
	if need := len(s.Held) + len(data); need > cap(s.Held) {
		size := max(need, 2*cap(s.Held))
		if err := s.reserveBytes(size - cap(s.Held)); err != nil {
			return err
		}
		grown := make([]byte, len(s.Held), size)
		copy(grown, s.Held)
		core.Retire(s.Held)
		s.Held = grown
	}
	s.Held = append(s.Held, data...)
	return nil
}

// Discard removes the first n bytes that are held back, and zeroes the freed space.
func (s *Stream) Discard(n int) {
	left := copy(s.Held, s.Held[n:])
	clear(s.Held[left:])
	s.Held = s.Held[:left]
}

// reserveBytes counts n more bytes as held by the stream. It does not wait for memory,
// because it could wait for memory that the stream itself holds.
func (s *Stream) reserveBytes(n int) error {
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held+n > maxHeldInAll {
		return core.Errorf(core.Busy, "the streams under way hold %d bytes, which is the most; try again when some have ended", t.held)
	}
	if s.memory != nil {
		if err := s.memory.TryReserve(int64(n)); err != nil {
			return err
		}
	}
	t.held += n
	s.reserved += n
	return nil
}

// Suspend keeps the stream for its next part and returns the Correlation Value. object
// is the Unique Identifier of the key, "" for Hash.
func (s *Stream) Suspend(object string) []byte {
	if s.id == "" {
		var b [correlationSize]byte
		rand.Read(b[:]) // never fails since Go 1.24
		s.id = string(b[:])
	}
	s.object, s.suspended = object, true
	return []byte(s.id)
}

// endPart ends the call of a part. It stores a suspended stream for the next part, or
// ends the stream if the part failed.
func (s *Stream) endPart(err error) {
	if s == nil || !s.suspended {
		return // its verb has released it
	}
	if err != nil {
		s.suspended = false
		s.Release()
		return
	}
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle[s.id] = s
	s.timer = time.AfterFunc(streamIdle, func() { t.expireIdle(s) })
}

// Release ends the stream and zeroes its data, unless the stream is suspended.
func (s *Stream) Release() {
	if s == nil || s.suspended {
		return
	}
	core.Retire(s.Held[:cap(s.Held)])
	s.Held = nil
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	t.held -= s.reserved
	if s.memory != nil {
		s.memory.Release(int64(s.reserved))
		s.memory.Close()
	}
	if t.each[s.owner]--; t.each[s.owner] == 0 {
		delete(t.each, s.owner)
	}
}

// Collect adds a part to the data of an operation that answers when all data is there.
// ready reports whether that is so: data then has the data of all parts. Otherwise
// the stream is suspended, and correlation is its Correlation Value. A nil Stream is
// always ready.
func (s *Stream) Collect(object string, data *[]byte) (ready bool, correlation []byte, err error) {
	if s == nil {
		return true, nil, nil
	}
	if *data == nil && s.IsLaterPart && !s.IsLast {
		return false, nil, core.Errorf(core.InvalidMessage, "a part between the first and the last has Data")
	}
	if err := s.HoldBack(*data); err != nil {
		return false, nil, err
	}
	if !s.IsLast {
		return false, s.Suspend(object), nil
	}
	*data = s.Held
	if *data == nil {
		*data = []byte{}
	}
	return true, nil, nil
}

// FirstParameters returns the parameters of the first part, or asked if there are none.
func (s *Stream) FirstParameters(asked *core.CryptographicParameters) *core.CryptographicParameters {
	if s == nil || s.parameters == nil {
		return asked
	}
	return s.parameters
}

// RememberOnce stores a value that a stream needs once, such as the Tag, in a field of
// the stream, and sets given to the stored value in all later parts. A part that
// gives another value is an error of code InvalidField. field is the value's name.
func (s *Stream) RememberOnce(at, given *[]byte, field string) error {
	if *given != nil && *at != nil && string(*given) != string(*at) {
		return core.Errorf(core.InvalidField, "the %s of a stream is given once", field)
	}
	if *given != nil && *at == nil {
		if err := s.reserveBytes(len(*given)); err != nil {
			return err
		}
		*at = slices.Clone(*given)
	}
	*given = *at
	return nil
}
