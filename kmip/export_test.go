package kmip

// Definitions returns pointers to the operations, for tests that look at all of
// their fields.
func Definitions() (all []any) {
	for _, row := range Operations() {
		all = append(all, definitions[row.Code])
	}
	return all
}
