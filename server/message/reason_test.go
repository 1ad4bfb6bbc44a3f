package message

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
)

// Every code has an answer in every version, and none is younger than the version.
func TestEveryCodeHasAReason(t *testing.T) {
	enum := core.TagResultReason.Info().Enum
	for _, c := range core.Codes() {
		if _, ok := reasons[c]; !ok {
			t.Errorf("code %v has no Result Reason", c)
			continue
		}
		for _, v := range core.Versions {
			for op := range operations {
				r := reasonOf(op, c, v)
				if row := enum.Lookup(uint32(r)); row == nil || !v.Within(row.Since, row.Until) {
					t.Errorf("code %v answers %v in %v to a client of %v, which does not know it", c, r, op, v)
				}
			}
		}
	}
	for _, c := range []struct {
		code core.Code
		v    core.Version
		want core.ResultReason
	}{{core.WrongState, core.V1_4, core.ReasonPermissionDenied}, {core.WrongState, core.V2_1, core.ReasonWrongKeyLifecycleState}, {core.ItemNotFound, core.V1_0, core.ReasonItemNotFound},
		{core.ItemNotFound, core.V2_0, core.ReasonObjectNotFound}, {core.Sensitive, core.V1_2, core.ReasonPermissionDenied}, {core.Sensitive, core.V1_4, core.ReasonSensitive},
		{core.UsageLimitExceeded, core.V2_1, core.ReasonPermissionDenied}, {core.AttributeReadOnly, core.V2_1, core.ReasonAttributeReadOnly}} {
		if got := reasonOf(0, c.code, c.v); got != c.want {
			t.Errorf("%v in %v is %v, want %v", c.code, c.v, got, c.want)
		}
	}
}

// Each condition that the standard lists for an operation of KMIP 1.x, by the
// beginning of its words, with the code that the engine gives it.
var conditions = []struct {
	op   core.Operation
	says string
	code core.Code
}{
	{core.OperationCreate, "Object Type is not recognized", core.InvalidObjectType},
	{core.OperationCreate, "Templates that do not exist", core.ItemNotFound},
	{core.OperationCreate, "Incorrect attribute value(s)", core.InvalidField},
	{core.OperationCreate, "Incorrect attribute value(s)", core.AttributeReadOnly},
	{core.OperationCreate, "Incorrect attribute value(s)", core.AttributeSingleValued},
	{core.OperationCreate, "Trying to set more instances", core.IndexOutOfBounds},
	{core.OperationCreate, "Trying to create a new object with the same Name", core.NonUniqueNameAttribute},
	{core.OperationCreate, "The particular Application Namespace", core.NamespaceNotSupported},
	{core.OperationModifyAttribute, "The particular Application Namespace", core.NamespaceNotSupported},
	{core.OperationCreateKeyPair, "REQUIRED field(s) missing", core.InvalidMessage},
	{core.OperationCreateKeyPair, "Trying to create a new object with the same Name", core.NonUniqueNameAttribute},
	{core.OperationRegister, "Object Type does not match", core.InvalidField},
	{core.OperationRegister, "Trying to register a new Template object containing a Name", core.InvalidField},
	{core.OperationRegister, "Trying to register a new object with the same Name", core.NonUniqueNameAttribute},
	{core.OperationRegister, "Encoding Option not permitted", core.EncodingOptionError},
	{core.OperationGet, "Object does not exist", core.ItemNotFound},
	{core.OperationGet, "Wrapping key does not exist", core.WrappingObjectNotFound},
	{core.OperationGet, "Object with Encryption Key Information exists, but it is not a key", core.IllegalOperation},
	{core.OperationGet, "Object with Encryption Key Information exists, but it is not able to be used for wrapping", core.IncompatibleUsageMask},
	{core.OperationGet, "Object with Encryption Key Information exists, but it is not able to be used for wrapping", core.WrongState},
	{core.OperationGet, "Object with Encryption Key Information exists, but it is not able to be used for wrapping", core.WrappingObjectDestroyed},
	{core.OperationGet, "Cryptographic Parameters associated with the object do not exist or do not match", core.BadCryptographicParameters},
	{core.OperationGet, "Object exists but cannot be provided in the desired Encoding Option", core.EncodingOptionError},
	{core.OperationGet, "Object is Sensitive", core.Sensitive},
	{core.OperationGetAttributes, "The same Attribute Name is present more than once", core.InvalidMessage},
	{core.OperationAddAttribute, "Attempt to add a read-only attribute", core.AttributeReadOnly},
	{core.OperationAddAttribute, "The specified attribute already exists", core.AttributeSingleValued},
	{core.OperationAddAttribute, "New attribute contains Attribute Index", core.InvalidField},
	{core.OperationAddAttribute, "Trying to add a Name attribute with the same value", core.NonUniqueNameAttribute},
	{core.OperationAddAttribute, "Trying to add a new instance", core.IndexOutOfBounds},
	{core.OperationModifyAttribute, "A specified attribute does not exist", core.AttributeNotFound},
	{core.OperationModifyAttribute, "No matching attribute instance exists", core.AttributeInstanceNotFound},
	{core.OperationModifyAttribute, "The specified attribute is read-only", core.AttributeReadOnly},
	{core.OperationModifyAttribute, "Trying to set the Name attribute value", core.NonUniqueNameAttribute},
	{core.OperationDeleteAttribute, "Attempt to delete a read-only/REQUIRED attribute", core.AttributeReadOnly},
	{core.OperationDeleteAttribute, "No matching attribute instance exists", core.AttributeInstanceNotFound},
	{core.OperationDeleteAttribute, "No attribute with the specified name exists", core.AttributeNotFound},
	{core.OperationActivate, "Unique Identifier specifies a template", core.IllegalOperation},
	{core.OperationActivate, "Object is not in Pre-Active state", core.WrongState},
	{core.OperationRevoke, "Unique Identifier specifies a template", core.IllegalOperation},
	{core.OperationDestroy, "Object exists, but has already been destroyed", core.ObjectDestroyed},
	{core.OperationDestroy, "Object is not in Pre-Active, Deactivated", core.WrongState},
	{core.OperationDestroy, "Object is archived", core.ObjectArchived},
	{core.OperationArchive, "Object is already archived", core.ObjectArchived},
	{core.OperationRecover, "No object with the specified Unique Identifier exists", core.ItemNotFound},
	{core.OperationEncrypt, "Object is archived", core.ObjectArchived},
	{core.OperationEncrypt, "Object specified is not able to be used for encryption", core.WrongState},
	{core.OperationGet, "Object is archived", core.ObjectArchived},
	{core.OperationReKey, "Object is archived", core.ObjectArchived},
	{core.OperationReKey, "Object specified is not able to be re-keyed", core.InvalidObjectType},
	{core.OperationReKey, "Object specified is not able to be re-keyed", core.ObjectDestroyed},
	{core.OperationReKey, "Offset field is not permitted", core.InvalidMessage},
	{core.OperationReKey, "An offset cannot be used", core.IllegalOperation},
	{core.OperationReKeyKeyPair, "Object specified is not able to be re-keyed", core.InvalidObjectType},
	{core.OperationReKeyKeyPair, "Object specified is not able to be re-keyed", core.ObjectDestroyed},
	{core.OperationReKeyKeyPair, "Offset field is not permitted", core.InvalidMessage},
	{core.OperationReKeyKeyPair, "An offset cannot be used", core.IllegalOperation},
	{core.OperationDeriveKey, "One or more of the objects specified do not exist", core.ItemNotFound},
	{core.OperationDeriveKey, "One or more of the objects specified are not of the correct type", core.InvalidObjectType},
	{core.OperationDeriveKey, "Invalid Derivation Method", core.InvalidField},
	{core.OperationDeriveKey, "Invalid Derivation Parameters", core.InvalidField},
	{core.OperationDeriveKey, "Invalid Derivation Parameters", core.BadCryptographicParameters},
	{core.OperationDeriveKey, "Ambiguous derivation data", core.InvalidMessage},
	{core.OperationDeriveKey, "Incorrect attribute value(s)", core.AttributeReadOnly},
	{core.OperationDeriveKey, "One or more of the specified objects are not able to be used to derive", core.IncompatibleUsageMask},
	{core.OperationDeriveKey, "One or more of the specified objects are not able to be used to derive", core.WrongState},
	{core.OperationDeriveKey, "Trying to derive a new key with the same Name", core.NonUniqueNameAttribute},
	{core.OperationDeriveKey, "The specified length exceeds the output", core.CryptographicFailure},
	{core.OperationCheck, "Check cannot be performed on this object", core.IllegalOperation},
	{core.OperationCheck, "The client is not allowed", core.IncompatibleUsageMask},
	{core.OperationCheck, "The client is not allowed", core.UsageLimitExceeded},
	{core.OperationEncrypt, "Object specified is not able to be used for encryption", core.IncompatibleUsageMask},
	{core.OperationEncrypt, "Object specified is not able to be used for encryption", core.ObjectDestroyed},
	{core.OperationSign, "Object specified is not able to be used for signing", core.IllegalOperation},
	{core.OperationMACVerify, "No outstanding operation", core.InvalidCorrelationValue},
	{0, "The Criticality Indicator", core.UnknownMessageExtension},
	{0, "Server does not support operation", core.OperationNotSupported},
}

func TestReasonsAreTheStandards(t *testing.T) {
	var facts map[string]map[string][]struct{ Condition, Reason string }
	coretest.JSON(t, "operation_errors.json", &facts)
	for _, c := range conditions {
		found := false
		for text, operations := range facts {
			v, name := coretest.Version(text), "General"
			if c.op != 0 {
				name = c.op.String()
			}
			for _, row := range operations[name] {
				if v >= core.V2_0 || !strings.HasPrefix(row.Condition, c.says) {
					continue
				}
				found = true
				if got := reasonOf(c.op, c.code, v); got.String() != row.Reason {
					t.Errorf("KMIP %v, %s, %q: code %v answers %v, the standard has %s", v, name, row.Condition, c.code, got, row.Reason)
				}
			}
		}
		if !found {
			t.Errorf("no version lists for %v: %q", c.op, c.says)
		}
	}
}

// Whatever goes wrong, an operation of KMIP 2.x answers what it lists.
func TestEveryAnswerIsListed(t *testing.T) {
	for _, v := range []core.Version{core.V2_0, core.V2_1} {
		for op, bound := range operations {
			for _, c := range core.Codes() {
				if r := reasonOf(op, c, v); !bound.row.Reasons.MayAnswer(r, v) {
					t.Errorf("KMIP %v, %v: code %v answers %v, which is not listed", v, op, c, r)
				}
			}
		}
	}
	for _, c := range []struct {
		op   core.Operation
		code core.Code
		v    core.Version
		want core.ResultReason
	}{
		{core.OperationModifyAttribute, core.WrongState, core.V2_0, core.ReasonPermissionDenied},
		{core.OperationModifyAttribute, core.WrongState, core.V2_1, core.ReasonWrongKeyLifecycleState},
		{core.OperationAddAttribute, core.WrongState, core.V2_0, core.ReasonPermissionDenied},
		{core.OperationSetAttribute, core.WrongState, core.V2_0, core.ReasonPermissionDenied},
		{core.OperationDeleteAttribute, core.WrongState, core.V2_0, core.ReasonPermissionDenied},
		{core.OperationActivate, core.WrongState, core.V2_0, core.ReasonWrongKeyLifecycleState},
		{core.OperationRegister, core.KeyFormatTypeNotSupported, core.V2_1, core.ReasonFeatureNotSupported},
		{core.OperationGet, core.KeyFormatTypeNotSupported, core.V2_1, core.ReasonKeyFormatTypeNotSupported},
		{core.OperationRegister, core.CryptographicFailure, core.V2_1, core.ReasonInvalidField},
		{core.OperationSetAttribute, core.InvalidAttribute, core.V2_1, core.ReasonInvalidField},
	} {
		if got := reasonOf(c.op, c.code, c.v); got != c.want {
			t.Errorf("KMIP %v, %v: code %v answers %v, want %v", c.v, c.op, c.code, got, c.want)
		}
	}
}

func TestMessagesAreASCII(t *testing.T) {
	for _, s := range []string{"naïve \u0000\n", string(make([]byte, 1000)), "\xff"} {
		got := printable(s)
		if len(got) > maxMessage {
			t.Errorf("%d bytes", len(got))
		}
		for _, c := range []byte(got) {
			if c < ' ' || c > '~' {
				t.Errorf("%q became %q", s, got)
			}
		}
	}
}

// A policy that could not decide is no Permission Denied in any version: clients
// give up on that.
func TestUndecidedPolicyIsNoPermissionDenied(t *testing.T) {
	r := reasons[core.PolicyUnavailable]
	if r.v1 != core.ReasonGeneralFailure || r.v2 != core.ReasonGeneralFailure {
		t.Errorf("%v and %v; want General Failure", r.v1, r.v2)
	}
}
