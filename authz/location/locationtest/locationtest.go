// Package locationtest writes small files in the MaxMind DB format for tests, by version 2.0 of
// its specification. Start at [File].
package locationtest

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
)

// Place is where the addresses of a network are. "" leaves a code out.
type Place struct{ Country, Continent string }

// File returns the content of a database for networks in CIDR form, which do not overlap. IPv4
// networks are where MaxMind has them, in ::/96.
func File(databaseType string, networks map[string]Place) []byte {
	tree, data := searchTree{nodes: [][2]int{{}}}, []byte{}
	for _, network := range slices.Sorted(maps.Keys(networks)) {
		tree.insertNetwork(netip.MustParsePrefix(network), len(data))
		data = appendPlace(data, networks[network])
	}
	out := append(tree.encode(), make([]byte, 16)...)
	out = append(append(out, data...), "\xab\xcd\xefMaxMind.com"...)
	return appendMetadata(out, databaseType, len(tree.nodes))
}

// searchTree has two records for each node: 0 is nothing, a positive number is a node, and a
// negative one is -1 minus the offset of the data.
type searchTree struct{ nodes [][2]int }

func (t *searchTree) insertNetwork(network netip.Prefix, offset int) {
	bits, length := network.Addr().As16(), network.Bits()
	if network.Addr().Is4() {
		bits, length = [16]byte{}, length+96
		copy(bits[12:], network.Addr().AsSlice())
	}
	at := 0
	for i := range length {
		side := bits[i/8] >> (7 - i%8) & 1
		if i == length-1 {
			t.nodes[at][side] = -1 - offset
			return
		}
		if t.nodes[at][side] <= 0 {
			t.nodes = append(t.nodes, [2]int{})
			t.nodes[at][side] = len(t.nodes) - 1
		}
		at = t.nodes[at][side]
	}
}

// encode returns the nodes with records of 24 bits.
func (t *searchTree) encode() (out []byte) {
	for _, node := range t.nodes {
		for _, record := range node {
			switch {
			case record == 0:
				record = len(t.nodes)
			case record < 0:
				record = len(t.nodes) + 16 - 1 - record
			}
			out = append(out, byte(record>>16), byte(record>>8), byte(record))
		}
	}
	return out
}

// The types of the data section, shifted as in the control byte.
const (
	textType   = 2 << 5
	uint16Type = 5 << 5
	uint32Type = 6 << 5
	mapType    = 7 << 5
)

func appendPlace(b []byte, p Place) []byte {
	codes := map[string][2]string{}
	if p.Country != "" {
		codes["country"] = [2]string{"iso_code", p.Country}
	}
	if p.Continent != "" {
		codes["continent"] = [2]string{"code", p.Continent}
	}
	b = append(b, mapType|byte(len(codes)))
	for _, name := range slices.Sorted(maps.Keys(codes)) {
		b = append(appendText(b, name), mapType|1)
		b = appendText(appendText(b, codes[name][0]), codes[name][1])
	}
	return b
}

// appendText appends a text of at most 284 bytes.
func appendText(b []byte, s string) []byte {
	if len(s) < 29 {
		return append(append(b, textType|byte(len(s))), s...)
	}
	return append(append(b, textType|29, byte(len(s)-29)), s...)
}

func appendMetadata(b []byte, databaseType string, nodes int) []byte {
	short := func(name string, value uint16) {
		b = binary.BigEndian.AppendUint16(append(appendText(b, name), uint16Type|2), value)
	}
	b = append(b, mapType|9)
	short("binary_format_major_version", 2)
	short("binary_format_minor_version", 0)
	short("ip_version", 6)
	short("record_size", 24)
	b = binary.BigEndian.AppendUint32(append(appendText(b, "node_count"), uint32Type|4), uint32(nodes))
	b = append(appendText(b, "build_epoch"), 8, 2) // uint64, which is an extended type
	b = append(b, 0, 0, 0, 0, 0x65, 0, 0, 0)
	b = appendText(appendText(b, "database_type"), databaseType)
	b = append(appendText(b, "languages"), 0, 4) // an empty array
	return appendText(appendText(append(appendText(b, "description"), mapType|1), "en"), "made by a test")
}
