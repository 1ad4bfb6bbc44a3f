package core

// Identifier names an object in a request: by Text, or in KMIP 2.x by a
// reference to what the same batch has answered so far (Enum: KMIP 2.1 §11.58;
// Nth: §4.58). All zero means the ID Placeholder. The door resolves it; the
// engine reads Text alone.
type Identifier struct {
	Text string
	Enum UniqueIdentifierEnum
	Nth  *int32
}

// ID makes an Identifier of a known Unique Identifier.
func ID(text string) Identifier { return Identifier{Text: text} }
