package hsm

import (
	"context"
	"errors"

	"github.com/keyreeve/keyreeve/core"
)

// Member is an HSM that executes whole operations. Every implementation passes
// hsmtest.RunMember. Errors are of type [core.Error]: TokenUnavailable if the HSM is
// unavailable, CryptographicFailure if it refuses key, parameters or data,
// PermissionDenied if a template forbids the call. After the connection was restored, an
// operation that can be repeated is made once more. Safe for concurrent use.
type Member interface {
	// Has reports whether the HSM has a mechanism for a use.
	Has(m MechanismType, use Uses) bool
	// SelfTest tries AES-GCM with a throw-away key made by the template data, and
	// attacks throw-away keys made by the templates keks. It returns the attacks that
	// the HSM allowed, and fails if no key could be kept safely.
	SelfTest(ctx context.Context, data KeyTemplate, keks []KeyTemplate) (breaches []string, err error)

	// Use encrypts, decrypts, signs or digests. Digest needs no key.
	Use(ctx context.Context, k *Key, u Use) (Used, error)
	// Read reads the value of a key that may leave in clear into dst, and returns its
	// length in bytes. The caller zeroes dst.
	Read(ctx context.Context, k *Key, dst []byte) (int, error)
	// Wrap wraps a key, or bytes, under a key of the HSM or an RSA public key.
	Wrap(ctx context.Context, w Wrapping) ([]byte, error)
	// Make generates, imports or unwraps a key and keeps it as the order says.
	Make(ctx context.Context, o Order) (Made, error)
	// Random fills dst with random bytes of the HSM.
	Random(ctx context.Context, dst []byte) error
	// Seed adds to the random pool of the HSM.
	Seed(ctx context.Context, seed []byte) error

	// MakeKeys makes the keys of a set that the HSM lacks, and returns the check value
	// of every key. It destroys nothing. The code is ObjectAlreadyExists if another
	// object has the label of a key.
	MakeKeys(ctx context.Context, keys []SetKey) (checks [][]byte, err error)
	// LoadKeys finds the keys of sets by their labels, and compares the template and the
	// check value of each. It replaces a group that was loaded before. It returns how
	// many groups were loaded before an error.
	LoadKeys(ctx context.Context, groups []SetKeys) (loaded int, err error)
	// Objects lists the token objects whose labels begin with prefix.
	Objects(ctx context.Context, prefix string) ([]Object, error)
	// Destroy removes the token object that has both the label and the CKA_ID of o. nil
	// means that the object is certainly not in the HSM.
	Destroy(ctx context.Context, o Object) error
	// Forget drops the kept handle of a key.
	Forget(tenant, id string)
	// ForgetTenant drops the kept handles of a tenant.
	ForgetTenant(tenant string)

	// Health reports the state of the HSM by real operations.
	Health(ctx context.Context) core.HSMHealth
	// Close ends the connection. Later calls fail with TokenUnavailable.
	Close(ctx context.Context) error
}

// ErrNotAsMade is the cause if an object is refused because it is not the key of a set
// that was made.
var ErrNotAsMade = errors.New("not as it was made")

// ErrTooLong is the cause if Wrap fails because a key is too long for an RSA public key.
var ErrTooLong = errors.New("too long to be wrapped under this RSA key")
