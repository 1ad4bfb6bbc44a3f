//go:build race

package kmipd

const raced = true
