package custody

import "time"

// Options are the choices of an operator.
type Options struct {
	Copies        int           // class C keys kept in locked memory; 0: 8192, negative: none
	CopyTTL       time.Duration // 0: 60 s, negative: none
	AllowSoftware bool          // class C keys may be used in Go where the HSM lacks the mechanism: ChaCha20, Ed25519
	UnwrapPKCS1   bool          // keys wrapped by PKCS#1 v1.5 are unwrapped, by RSA keys for Unwrap Key alone
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
