package bounds

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Slots bounds the connections of one door. Until a connection has authenticated, it
// has a waiting slot, so that silent connections take nothing from clients that work.
// If the waiting slots are full, the client that has most of them loses one. An
// authenticated connection counts for its principal and its tenant.
// Safe for concurrent use.
type Slots struct {
	limits SlotLimits

	mu      sync.Mutex
	open    int // authenticated
	waiting int
	peers   map[netip.Addr]*peerSlots
	nets    map[netip.Prefix]*netSlots
	tenants map[string]int
	owners  map[accountName]int
}

// SlotLimits are numbers of connections. Their defaults are those of the settings.
type SlotLimits struct {
	Connections   int // authenticated ones
	PerPeer       int // of one address, authenticated or not
	Waiting       int // not yet authenticated
	WaitingPerNet int // of them from one network: /24, or /64 of IPv6
	PerPrincipal  int // authenticated, of one principal
	PerTenant     int // authenticated, of one tenant; at most seven eighths of Connections

	// OfTenant returns the bound of a tenant in place of PerTenant; 0: PerTenant. It must
	// not block. nil: no tenant has one of its own.
	OfTenant func(tenant string) int
}

// keptSlots is the part of Connections that no tenant can take alone.
const keptSlots = 8

// grace is how long a connection may take to authenticate before others of its own
// address may take its place.
const grace = time.Second

type peerSlots struct {
	all     int
	waiting []*Slot // the oldest first
	net     *netSlots
}

type netSlots struct {
	prefix  netip.Prefix
	waiting int
	peers   map[netip.Addr]*peerSlots
}

// Slot is the place of one connection.
type Slot struct {
	slots   *Slots
	peer    netip.Addr
	since   time.Time
	drop    func() // ends the connection
	owner   accountName
	open    bool // authenticated
	left    bool
	dropped bool
}

// NewSlots makes the slots of a door.
func NewSlots(l SlotLimits) *Slots {
	l.PerTenant = min(l.PerTenant, l.mostOfAny())
	l.PerPrincipal = min(l.PerPrincipal, l.PerTenant)
	return &Slots{limits: l, peers: map[netip.Addr]*peerSlots{}, nets: map[netip.Prefix]*netSlots{}, tenants: map[string]int{}, owners: map[accountName]int{}}
}

// Enter gives a new connection a slot, or returns the limit that is full: "peer". drop must end
// the connection; it may be called, once, until the slot is passed or left.
func (s *Slots) Enter(from net.Addr, drop func()) (slot *Slot, full string) {
	now := time.Now()
	slot = &Slot{slots: s, peer: addressOf(from), since: now, drop: drop}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.slotsOfPeer(slot.peer)
	if p.all >= s.limits.PerPeer {
		if len(p.waiting) == 0 || now.Sub(p.waiting[0].since) < grace {
			s.forgetUnused(slot.peer, p)
			return nil, "peer"
		}
		s.dropOldest(p)
	}
	if p.net.waiting >= s.limits.WaitingPerNet {
		s.dropOldest(largest(p.net))
	}
	if s.waiting >= s.limits.Waiting {
		var most *netSlots
		for _, n := range s.nets {
			if most == nil || n.waiting > most.waiting {
				most = n
			}
		}
		s.dropOldest(largest(most))
	}
	p = s.slotsOfPeer(slot.peer) // dropOldest may have forgotten it
	p.all++
	p.waiting = append(p.waiting, slot)
	p.net.waiting++
	s.waiting++
	return slot, ""
}

// slotsOfPeer returns the slots of an address. It makes them if there are none.
func (s *Slots) slotsOfPeer(a netip.Addr) *peerSlots {
	if p := s.peers[a]; p != nil {
		return p
	}
	bits := 64
	if a.Is4() {
		bits = 24
	}
	prefix, _ := a.Prefix(bits)
	n := s.nets[prefix]
	if n == nil {
		n = &netSlots{prefix: prefix, peers: map[netip.Addr]*peerSlots{}}
		s.nets[prefix] = n
	}
	p := &peerSlots{net: n}
	s.peers[a], n.peers[a] = p, p
	return p
}

// largest returns the address of a network that has most waiting connections.
func largest(n *netSlots) *peerSlots {
	var most *peerSlots
	for _, p := range n.peers {
		if most == nil || len(p.waiting) > len(most.waiting) {
			most = p
		}
	}
	return most
}

// dropOldest drops the oldest waiting connection of an address.
func (s *Slots) dropOldest(p *peerSlots) {
	oldest := p.waiting[0]
	oldest.dropped = true
	s.remove(oldest)
	go oldest.drop() // it may block, and the caller holds the lock
}

// remove takes a slot out of all counts.
func (s *Slots) remove(slot *Slot) {
	if slot.left {
		return
	}
	slot.left = true
	p := s.peers[slot.peer]
	p.all--
	if slot.open {
		s.uncountOwner(slot.owner)
	} else {
		s.leaveWaiting(slot, p)
	}
	s.forgetUnused(slot.peer, p)
}

// leaveWaiting takes a slot out of the waiting ones.
func (s *Slots) leaveWaiting(slot *Slot, p *peerSlots) {
	for i, w := range p.waiting {
		if w == slot {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			break
		}
	}
	p.net.waiting--
	s.waiting--
}

// forgetUnused drops an address that has no connection, and its network if that was
// the last one.
func (s *Slots) forgetUnused(a netip.Addr, p *peerSlots) {
	if p.all > 0 {
		return
	}
	delete(s.peers, a)
	delete(p.net.peers, a)
	if len(p.net.peers) == 0 {
		delete(s.nets, p.net.prefix)
	}
}

func subtract[K comparable](counts map[K]int, k K) {
	if counts[k]--; counts[k] <= 0 {
		delete(counts, k)
	}
}

// Pass counts an authenticated connection for its principal. It returns the limit that
// is full: "connections", "tenant" or "principal", or "waiting" if the connection has
// been dropped meanwhile. "" means success. Passing again as the same changes nothing.
// A connection that passes as another principal counts for that one, or, if
// something is full, for the old one as before.
func (slot *Slot) Pass(tenant, principal string) (full string) {
	s := slot.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := accountName{tenant, principal}
	switch {
	case slot.left:
		return "waiting"
	case !slot.open:
		if full = s.fullFor(owner); full == "" {
			s.leaveWaiting(slot, s.peers[slot.peer])
			slot.open, slot.owner, slot.drop = true, owner, nil
			s.countOwner(owner)
		}
	case slot.owner != owner:
		s.uncountOwner(slot.owner)
		if full = s.fullFor(owner); full == "" {
			slot.owner = owner
		}
		s.countOwner(slot.owner)
	}
	return full
}

// FullError returns the error for a client whose connection found full what Pass
// named.
func FullError(full string) error {
	return core.Errorf(core.Busy, "too many connections of the %s (see limits in the server's settings); use fewer, or try again", full)
}

// fullFor returns the limit that one more connection of a principal would exceed.
func (s *Slots) fullFor(owner accountName) (full string) {
	switch {
	case s.open >= s.limits.Connections:
		return "connections"
	case s.tenants[owner.tenant] >= s.limits.mostOf(owner.tenant):
		return "tenant"
	case s.owners[owner] >= s.limits.PerPrincipal:
		return "principal"
	}
	return ""
}

// mostOf returns how many connections a tenant may have.
func (l *SlotLimits) mostOf(tenant string) int {
	if l.OfTenant == nil {
		return l.PerTenant
	}
	if own := l.OfTenant(tenant); own > 0 {
		return min(own, l.mostOfAny())
	}
	return l.PerTenant
}

// mostOfAny returns how many connections any one tenant may have: an eighth is left for others.
func (l *SlotLimits) mostOfAny() int {
	return max(1, l.Connections-max(1, l.Connections/keptSlots))
}

func (s *Slots) countOwner(owner accountName) {
	s.open++
	s.tenants[owner.tenant]++
	s.owners[owner]++
}

func (s *Slots) uncountOwner(owner accountName) {
	s.open--
	subtract(s.tenants, owner.tenant)
	subtract(s.owners, owner)
}

// Leave gives the slot back. It may be called more than once.
func (slot *Slot) Leave() {
	slot.slots.mu.Lock()
	defer slot.slots.mu.Unlock()
	slot.slots.remove(slot)
}

// Dropped reports whether the connection was dropped because the slots of those
// that wait were full.
func (slot *Slot) Dropped() bool {
	slot.slots.mu.Lock()
	defer slot.slots.mu.Unlock()
	return slot.dropped
}

// addressOf is the address of a peer without port; IPv4 in IPv6 is IPv4.
func addressOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		if ip, ok := netip.AddrFromSlice(t.IP); ok {
			return ip.Unmap()
		}
	}
	return netip.IPv6Unspecified()
}
