package core

// Identifier names an object in a request: by Text, or in KMIP 2.x by a
// reference to what the same batch has answered so far (Enum: KMIP 2.1 §11.58;
// Nth: §4.58). All zero means the ID Placeholder. The door resolves it; the
// engine reads Text alone, unless Family is set.
type Identifier struct {
	Text string
	Enum UniqueIdentifierEnum
	Nth  *int32

	// Family says that a key family is named, by the Unique Identifier of its version 1 in
	// Text or by an Alias. KMIP names objects. Version 0 is the version that suits the action.
	Family  bool
	Alias   string
	Version int64
}

// ID makes an Identifier of a known Unique Identifier.
func ID(text string) Identifier { return Identifier{Text: text} }
