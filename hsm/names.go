package hsm

import (
	"crypto"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm/soft"
)

// pssNames gives PKCS#11's names of the two hashes of PSS.
func pssNames(p *soft.SignaturePlan) (hash, mgf uint, ok bool) {
	hashes := map[crypto.Hash]uint{crypto.SHA1: p11.CKM_SHA_1, crypto.SHA224: p11.CKM_SHA224, crypto.SHA256: p11.CKM_SHA256,
		crypto.SHA384: p11.CKM_SHA384, crypto.SHA512: p11.CKM_SHA512}
	mgfs := map[crypto.Hash]uint{crypto.SHA1: p11.CKG_MGF1_SHA1, crypto.SHA224: p11.CKG_MGF1_SHA224, crypto.SHA256: p11.CKG_MGF1_SHA256,
		crypto.SHA384: p11.CKG_MGF1_SHA384, crypto.SHA512: p11.CKG_MGF1_SHA512}
	hash, ok = hashes[p.Hash]
	mgf, ok2 := mgfs[p.MGF]
	return hash, mgf, ok && ok2
}
