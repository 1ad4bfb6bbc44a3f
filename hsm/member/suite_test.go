package member_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/hsm/member"
)

// A module keeps the promises of hsm.Member.
func TestModuleIsAMember(t *testing.T) {
	hsmtest.RunMember(t, func(t *testing.T) hsm.Member {
		m, err := member.Open(hsmtest.Config(t).Config)
		if err != nil {
			t.Fatal(err)
		}
		return m
	})
}
