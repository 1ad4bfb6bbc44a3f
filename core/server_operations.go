package core

import "slices"

// Operations on the server itself, which KMIP does not have. The policy decides
// them like any other. Their values lie in KMIP's range for extensions, and no
// client can ask for them over KMIP. They are not in [EnumInfo.Values], which
// lists what the standard has.
const (
	OperationReadHealth  Operation = 0x80006B01 // the state of every part of the server
	OperationReadMetrics Operation = 0x80006B02

	OperationListTokenObjects Operation = 0x80006B03 // orphans and sets of keys in the HSM
	OperationPurgeTokenObject Operation = 0x80006B04
)

// EveryOperation lists what the policy can be asked about: the operations of
// KMIP and those on the server itself.
func EveryOperation() []EnumValue { return slices.Concat(enumOperation.Values, serverOperations) }

var serverOperations = []EnumValue{
	{Value: uint32(OperationReadHealth), Name: "Read Health", XML: "ReadHealth"},
	{Value: uint32(OperationReadMetrics), Name: "Read Metrics", XML: "ReadMetrics"},
	{Value: uint32(OperationListTokenObjects), Name: "List Token Objects", XML: "ListTokenObjects"},
	{Value: uint32(OperationPurgeTokenObject), Name: "Purge Token Object", XML: "PurgeTokenObject"},
}

// They are found by value and by name, as the standard's are.
func init() {
	for i := range serverOperations {
		v := &serverOperations[i]
		enumOperation.byValue[v.Value] = v
		enumOperation.byName[v.Name], enumOperation.byName[v.XML] = v.Value, v.Value
	}
}
