package rules

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/schedule"
)

// RotationOf returns the rotation that a key has, nil if it has none.
func RotationOf(as core.Attributes) (*schedule.Rotation, error) {
	at := as.Find(core.RotationAttribute)
	if at < 0 {
		return nil, nil
	}
	r, err := schedule.Parse(as[at].Value.Text)
	if err != nil {
		return nil, err
	}
	return &r, nil
}
