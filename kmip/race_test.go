//go:build race

package kmip_test

const raced = true
