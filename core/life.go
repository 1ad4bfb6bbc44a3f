package core

// DisabledAttribute is the custom attribute x-keyreeve-disabled, which a disabled object has.
// Only the server sets it.
var DisabledAttribute = AttributeName{Vendor: "x", Name: "keyreeve-disabled"}

// PurgeAtAttribute is the custom attribute of an object that was deleted softly: until its date
// the object can be restored, and then the clock purges it. Only the server sets it.
var PurgeAtAttribute = AttributeName{Vendor: "x", Name: "keyreeve-purge-at"}

// Disabled reports whether the value of the object must not be used until it is enabled.
func (o *ManagedObject) Disabled() bool { return o.Attributes.Find(DisabledAttribute) >= 0 }

// Archived reports whether the object is off-line until it is recovered.
func (o *ManagedObject) Archived() bool { return o.Attributes.Has(TagArchiveDate) }
