package httpd

import (
	"net"

	"github.com/keyreeve/keyreeve/server/bounds"
)

// Bounded makes l take connections within limits: net/http has no such bound, and
// a client that uses up the file descriptors here takes them from the KMIP door too. What
// is above is closed at once. A connection waits until a request on it has shown who
// it is for; see [service.principal].
func Bounded(l net.Listener, limits bounds.SlotLimits) net.Listener {
	return &bounded{Listener: l, slots: bounds.NewSlots(limits)}
}

type bounded struct {
	net.Listener
	slots *bounds.Slots
}

// Accept waits for the next connection within the bounds.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		slot, full := b.slots.Enter(c.RemoteAddr(), func() { c.Close() })
		if full == "" {
			return &slotted{Conn: c, slot: slot}, nil
		}
		c.Close()
	}
}

// slotted gives its slot back when it is closed, however often.
type slotted struct {
	net.Conn
	slot *bounds.Slot
}

// NetConn is the connection that has the slot.
func (c *slotted) NetConn() net.Conn { return c.Conn }

func (c *slotted) Close() error {
	defer c.slot.Leave()
	return c.Conn.Close()
}

// slotOf is the slot of a connection, below TLS; nil if it has none.
func slotOf(c net.Conn) *bounds.Slot {
	for c != nil {
		if s, ok := c.(*slotted); ok {
			return s.slot
		}
		wrapper, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = wrapper.NetConn()
	}
	return nil
}
