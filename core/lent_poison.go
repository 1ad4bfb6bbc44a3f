//go:build race || poison

package core

// Poison reports whether lent bytes are filled with a pattern after use.
const Poison = true
