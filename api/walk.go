package api

import (
	"bytes"
	"encoding/json"
)

// walker goes over JSON that is valid, and makes no copies: they may be secret.
type walker struct {
	body []byte
	at   int
}

// next returns the first byte of the next token. It is 0 at the end.
func (w *walker) next() byte {
	for ; w.at < len(w.body); w.at++ {
		switch c := w.body[w.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
		default:
			return c
		}
	}
	return 0
}

// endsWith reports whether an object or array ends here, and goes past its last byte.
func (w *walker) endsWith(last byte) bool {
	if w.next() != last {
		return false
	}
	w.at++
	return true
}

// literal returns what is between the quotation marks of the next text, and whether that has escapes.
func (w *walker) literal() (inside []byte, escaped bool) {
	w.next()
	w.at++
	rest := w.body[w.at:]
	end := bytes.IndexByte(rest, '"')
	if escaped = bytes.IndexByte(rest[:end], '\\') >= 0; escaped {
		for end = 0; rest[end] != '"'; end++ {
			if rest[end] == '\\' {
				end++
			}
		}
	}
	w.at += end + 1
	return rest[:end], escaped
}

// text returns the next text. It is a copy, to be zeroed, if it has escapes.
func (w *walker) text() (text []byte, copied bool, err error) {
	w.next()
	begin := w.at
	if inside, escaped := w.literal(); !escaped {
		return inside, false, nil
	}
	var u unescaped
	err = json.Unmarshal(w.body[begin:w.at], &u)
	return u, true, err
}

// scalar returns the next number, true, false or null.
func (w *walker) scalar() []byte {
	w.next()
	begin := w.at
	for w.at < len(w.body) && bytes.IndexByte([]byte(" \t\r\n,:]}"), w.body[w.at]) < 0 {
		w.at++
	}
	return w.body[begin:w.at]
}

// skip goes past the next value.
func (w *walker) skip() {
	for depth := 0; ; {
		switch w.next() {
		case '{', '[':
			w.at++
			depth++
		case '}', ']':
			w.at++
			depth--
		case '"':
			w.literal()
		default:
			w.scalar()
		}
		if depth == 0 {
			return
		}
	}
}
