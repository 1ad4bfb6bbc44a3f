package core

// The attributes of a key family: the versions that Re-key and Re-key Key Pair make of one key.
// The server alone sets them. The halves of a pair have families with the same numbers.
var (
	FamilyAttribute  = AttributeName{Vendor: "x", Name: "keyreeve-family"}  // Unique Identifier of version 1, which lacks it
	VersionAttribute = AttributeName{Vendor: "x", Name: "keyreeve-version"} // number; version 1 lacks it

	// NewestAttribute is the Unique Identifier of the newest version, in the row of version 1.
	// Each new version changes it, so that one of two that are made at once gets Conflict.
	NewestAttribute = AttributeName{Vendor: "x", Name: "keyreeve-newest"}
)

// AliasAttribute is a name of a key, and has several values. No other object of the tenant has
// the same one: the store refuses it with ObjectAlreadyExists. The newest version has it.
var AliasAttribute = AttributeName{Vendor: "x", Name: "keyreeve-alias"}

// The attributes of a rotation by the clock, of the newest version of a key. The server alone sets
// them.
var (
	RotationAttribute = AttributeName{Vendor: "x", Name: "keyreeve-rotation"}  // its text in package schedule
	RotateAtAttribute = AttributeName{Vendor: "x", Name: "keyreeve-rotate-at"} // when the next version is made
)

// Family returns the Unique Identifier of version 1 of the object's family.
func (o *ManagedObject) Family() string { return o.familyText(FamilyAttribute) }

// NewestVersion returns that of the newest version, if the object is version 1.
func (o *ManagedObject) NewestVersion() string { return o.familyText(NewestAttribute) }

// familyText returns the Unique Identifier in an attribute, that of o if o lacks it.
func (o *ManagedObject) familyText(n AttributeName) string {
	if i := o.Attributes.Find(n); i >= 0 {
		return o.Attributes[i].Value.Text
	}
	return o.ID
}

// FamilyVersion returns which version of its family the object is.
func (o *ManagedObject) FamilyVersion() int64 {
	if i := o.Attributes.Find(VersionAttribute); i >= 0 {
		return o.Attributes[i].Value.Num
	}
	return 1
}

// ChangeNumber tells the stored versions of all versions of one key apart. Its ETag is made of it.
func (o *ManagedObject) ChangeNumber() int64 { return (o.FamilyVersion()-1)<<32 + o.Version }
