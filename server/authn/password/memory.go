package password

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
)

// Bounds of what is remembered.
const (
	rememberedUsers = 16_384
	rememberedFor   = 10 * time.Minute
)

// mark stands for a user, the version of its row, and a password: an HMAC-SHA-256 of them
// under a random key of the process.
type mark [sha256.Size]byte

func (m *mark) equals(other *mark) bool { return subtle.ConstantTimeCompare(m[:], other[:]) == 1 }

// memory remembers which passwords were right. Safe for concurrent use.
type memory struct {
	key     [32]byte
	markers sync.Pool // of *marker

	mu       sync.Mutex
	verified *cache.Bounded[verifiedPassword]
}

// verifiedPassword is the password of a user that was right.
type verifiedPassword struct {
	user *core.User
	mark mark
}

// marker makes marks. It is used again so that a mark allocates nothing.
type marker struct {
	mac  hash.Hash
	head []byte // what precedes the password
	sum  mark
}

func newMemory() *memory {
	m := &memory{verified: cache.New(rememberedUsers, rememberedFor, func(verifiedPassword) {})}
	rand.Read(m.key[:])
	m.markers.New = func() any { return &marker{mac: hmac.New(sha256.New, m.key[:])} }
	return m
}

// markOf returns the mark of a user's password, with a one-time code if there is one.
func (m *memory) markOf(tenant, name string, version int64, password, code []byte) mark {
	k := m.markers.Get().(*marker)
	defer m.markers.Put(k)
	k.head = binary.BigEndian.AppendUint64(k.head[:0], uint64(version))
	for _, s := range [...]string{tenant, name} {
		k.head = append(binary.BigEndian.AppendUint32(k.head, uint32(len(s))), s...)
	}
	k.head = append(binary.BigEndian.AppendUint32(k.head, uint32(len(code))), code...)
	k.mac.Write(k.head)
	k.mac.Write(password)
	k.mac.Sum(k.sum[:0])
	k.forget()
	return k.sum
}

var zeros [sha256.BlockSize]byte

// forget overwrites the end of the password, which the hash still buffers.
func (k *marker) forget() {
	k.mac.Reset()
	k.mac.Write(zeros[:1])
	k.mac.Write(zeros[1:])
	k.mac.Reset()
}

// rememberedUser returns the user of this version for whom the password with a mark was right;
// nil if there is none. It forgets a password of another version. The name is the one that
// was given.
func (m *memory) rememberedUser(tenant, name string, version int64, given *mark) *core.User {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.verified.Get(tenant, name)
	if ok && v.user.Version != version {
		m.verified.Drop(tenant, name)
		return nil
	}
	if !ok || !v.mark.equals(given) {
		return nil
	}
	return v.user
}

func (m *memory) remember(l *login, u *core.User) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.verified.Put(l.tenant, l.name, verifiedPassword{u, l.given})
}
