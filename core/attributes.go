package core

import "slices"

// Attribute is one instance of an attribute. A standard attribute is named by
// Tag; a custom one has Tag 0 and is named by Vendor and Name: "x-Site" of
// KMIP 1.x is Vendor "x", Name "Site" (KMIP 2.1 §4.60), "y" marks the server's
// own. Index tells instances of a multi-valued attribute apart (KMIP 1.x only;
// it is kept so that a 1.x client finds the instance again).
type Attribute struct {
	Tag    Tag
	Vendor string
	Name   string
	Index  int
	Value  Value
}

// AttributeName names an attribute. It has an index only if Indexed is set.
type AttributeName struct {
	Tag     Tag
	Vendor  string
	Name    string
	Index   int
	Indexed bool
}

// Ref returns the attribute's name without its index.
func (a *Attribute) Ref() AttributeName {
	return AttributeName{Tag: a.Tag, Vendor: a.Vendor, Name: a.Name}
}

// String returns the name as KMIP 1.x writes it: "Activation Date", "x-Site".
func (n AttributeName) String() string {
	if n.Tag != 0 {
		return n.Tag.String()
	}
	return n.Vendor + "-" + n.Name
}

// Names reports whether n names attribute a; the index is compared only if n
// has one.
func (n AttributeName) Names(a *Attribute) bool {
	return n.Tag == a.Tag && n.Vendor == a.Vendor && n.Name == a.Name && (!n.Indexed || n.Index == a.Index)
}

// With returns an attribute of this name with a value.
func (n AttributeName) With(v Value) Attribute {
	return Attribute{Tag: n.Tag, Vendor: n.Vendor, Name: n.Name, Value: v}
}

// Attributes is an ordered list. The instances of one attribute are adjacent, in
// ascending order of their indexes. No method changes the list: Set, Add and the
// like return a changed copy, so that snapshots stay valid.
type Attributes []Attribute

// Get returns the first instance of the standard attribute t.
func (as Attributes) Get(t Tag) (Value, bool) {
	for i := range as {
		if as[i].Tag == t {
			return as[i].Value, true
		}
	}
	return Value{}, false
}

// Has reports whether the standard attribute t has a value.
func (as Attributes) Has(t Tag) bool { _, ok := as.Get(t); return ok }

// Num returns the number in t's first instance, 0 if there is none.
func (as Attributes) Num(t Tag) int64 { v, _ := as.Get(t); return v.Num }

// Bool returns the Boolean in t's first instance, false if there is none.
func (as Attributes) Bool(t Tag) bool { return as.Num(t) != 0 }

// Text returns the text in t's first instance, "" if there is none.
func (as Attributes) Text(t Tag) string { v, _ := as.Get(t); return v.Text }

// All returns every instance that n names.
func (as Attributes) All(n AttributeName) []Attribute {
	var out []Attribute
	for i := range as {
		if n.Names(&as[i]) {
			out = append(out, as[i])
		}
	}
	return out
}

// Find returns the position in the list of the first instance that n names, or -1.
func (as Attributes) Find(n AttributeName) int {
	return slices.IndexFunc(as, func(a Attribute) bool { return n.Names(&a) })
}

// Set replaces all values of the standard attribute t by the value v.
func (as Attributes) Set(t Tag, v Value) Attributes {
	return as.Without(AttributeName{Tag: t}).Add(Attribute{Tag: t, Value: v})
}

// Add inserts an instance after the last one of the same name, with the next index.
func (as Attributes) Add(a Attribute) Attributes {
	at, index := len(as), 0
	ref := a.Ref()
	for i := range as {
		if ref.Names(&as[i]) {
			at, index = i+1, as[i].Index+1
		}
	}
	a.Index = index
	return slices.Insert(slices.Clone(as), at, a)
}

// Replace sets the value of the instance at position i of the list (see Find).
func (as Attributes) Replace(i int, v Value) Attributes {
	out := slices.Clone(as)
	out[i].Value = v
	return out
}

// Without removes every instance that n names.
func (as Attributes) Without(n AttributeName) Attributes {
	return slices.DeleteFunc(slices.Clone(as), func(a Attribute) bool { return n.Names(&a) })
}

// Modify says when a client may change an attribute.
type Modify uint8

// The times in the standard's tables of rules.
const (
	ModifyNever        Modify = iota
	ModifyAlways              // at any time
	ModifyPreActive           // only while Pre-Active
	ModifyUntilReached        // while Pre-Active or Active, until the date itself is reached
)

// AttributeRule holds the standard's rules for one attribute: the table "Attribute
// Rules" of its section (KMIP 1.4 §3, 2.1 §4).
type AttributeRule struct {
	Tag           Tag
	Name          string // as KMIP 1.x spells it in Attribute Name
	ClientSets    bool   // in Create, Register and the like, or by Add/Set Attribute
	ClientChanges Modify
	ClientDeletes bool
	Multiple      bool // several instances
	Since, Until  Version
}

// AttributeRules lists every standard attribute. Do not change it.
func AttributeRules() []AttributeRule { return attributeTable }

// vendorRule is the rule of attributes that have a vendor's own tag, which KMIP 2.x
// allows.
var vendorRule = AttributeRule{Name: "Vendor Extension", ClientSets: true, ClientChanges: ModifyAlways, ClientDeletes: true, Multiple: true, Since: V2_0}

// RuleOf returns the rule of the attribute t, or nil if t is no attribute.
func RuleOf(t Tag) *AttributeRule {
	if t.IsVendor() {
		return &vendorRule
	}
	return ruleByTag[t]
}

// Several reports whether an object may have more than one value of the attribute.
// Vendor attributes always may (KMIP 1.4 §3.39).
func (n AttributeName) Several() bool {
	r := RuleOf(n.Tag)
	return n.Tag == 0 || (r != nil && r.Multiple)
}

// RuleByName returns the rule of the attribute that KMIP 1.x calls name.
func RuleByName(name string) *AttributeRule { return ruleByName[name] }

var (
	ruleByTag  = map[Tag]*AttributeRule{}
	ruleByName = map[string]*AttributeRule{}
)

func init() {
	for i := range attributeTable {
		r := &attributeTable[i]
		ruleByTag[r.Tag], ruleByName[r.Name] = r, r
	}
}

// fieldBytes is what a value takes beside its text or bytes.
const fieldBytes = 32

// Size is about what attributes take in memory and in the store, in bytes; the
// content of a Template counts too.
func (as Attributes) Size() int {
	n := 0
	for i := range as {
		n += len(as[i].Vendor) + len(as[i].Name) + as[i].Value.size()
	}
	return n
}

func (v *Value) size() int {
	n := fieldBytes + len(v.Text) + len(v.Bytes)
	for i := range v.Fields {
		n += v.Fields[i].Value.size()
	}
	return n
}
