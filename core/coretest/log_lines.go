package coretest

import (
	"bytes"
	"strings"
	"sync"
)

// LogLines keeps what is logged. Safe for concurrent use.
type LogLines struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *LogLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

// Count returns how often a text was logged.
func (l *LogLines) Count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.lines.String(), text)
}

// Bytes returns a copy of all that was logged.
func (l *LogLines) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.lines.Bytes())
}
