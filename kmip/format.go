package kmip

import (
	"encoding/hex"
	"strconv"
)

func quoted(s string) string  { return strconv.Quote(s) }
func hexOf(b []byte) string   { return hex.EncodeToString(b) }
func number64(n int64) string { return strconv.FormatInt(n, 10) }
