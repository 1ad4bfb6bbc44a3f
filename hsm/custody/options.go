package custody

import "time"

// Options are the settings of a Custody.
type Options struct {
	Copies        int           // copies of class C keys in locked memory; 0: 8192, negative: none
	CopyTTL       time.Duration // 0: 60 s, negative: none
	AllowSoftware bool          // class C keys may be used in Go if the HSM lacks the mechanism: ChaCha20, Ed25519
	UnwrapPKCS1   bool          // RSA keys that may only unwrap may unwrap by PKCS#1 v1.5
}

func (o Options) withDefaults() Options {
	if o.Copies == 0 {
		o.Copies = 8192
	}
	if o.CopyTTL == 0 {
		o.CopyTTL = time.Minute
	}
	return o
}
