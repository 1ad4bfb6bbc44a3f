package core

// DisabledAttribute is the custom attribute x-keyreeve-disabled, which a disabled object has.
// Only the server sets it.
var DisabledAttribute = AttributeName{Vendor: "x", Name: "keyreeve-disabled"}

// Disabled reports whether the value of the object must not be used until it is enabled.
func (o *ManagedObject) Disabled() bool { return o.Attributes.Find(DisabledAttribute) >= 0 }

// Archived reports whether the object is off-line until it is recovered.
func (o *ManagedObject) Archived() bool { return o.Attributes.Has(TagArchiveDate) }
