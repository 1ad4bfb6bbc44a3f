package bounds

import "net"

// Listener takes connections within limits. A connection that is above them is
// closed at once: a client that uses up the file descriptors of one door takes them
// from the other door too. A connection counts as waiting until its slot is passed.
type Listener struct {
	net.Listener
	slots   *Slots
	refused func(full string)
}

// Listen bounds the connections of l. It calls refused for each connection that it
// closes at once, with the limit that was reached, such as "peer". refused may be nil.
func Listen(l net.Listener, limits SlotLimits, refused func(full string)) *Listener {
	return &Listener{Listener: l, slots: NewSlots(limits), refused: refused}
}

// Accept waits for the next connection within the limits. It returns a [Conn].
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		slot, full := l.slots.Enter(c.RemoteAddr(), func() { c.Close() })
		if full == "" {
			return &Conn{Conn: c, slot: slot}, nil
		}
		c.Close()
		if l.refused != nil {
			l.refused(full)
		}
	}
}

// Conn is a connection that has a slot. It gives the slot back when it is closed,
// however often.
type Conn struct {
	net.Conn
	slot *Slot
}

// NetConn returns the connection that has the slot.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Close closes the connection.
func (c *Conn) Close() error {
	defer c.slot.Leave()
	return c.Conn.Close()
}

// SlotOf returns the slot of a connection, which may be wrapped as by TLS. It
// returns nil if the connection has none.
func SlotOf(c net.Conn) *Slot {
	slotted := unwrap[*Conn](c)
	if slotted == nil {
		return nil
	}
	return slotted.slot
}

// unwrap finds a connection of one type below others. Wrappers have a method
// NetConn, as that of crypto/tls. It returns nil if there is none.
func unwrap[T net.Conn](c net.Conn) (found T) {
	for c != nil {
		if t, ok := c.(T); ok {
			return t
		}
		wrapper, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return found
		}
		c = wrapper.NetConn()
	}
	return found
}
