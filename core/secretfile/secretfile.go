// Package secretfile reads a secret of one line, such as a PIN, from a file. The file
// must have only that line, which is returned whole. Errors never show any of the
// content. Start at [Line].
package secretfile

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxBytes bounds the size of the file.
const maxBytes = 4096

// Line returns the only line of a file, without a line break at its end. It fails if the
// file is not regular or too long, has a second line or characters that cannot be
// printed, or has white space around the line.
func Line(path string) (string, error) {
	b, err := readSmallFile(path)
	if err != nil {
		return "", err
	}
	defer clear(b)
	return LineOf(path, b)
}

// LineOf is [Line] for a file that was read already. The path is for errors alone.
func LineOf(path string, content []byte) (string, error) {
	line := bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	switch {
	case len(content) > maxBytes:
		return "", fmt.Errorf("the file %s has more than %d bytes", path, maxBytes)
	case bytes.ContainsAny(line, "\r\n"):
		return "", fmt.Errorf("the file %s has more than one line; leave only the line with the secret", path)
	case !utf8.Valid(line) || bytes.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", fmt.Errorf("the file %s holds characters that cannot be printed, such as NUL or a tab; write the secret as text", path)
	}
	s := string(line)
	if strings.TrimSpace(s) != s {
		return "", fmt.Errorf("the line in the file %s begins or ends with white space; remove it", path)
	}
	return s, nil
}

func readSmallFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxBytes+1))
}
