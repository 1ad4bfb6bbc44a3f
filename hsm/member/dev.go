package member

import (
	"github.com/keyreeve/keyreeve/core/secretfile"
	"github.com/keyreeve/keyreeve/hsm/devtoken"
)

// SoftHSM finds the SoftHSM2 library.
func SoftHSM() (string, error) { return devtoken.SoftHSM() }

// DevToken makes the token of a development server, or finds it; see [devtoken.Make].
func DevToken(dir string) (Config, error) { return devConfig(devtoken.Make(dir)) }

// FindDevToken finds the token that DevToken made. It makes nothing; see [devtoken.Find].
func FindDevToken(dir string) (Config, error) { return devConfig(devtoken.Find(dir)) }

func devConfig(t devtoken.Token, err error) (Config, error) {
	return Config{Module: t.Module, Label: t.Label, PIN: PINFile(t.PINFile)}, err
}

// PINFile reads a PIN from a file when it is needed.
func PINFile(path string) func() (string, error) {
	return func() (string, error) { return secretfile.Line(path) }
}
