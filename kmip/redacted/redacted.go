// Package redacted keeps and shows request messages without their secrets.
//
// A form is a copy of a message in which values are left out unless their tag is in a list:
// no key, password, credential, data, IV, MAC or nonce ever gets into a form. So a form can be
// kept after the memory of its message has been zeroed. It also takes messages that cannot be
// read: what comes before the fault is shown.
// Start at [Append] and [Lines].
package redacted

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// A form is a list of entries of headBytes and the value that is shown:
//
//	1 byte   depth
//	1 byte   what it is: see the constants
//	1 byte   item type (core.Kind)
//	3 bytes  tag
//	3 bytes  the tag that the value belongs to: another one for an Attribute Value
//	4 bytes  length of the value in the message, or the place of a fault
//	2 bytes  length of the value that is shown
const headBytes = 15

// What an entry is.
const (
	shown      byte = iota // an item with its value, or a structure
	hidden                 // an item without its value
	cut                    // more is left out, for want of room
	unreadable             // the message is not TTLV from here on
)

// Bounds of a form.
const (
	maxDepth = 24  // of kmip
	maxText  = 256 // bytes that are shown of a text
)

const tagHeader = 8 // bytes of a TTLV item before its value

// Append appends the form of a message, in at most so many bytes, to dst. It keeps no reference
// to msg.
func Append(dst, msg []byte, most int) []byte {
	w := writer{out: dst, room: most - headBytes}
	w.appendItems(msg, 0, 0, nil)
	return w.out
}

type writer struct {
	out     []byte
	room    int // bytes that are left, without those for one last entry
	stopped bool
}

// attribute is what the fields of an Attribute say of its value.
type attribute struct {
	name   core.Tag // 0: it is not one of the standard's, or not known yet
	vendor bool
}

// appendItems appends the items of b, which begins at a place of the message.
func (w *writer) appendItems(b []byte, at, depth int, of *attribute) {
	for len(b) > 0 && !w.stopped {
		n := w.appendItem(b, at, depth, of)
		b, at = b[n:], at+n
	}
}

// appendItem appends the first item of b, and returns its length.
func (w *writer) appendItem(b []byte, at, depth int, of *attribute) (n int) {
	if len(b) < tagHeader || depth >= maxDepth {
		w.stop(unreadable, depth, at)
		return len(b)
	}
	tag := core.Tag(b[0])<<16 | core.Tag(b[1])<<8 | core.Tag(b[2])
	kind, length := core.Kind(b[3]), int(binary.BigEndian.Uint32(b[4:]))
	b = b[tagHeader:]
	padded := (length + 7) &^ 7
	wrong := kind < core.KindStructure || kind > core.KindDateTimeExtended || padded > len(b)
	if wrong && kind != core.KindStructure {
		w.stop(unreadable, depth, at)
		return tagHeader + len(b)
	}
	if wrong { // the message was cut off, or a length is wrong: what is there is shown
		length, padded = len(b), len(b)
	}
	value := b[:length]
	switch as := meaning(tag, of); {
	case kind == core.KindStructure && (closedStructures[tag] || tag == core.TagAttributeValue && as == 0):
		w.append(hidden, depth, kind, tag, tag, length, nil)
	case kind == core.KindStructure:
		w.append(shown, depth, kind, tag, as, length, nil)
		var inside *attribute
		if tag == core.TagAttribute {
			inside = new(attribute)
		}
		w.appendItems(value, at+tagHeader, depth+1, inside)
		if wrong && !w.stopped {
			w.stop(unreadable, depth, at+tagHeader+len(value))
		}
	case isShown(kind, as, value):
		w.append(shown, depth, kind, tag, as, length, value[:min(len(value), maxText)])
	default:
		w.append(hidden, depth, kind, tag, as, length, nil)
	}
	if of != nil {
		of.learn(tag, kind, value)
	}
	return tagHeader + padded
}

// meaning returns the tag that decides about a value: that of the attribute for an Attribute
// Value, 0 if it is none of the standard's, otherwise the item's own.
func meaning(tag core.Tag, of *attribute) core.Tag {
	if tag != core.TagAttributeValue {
		return tag
	}
	if of == nil || of.vendor {
		return 0
	}
	return of.name
}

// learn takes in a field of an Attribute. KMIP 1.x has the name before the value.
func (a *attribute) learn(tag core.Tag, kind core.Kind, value []byte) {
	switch {
	case tag == core.TagVendorIdentification:
		a.vendor = true
	case tag == core.TagAttributeName && kind == core.KindTextString:
		a.name = 0
		if rule := core.RuleByName(string(value)); rule != nil {
			a.name = rule.Tag
		}
	}
}

// isShown reports whether a value may be shown. A type that the tag does not have is hidden: it
// shows that the client has put something else there.
func isShown(kind core.Kind, tag core.Tag, value []byte) bool {
	switch kind {
	case core.KindTextString:
		return shownTexts[tag] || tag == core.TagAttributeName && isAttributeName(string(value))
	case core.KindInteger, core.KindEnumeration, core.KindInterval:
		return shownNumbers[tag] && len(value) == 4
	case core.KindLongInteger, core.KindBoolean, core.KindDateTime, core.KindDateTimeExtended:
		return shownNumbers[tag] && len(value) == 8
	}
	return false
}

// maxAttributeName bounds the names of custom attributes that are shown, in bytes.
const maxAttributeName = 64

// isAttributeName reports whether a text is the name of an attribute of the standard, or of a
// custom one of KMIP 1.x.
func isAttributeName(s string) bool {
	custom := (strings.HasPrefix(s, "x-") || strings.HasPrefix(s, "y-")) && len(s) <= maxAttributeName
	return custom || core.RuleByName(s) != nil
}

// append appends an entry, or an entry that says that there is no room for it.
func (w *writer) append(what byte, depth int, kind core.Kind, tag, as core.Tag, length int, value []byte) {
	size := headBytes + len(value)
	if w.room < size {
		w.stop(cut, depth, 0)
		return
	}
	w.room -= size
	w.out = append(w.out, byte(depth), what, byte(kind), byte(tag>>16), byte(tag>>8), byte(tag), byte(as>>16), byte(as>>8), byte(as))
	w.out = binary.BigEndian.AppendUint32(w.out, uint32(length))
	w.out = append(binary.BigEndian.AppendUint16(w.out, uint16(len(value))), value...)
}

// stop appends the last entry. at is the place in the message.
func (w *writer) stop(what byte, depth, at int) {
	w.room, w.stopped = headBytes, true
	w.append(what, depth, 0, 0, 0, at, nil)
}

// Lines shows a form: a line for each item, indented by its depth. The text is ASCII. It must be
// a form of this process.
func Lines(form []byte) (lines []string) {
	for len(form) >= headBytes {
		n := int(binary.BigEndian.Uint16(form[13:]))
		e := entry{what: form[1], kind: core.Kind(form[2]), tag: tagAt(form[3:]), as: tagAt(form[6:]), length: binary.BigEndian.Uint32(form[9:]), value: form[headBytes : headBytes+n]}
		lines = append(lines, strings.Repeat("  ", int(form[0]))+e.text())
		form = form[headBytes+n:]
	}
	return lines
}

func tagAt(b []byte) core.Tag { return core.Tag(b[0])<<16 | core.Tag(b[1])<<8 | core.Tag(b[2]) }

type entry struct {
	what    byte
	kind    core.Kind
	tag, as core.Tag
	length  uint32
	value   []byte
}

func (e *entry) text() string {
	switch {
	case e.what == cut:
		return "(the rest is left out)"
	case e.what == unreadable:
		return fmt.Sprintf("(cannot be read from byte %d on)", e.length)
	case e.what == hidden && e.kind == core.KindStructure:
		return fmt.Sprintf("%v: (hidden)", e.tag)
	case e.what == hidden && (e.kind == core.KindTextString || e.kind == core.KindByteString || e.kind == core.KindBigInteger):
		return fmt.Sprintf("%v: (hidden, %v of %d bytes)", e.tag, e.kind, e.length)
	case e.what == hidden:
		return fmt.Sprintf("%v: (hidden, %v)", e.tag, e.kind)
	case e.kind == core.KindStructure:
		return e.tag.String()
	}
	return fmt.Sprintf("%v: %s", e.tag, e.shownValue())
}

func (e *entry) shownValue() string {
	switch e.kind {
	case core.KindTextString:
		text := core.Printable(string(e.value), maxText)
		if int(e.length) > len(e.value) {
			return fmt.Sprintf("%q and %d more bytes", text, int(e.length)-len(e.value))
		}
		return fmt.Sprintf("%q", text)
	case core.KindInteger, core.KindEnumeration:
		n := binary.BigEndian.Uint32(e.value)
		if info := e.as.Info(); info != nil && info.Enum != nil {
			return info.Enum.NameOf(n)
		}
		if e.kind == core.KindEnumeration && e.as == core.TagAttributeReference {
			return core.Tag(n).String()
		}
		return fmt.Sprint(int32(n))
	case core.KindInterval:
		return fmt.Sprintf("%d s", binary.BigEndian.Uint32(e.value))
	case core.KindBoolean:
		return fmt.Sprint(binary.BigEndian.Uint64(e.value) != 0)
	case core.KindDateTime:
		return timeText(int64(binary.BigEndian.Uint64(e.value)))
	}
	return fmt.Sprint(int64(binary.BigEndian.Uint64(e.value)))
}

// timeText shows a date. Dates that no calendar has are shown as the number that was sent.
func timeText(seconds int64) string {
	if t := time.Unix(seconds, 0).UTC(); t.Year() >= 0 && t.Year() <= 9999 && seconds > -1<<40 && seconds < 1<<40 {
		return t.Format(time.RFC3339)
	}
	return fmt.Sprint(seconds)
}
