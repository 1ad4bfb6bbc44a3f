package store

import (
	"encoding/json"

	"github.com/keyreeve/keyreeve/core"
)

// The document column: all attributes in their order, as JSON whose form does
// not depend on anything else. Numbers are what they are, text is text, bytes
// are base64; tags are numbers, so that a renamed tag is no other one.
type docAttribute struct {
	Tag    core.Tag `json:"t,omitempty"`
	Vendor string   `json:"v,omitempty"`
	Name   string   `json:"n,omitempty"`
	Index  int      `json:"i,omitempty"`
	Value  docValue `json:"a"`
}

type docValue struct {
	Kind   core.Kind  `json:"k"`
	Num    int64      `json:"d,omitempty"`
	Text   string     `json:"s,omitempty"`
	Bytes  []byte     `json:"b,omitempty"`
	Fields []docField `json:"f,omitempty"`
}

type docField struct {
	Tag   core.Tag `json:"t"`
	Value docValue `json:"a"`
}

func encodeAttributes(as core.Attributes) []byte {
	doc := make([]docAttribute, len(as))
	for i, a := range as {
		doc[i] = docAttribute{a.Tag, a.Vendor, a.Name, a.Index, toDoc(a.Value)}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic("store: attributes that are no JSON: " + err.Error()) // strings are UTF-8 and numbers integers
	}
	return b
}

func toDoc(v core.Value) docValue {
	d := docValue{Kind: v.Kind, Num: v.Num, Text: v.Text, Bytes: v.Bytes}
	for _, f := range v.Fields {
		d.Fields = append(d.Fields, docField{f.Tag, toDoc(f.Value)})
	}
	return d
}

func decodeAttributes(b []byte) (core.Attributes, error) {
	var doc []docAttribute
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, core.Wrap(core.StoreUnavailable, err, "the attributes of a row cannot be read; the database is damaged or of a later version")
	}
	as := make(core.Attributes, len(doc))
	for i, d := range doc {
		as[i] = core.Attribute{Tag: d.Tag, Vendor: d.Vendor, Name: d.Name, Index: d.Index, Value: fromDoc(d.Value)}
	}
	return as, nil
}

func fromDoc(d docValue) core.Value {
	v := core.Value{Kind: d.Kind, Num: d.Num, Text: d.Text, Bytes: d.Bytes}
	if d.Kind == core.KindByteString && v.Bytes == nil {
		v.Bytes = []byte{}
	}
	for _, f := range d.Fields {
		v.Fields = append(v.Fields, core.Field{Tag: f.Tag, Value: fromDoc(f.Value)})
	}
	return v
}
