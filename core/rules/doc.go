// Package rules holds the rules of objects that need no port: what clients may give,
// what must agree, and what follows from it. They are functions of their arguments.
package rules
