package core

// Once is the Idempotency-Key of a request that makes something. The engine stores its entry in
// the transaction that stores what is made, so that the request makes it once.
type Once struct {
	// NewEntry returns the entry that says what the request has made: an ID.
	NewEntry func(made string) (*DirectoryEntry, error)

	Stored *DirectoryEntry // the entry, when it was stored
}
