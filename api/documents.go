package api

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strconv"
)

//go:embed openapi.yaml
var specification []byte

//go:embed reference.html
var reference []byte

// referencePolicy lets a browser use the style sheet in the page, and nothing else.
var referencePolicy = "default-src 'none'; style-src 'sha256-" + styleHash() + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// styleHash returns the hash of the style sheet in the page, as a policy has it.
func styleHash() string {
	_, rest, _ := bytes.Cut(reference, []byte("<style>"))
	style, _, _ := bytes.Cut(rest, []byte("</style>"))
	sum := sha256.Sum256(style)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Documents answers GET and HEAD of /openapi.yaml and /docs to everybody, and passes on all
// other requests. What it answers is in the binary and is the same for everybody.
func Documents(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var text []byte
		var media string
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
		case r.URL.Path == "/openapi.yaml":
			text, media = specification, "application/yaml"
		case r.URL.Path == "/docs":
			text, media = reference, "text/html; charset=utf-8"
		}
		if text == nil {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", media)
		h.Set("Content-Length", strconv.Itoa(len(text)))
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Security-Policy", referencePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		w.Write(text)
	})
}
