package kmip

import "github.com/keyreeve/keyreeve/core"

// Bounds on a message. A message beyond those of bytes, depth or items is refused
// as a whole with Invalid Message, before it is processed.
// OASIS' own messages need depth 8, 147 items and 5,448 bytes.
const (
	MaxMessageBytes = 1 << 20
	maxDepth        = 24
	MaxBatchItems   = 64
	MaxItems        = 16_384  // of a request, in all structures together
	MaxFields       = 1024    // of a request, directly in one structure
	maxAnswerItems  = 100_000 // of an answer, which clients read
)

// Bounds on lists in a request. Reading stops at the bound, and the batch item
// fails with Invalid Field.
const (
	MaxAttributes    = 256 // of one object, or asked for by name
	MaxLocateFilters = 32  // attributes that Locate compares with: each is a query to the store
	MaxTemplateNames = 16
	MaxListed        = 64 // values of any other list: versions, query functions, masks
	MaxCredentials   = 16
	MaxExtensions    = 16 // Message Extensions of one batch item
)

// Bounds on lengths in bytes. Byte strings are bounded by the message alone.
const (
	maxAttributeBytes  = 66 * 1024 // of an attribute's value as it is sent; the engine allows 64 KiB
	MaxTextBytes       = 64 * 1024 // of a text that is a field; the engine bounds texts in attributes
	MaxIdentifierBytes = 2048      // of a Unique Identifier
	MaxBatchIDBytes    = 2048      // of a Unique Batch Item ID, which is echoed
)

// tooMany refuses a list that has more than most values.
func tooMany(t core.Tag, most int) error {
	return core.Errorf(core.InvalidField, "%v is given more than %d times; that is the limit of one list", t, most)
}

// tooLong refuses a text that has more than most bytes.
func tooLong(t core.Tag, have, most int) error {
	return core.Errorf(core.InvalidField, "%v has %d bytes; the limit is %d", t, have, most)
}
