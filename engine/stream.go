package engine

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of data in parts (KMIP 1.3 and later; 1.4 §4, 2.1 §6).
const (
	maxStreams      = 1024        // under way at once
	maxStreamsEach  = 32          // of them one principal's
	maxHeld         = 16 << 20    // bytes held back of one stream
	maxHeldInAll    = 64 << 20    // bytes held back of all streams
	streamIdle      = time.Minute // between two parts
	correlationSize = 16          // bytes of a Correlation Value
)

// StreamPosition is what a request says of its place in a stream.
type StreamPosition struct {
	Correlation []byte
	First, Last *bool
}

func IsTrue(b *bool) bool { return b != nil && *b }

// Stream is an operation whose data comes in parts. Between two parts it is
// kept by its Correlation Value; the call that works on a part owns it alone
// until its record is durable, and a part that fails, or whose record does, ends
// it: who sends that part again must not have it counted twice.
//
// What is kept is data and never key: each part asks for the key again, and with
// it for policy, state, dates and mask, so that what is forbidden or destroyed
// between two parts stops the stream.
type Stream struct {
	id     string // the Correlation Value
	owner  streamOwner
	action core.Action
	object string // "" for Hash

	parameters  *core.CryptographicParameters // as the first part gave them; nil: the key's
	Data        []byte                        // held back
	IV, GivenIV []byte                        // for the next part; as the first part gave it
	AAD, Tag    []byte
	Proof       []byte // the signature or MAC to be verified
	Done        int64  // bytes worked on before this part
	IsLaterPart bool   // this is not the first part
	IsLast      bool   // this is the last part

	held   int     // bytes reserved
	memory Account // of the owner, that they are reserved from; nil: none
	table  *streams
	kept   bool // to go on; it is put aside when the part's record is durable
	timer  *time.Timer
}

// streamOwner is who may go on with a stream: the same principal by the same
// certificate, on whatever connection.
type streamOwner struct{ tenant, id, fingerprint string }

// Account is the memory of one principal, over all its connections. What a stream
// holds counts in it until the stream has ended.
type Account interface {
	TryReserve(bytes int64) error // never waits
	Release(bytes int64)
	Close() // the account is no longer used by this stream
}

// streams keeps what is under way. Safe for concurrent use.
type streams struct {
	mu   sync.Mutex
	idle map[string]*Stream                     // between two parts
	open func(tenant, principal string) Account // nil: streams count in no account
	each map[streamOwner]int
	all  int
	held int
}

func newStreams(open func(tenant, principal string) Account) *streams {
	return &streams{open: open, idle: map[string]*Stream{}, each: map[streamOwner]int{}}
}

// StreamPart finds or begins the stream that a request belongs to; nil for a
// request that is whole. The caller must release it.
func (k *Call) StreamPart(id *core.Identifier, p StreamPosition, asked *core.CryptographicParameters) (*Stream, error) {
	switch {
	case p.Correlation != nil && IsTrue(p.First):
		return nil, core.Errorf(core.InvalidField, "the first part of a stream has no Correlation Value yet: the answer to it has one")
	case p.Correlation != nil:
		s, err := k.nextPart(id, p, asked)
		k.part = s
		return s, err
	case IsTrue(p.Last) && !IsTrue(p.First):
		return nil, core.Errorf(core.InvalidField, "the last part of a stream needs the Correlation Value that the first one was answered with")
	case IsTrue(p.First) && !IsTrue(p.Last):
		s, err := k.Engine.streams.beginStream(&Stream{owner: k.streamOwner(), action: k.Action, parameters: asked})
		k.part = s
		return s, err
	}
	return nil, nil
}

func (k *Call) streamOwner() streamOwner {
	p := k.Caller.Principal
	return streamOwner{p.Tenant, p.ID, p.Fingerprint}
}

// nextPart takes a stream up again. Another's Correlation Value is as unknown
// as none.
func (k *Call) nextPart(id *core.Identifier, p StreamPosition, asked *core.CryptographicParameters) (*Stream, error) {
	s := k.Engine.streams.takeUp(string(p.Correlation), k.streamOwner(), k.Action)
	if s == nil {
		return nil, core.Errorf(core.InvalidCorrelationValue, "no %s of yours is under way with this Correlation Value; it ends with its last part, with a part that fails, and %v after the part before", k.Action, streamIdle)
	}
	if id != nil && id.Text == "" {
		id.Text = s.object
	}
	s.IsLaterPart, s.IsLast = true, IsTrue(p.Last)
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

func sameParameters(a, b *core.CryptographicParameters) bool {
	return slices.EqualFunc(a.Fields(), b.Fields(), func(x, y core.Field) bool { return x.Tag == y.Tag && x.Value.Equal(y.Value) })
}

func (t *streams) beginStream(s *Stream) (*Stream, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= maxStreams || t.each[s.owner] >= maxStreamsEach {
		return nil, core.Errorf(core.Busy, "%d streams are under way, %d of them yours; at most %d and %d may be", t.all, t.each[s.owner], maxStreams, maxStreamsEach)
	}
	t.all++
	t.each[s.owner]++
	s.table = t
	if t.open != nil {
		s.memory = t.open(s.owner.tenant, s.owner.id)
	}
	return s, nil
}

func (t *streams) takeUp(id string, owner streamOwner, action core.Action) *Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.idle[id]
	if s == nil || s.owner != owner || s.action != action {
		return nil
	}
	delete(t.idle, id)
	s.timer.Stop()
	s.kept = false
	return s
}

// HoldBack keeps a part's data back until the last part has come.
func (s *Stream) HoldBack(data []byte) error {
	if len(s.Data)+len(data) > maxHeld {
		return core.Errorf(core.InvalidField, "the parts together have more than %d bytes, which is the most that is held back", maxHeld)
	}
	if need := len(s.Data) + len(data); need > cap(s.Data) {
		size := max(need, 2*cap(s.Data))
		if err := s.reserveBytes(size - cap(s.Data)); err != nil {
			return err
		}
		grown := make([]byte, len(s.Data), size)
		copy(grown, s.Data)
		core.Retire(s.Data)
		s.Data = grown
	}
	s.Data = append(s.Data, data...)
	return nil
}

// DropFirst drops the first n bytes held back and zeroes where they were.
func (s *Stream) DropFirst(n int) {
	left := copy(s.Data, s.Data[n:])
	clear(s.Data[left:])
	s.Data = s.Data[:left]
}

// reserveBytes counts n more bytes as held by the stream. It does not wait for memory: what
// the stream holds already could be what it would wait for.
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
	s.held += n
	return nil
}

// ContinueLater says that a stream goes on and returns its Correlation Value. The first
// part gave the object.
func (s *Stream) ContinueLater(object string) []byte {
	if s.id == "" {
		var b [correlationSize]byte
		rand.Read(b[:]) // never fails since Go 1.24
		s.id = string(b[:])
	}
	s.object, s.kept = object, true
	return []byte(s.id)
}

// endPart ends a part's call: a stream that goes on is put aside if all went well.
func (s *Stream) endPart(err error) {
	if s == nil || !s.kept {
		return // released by its verb
	}
	if err != nil {
		s.kept = false
		s.Release()
		return
	}
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.idle[s.id] = s
	s.timer = time.AfterFunc(streamIdle, func() { t.expireIdle(s) })
}

// expireIdle ends a stream that nobody went on with.
func (t *streams) expireIdle(s *Stream) {
	t.mu.Lock()
	mine := t.idle[s.id] == s
	if mine {
		delete(t.idle, s.id)
		s.kept = false
	}
	t.mu.Unlock()
	if mine {
		s.Release()
	}
}

// Release ends a stream that does not go on, and zeroes its data.
func (s *Stream) Release() {
	if s == nil || s.kept {
		return
	}
	core.Retire(s.Data[:cap(s.Data)])
	s.Data = nil
	t := s.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	t.held -= s.held
	if s.memory != nil {
		s.memory.Release(int64(s.held))
		s.memory.Close()
	}
	if t.each[s.owner]--; t.each[s.owner] == 0 {
		delete(t.each, s.owner)
	}
}

// IsComplete tells whether an operation that answers at the end may do so now: for a
// request that is no part of a stream, or for the last part, when data has been
// made that of all parts. Else it has put the stream aside, and the answer is
// the Correlation Value.
func (s *Stream) IsComplete(object string, data *[]byte) (ready bool, correlation []byte, err error) {
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
		return false, s.ContinueLater(object), nil
	}
	*data = s.Data
	if *data == nil {
		*data = []byte{}
	}
	return true, nil, nil
}

// ParametersOfFirst gives the parameters of the first part where a stream has them.
func (s *Stream) ParametersOfFirst(now *core.CryptographicParameters) *core.CryptographicParameters {
	if s == nil || s.parameters == nil {
		return now
	}
	return s.parameters
}

// OrEmpty is where a stream remembers; what is whole remembers nothing.
func (s *Stream) OrEmpty() *Stream {
	if s == nil {
		return new(Stream)
	}
	return s
}

// RememberOnce keeps the first value given of something that a stream needs once,
// and gives it back for the last part.
func (s *Stream) RememberOnce(at, given *[]byte, what string) error {
	if s == nil {
		return nil
	}
	if *given != nil && *at != nil && string(*given) != string(*at) {
		return core.Errorf(core.InvalidField, "the %s of a stream is given once", what)
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
