package kmip

// ParseRequest reads a message into a new Request.
func ParseRequest(msg []byte) (Request, error) {
	var r Request
	err := r.Parse(msg)
	return r, err
}

// Definitions returns pointers to the operations, for tests that look at all of
// their fields.
func Definitions() (all []any) {
	for _, row := range Operations() {
		all = append(all, definitions[row.Code])
	}
	return all
}
