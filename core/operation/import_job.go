package operation

import "github.com/keyreeve/keyreeve/core"

type (
	// CreateImportJobInput asks for a transport key.
	CreateImportJobInput struct {
		Algorithm string // how the key will be wrapped, such as "rsa-aes-kwp-sha256"
		Bits      int    // of the transport key; 0: 3072
	}

	// ImportJobInput names an import job.
	ImportJobInput struct{ ID string }

	// ImportJob is what may be known of an import job.
	ImportJob struct {
		ID        string
		Algorithm string
		Bits      int
		PublicKey []byte // SubjectPublicKeyInfo
		Expires   int64  // Unix seconds
	}

	// OpenedJob is an import job that is being used.
	OpenedJob struct {
		Key       core.Key // the transport key
		Transport core.Transport
		End       core.Write // ends the job. It fails with Conflict if the job was ended meanwhile
	}
)
