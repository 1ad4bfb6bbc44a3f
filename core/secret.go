package core

import (
	"log/slog"
	"sync"
)

// Secret is a buffer for key bytes that is zeroed when it is released. It
// prints "redacted" wherever it is printed. Not safe for concurrent use.
type Secret struct{ buf []byte }

var secrets = sync.Pool{New: func() any { return &Secret{buf: make([]byte, 0, 128)} }}

// NewSecret lends an empty buffer.
func NewSecret() *Secret { return secrets.Get().(*Secret) }

// Bytes returns the content, which is valid until Release.
func (s *Secret) Bytes() []byte { return s.buf }

// Set makes b the content. b must be the result of appending to Bytes()[:0]. If that
// made a new buffer, Set zeroes the old one.
func (s *Secret) Set(b []byte) {
	if cap(s.buf) > 0 && (cap(b) == 0 || &s.buf[:1][0] != &b[:1][0]) {
		Retire(s.buf[:cap(s.buf)])
	}
	s.buf = b
}

// Release zeroes the content and gives the buffer back; nil is allowed.
func (s *Secret) Release() {
	if s == nil {
		return
	}
	if Retire(s.buf[:cap(s.buf)]) {
		s.buf = s.buf[:0]
		secrets.Put(s)
	}
}

func (s *Secret) String() string               { return "redacted" }
func (s *Secret) LogValue() slog.Value         { return slog.StringValue("redacted") }
func (s *Secret) MarshalJSON() ([]byte, error) { return []byte(`"redacted"`), nil }
