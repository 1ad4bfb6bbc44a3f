// Package origin says what a door knows of a message besides its bytes. It is what the KMIP doors
// and the package that answers messages share.
package origin

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// Origin is what a door knows of a message besides its bytes. The door may change
// it between messages.
type Origin struct {
	Door      core.Door
	Address   string // of the peer, without port
	Principal *core.Principal
	Refusal   error // not nil: why the sender may send no messages any more
	Memory    MessageMemory

	// Identify returns the sender of a message that has credentials, who is then its
	// caller. nil: credentials are only noted.
	Identify proof.IdentifySender
	// Yield gives way to the requests of others before each item but the first. It
	// may wait. nil: it does not.
	Yield func(context.Context) error
	// Begin is called before each item, with its place in the batch. nil: it is not.
	Begin func(place int, operation core.Operation)
}

// MessageMemory bounds the memory of one message. The zero value has no bound.
type MessageMemory struct {
	FreeBytes int                                        // up to so many bytes are not counted
	Reserve   func(ctx context.Context, bytes int) error // takes memory before it is used; it may wait
	Count     func(bytes int)                            // counts memory that is in use already
}

// ReserveBytes takes memory before it is used. It may wait.
func (m *MessageMemory) ReserveBytes(ctx context.Context, bytes int) error {
	if m.Reserve == nil {
		return nil
	}
	return m.Reserve(ctx, bytes)
}

// CountBytes counts memory that is in use already.
func (m *MessageMemory) CountBytes(bytes int) {
	if m.Count != nil {
		m.Count(bytes)
	}
}
