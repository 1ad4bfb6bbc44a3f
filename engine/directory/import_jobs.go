package directory

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// ImportJobLifetime is how long a transport key takes a key.
const ImportJobLifetime = 24 * time.Hour

// transports are the ways to wrap a key for an import job, by their names.
var transports = map[string]core.Transport{
	"rsa-oaep-sha256": {Hash: core.HashSHA256}, "rsa-aes-kwp-sha256": {Hash: core.HashSHA256, AES: true},
	"rsa-oaep-sha1": {Hash: core.HashSHA1}, "rsa-aes-kwp-sha1": {Hash: core.HashSHA1, AES: true},
}

// transportBits are the lengths of transport keys.
var transportBits = []int{3072, 4096}

// ImportJob is a transport key: an RSA key of class N that does nothing but unwrap. It is wrapped
// under the KEK of its tenant, and so works on every node. One key is imported under it.
type ImportJob struct {
	Principal string        `json:"principal"` // whose job it is
	Algorithm string        `json:"algorithm"`
	Bits      int           `json:"bits"`
	Expires   int64         `json:"expires"` // Unix seconds
	PublicKey []byte        `json:"publicKey"`
	Material  core.Material `json:"material"`
}

// Check returns an error if a field of j is out of its bounds.
func (j *ImportJob) Check() error {
	if _, ok := transports[j.Algorithm]; !ok {
		return core.Errorf(core.InvalidField, "algorithm: %q is none; %s are known", core.ClientText(j.Algorithm), strings.Join(slices.Sorted(maps.Keys(transports)), ", "))
	}
	if !slices.Contains(transportBits, j.Bits) {
		return core.Errorf(core.InvalidField, "length: a transport key has 3072 or 4096 bits, not %d", j.Bits)
	}
	if !core.ValidName(j.Principal) || j.Expires <= 0 {
		return core.Errorf(core.InvalidField, "principal: %q is no name, or the job has no end", core.ClientText(j.Principal))
	}
	return nil
}

// Transport returns how keys are wrapped for the job.
func (j *ImportJob) Transport() core.Transport { return transports[j.Algorithm] }

// Key returns the transport key. id is that of the job.
func (j *ImportJob) Key(tenant, id string) core.Key {
	return core.Key{Tenant: tenant, ID: id, Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskUnwrapKey, Bits: j.Bits, Material: &j.Material}
}

// ImportJobs finds import jobs. Safe for concurrent use.
type ImportJobs struct{ *Ending }

// NewImportJobs must be called before the directory is opened.
func NewImportJobs(d *Directory) *ImportJobs {
	return &ImportJobs{newEnding(d, core.EntryImportJob, int64(ImportJobLifetime.Seconds()), func(e *core.DirectoryEntry) (string, int64, error) {
		body, err := decodeBody[ImportJob](e)
		if err != nil {
			return "", 0, err
		}
		return body.Principal, body.Expires, nil
	})}
}

// Find returns a job with the version of its entry. The code is ItemNotFound if there is none, or
// if it was used, deleted or has expired; otherwise the codes are those of [Directory.Get].
func (j *ImportJobs) Find(tenant, id string, now int64) (*ImportJob, int64, error) {
	e, err := j.directory.Get(core.EntryImportJob, tenant, id)
	if err != nil {
		return nil, 0, err
	}
	body, err := decodeBody[ImportJob](e)
	if err == nil && body.Expires <= now {
		err = errAbsent
	}
	return body, e.Version, err
}
