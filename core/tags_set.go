package core

// TagSet is a set of tags.
type TagSet map[Tag]bool
