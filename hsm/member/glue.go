package member

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned long ulong_t;
typedef struct { ulong_t type; void *value; ulong_t length; } attribute_t;
// The function list of PKCS#11 2.x: a version, then pointers in fixed order.
typedef struct { unsigned char version[2]; void *fn[68]; } functions_t;

enum { fnCreateObject = 20, fnDestroyObject = 22, fnGetAttributeValue = 24, fnEncrypt = 30, fnDecrypt = 34, fnSign = 43,
	fnUnwrapKey = 61, fnGenerateRandom = 64 };

int freedIsZeroed(void); // free.c

static functions_t *load(const char *path) {
	void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!h) return 0;
	ulong_t (*get)(functions_t **) = (ulong_t (*)(functions_t **))dlsym(h, "C_GetFunctionList");
	functions_t *f = 0;
	return get && get(&f) == 0 ? f : 0;
}

// create makes an object of n plain attributes and CKA_VALUE. The buffer of the value
// belongs to the caller. The values of the attributes are one after another in packed,
// and lengths has their lengths.
static ulong_t create(functions_t *f, ulong_t session, ulong_t n, ulong_t *types, ulong_t *lengths, unsigned char *packed,
		unsigned char *value, ulong_t valueLength, ulong_t *handle) {
	attribute_t a[24];
	if (n + 1 > 24) return 7; // CKR_ARGUMENTS_BAD
	for (ulong_t i = 0; i < n; i++) {
		a[i].type = types[i]; a[i].value = packed; a[i].length = lengths[i];
		packed += lengths[i];
	}
	a[n].type = 0x11; a[n].value = value; a[n].length = valueLength; // CKA_VALUE
	return ((ulong_t (*)(ulong_t, attribute_t *, ulong_t, ulong_t *))f->fn[fnCreateObject])(session, a, n + 1, handle);
}

// readValue reads CKA_VALUE into the caller's buffer, never more than it holds.
static ulong_t readValue(functions_t *f, ulong_t session, ulong_t object, unsigned char *out, ulong_t *length) {
	attribute_t a = { 0x11, out, *length };
	ulong_t rv = ((ulong_t (*)(ulong_t, ulong_t, attribute_t *, ulong_t))f->fn[fnGetAttributeValue])(session, object, &a, 1);
	*length = a.length;
	return rv;
}

// readWrapped unwraps a blob by AES key wrap as a secret that can only be read, reads it
// and destroys it. These are three calls of the token in one call from Go, since each
// call from Go costs as much as the work of the token.
static ulong_t readWrapped(functions_t *f, ulong_t session, ulong_t kek, unsigned char *blob, ulong_t n, unsigned char *out, ulong_t *length) {
	ulong_t secret = 4, generic = 0x10, object = 0; // CKO_SECRET_KEY, CKK_GENERIC_SECRET
	unsigned char yes = 1, no = 0;
	struct { ulong_t mechanism; void *parameter; ulong_t length; } wrap = { 0x2109, 0, 0 };
	attribute_t a[] = {
		{ 0x000, &secret, sizeof secret }, { 0x100, &generic, sizeof generic }, // CLASS, KEY_TYPE
		{ 0x001, &no, 1 }, { 0x002, &yes, 1 }, { 0x103, &no, 1 }, { 0x162, &yes, 1 }, // TOKEN, PRIVATE, SENSITIVE, EXTRACTABLE
		{ 0x104, &no, 1 }, { 0x105, &no, 1 }, { 0x108, &no, 1 }, { 0x10A, &no, 1 }, // ENCRYPT, DECRYPT, SIGN, VERIFY
		{ 0x106, &no, 1 }, { 0x107, &no, 1 }, { 0x10C, &no, 1 }, // WRAP, UNWRAP, DERIVE
	};
	ulong_t rv = ((ulong_t (*)(ulong_t, void *, ulong_t, unsigned char *, ulong_t, attribute_t *, ulong_t, ulong_t *))f->fn[fnUnwrapKey])
		(session, &wrap, kek, blob, n, a, sizeof a / sizeof *a, &object);
	if (rv) return rv;
	rv = readValue(f, session, object, out, length);
	ulong_t gone = ((ulong_t (*)(ulong_t, ulong_t))f->fn[fnDestroyObject])(session, object);
	return rv ? rv : gone;
}

// process finishes an operation by C_Encrypt, C_Decrypt or C_Sign, which have the same
// parameters.
static ulong_t process(functions_t *f, int fn, ulong_t session, unsigned char *in, ulong_t n, unsigned char *out, ulong_t *length) {
	return ((ulong_t (*)(ulong_t, unsigned char *, ulong_t, unsigned char *, ulong_t *))f->fn[fn])(session, in, n, out, length);
}

static ulong_t randomBytes(functions_t *f, ulong_t session, unsigned char *out, ulong_t n) {
	return ((ulong_t (*)(ulong_t, unsigned char *, ulong_t))f->fn[fnGenerateRandom])(session, out, n);
}

// maxNested bounds the attributes of a template inside a template, and maxNestedValue the
// bytes of each.
enum { maxNested = 16, maxNestedValue = 8 };

// readNested reads a template inside a template: the types of its attributes, their
// lengths, and their values, which are one after another in steps of maxNestedValue.
static ulong_t readNested(functions_t *f, ulong_t session, ulong_t object, ulong_t type, ulong_t *n, ulong_t *types, ulong_t *lengths, unsigned char *values) {
	ulong_t (*get)(ulong_t, ulong_t, attribute_t *, ulong_t) = (ulong_t (*)(ulong_t, ulong_t, attribute_t *, ulong_t))f->fn[fnGetAttributeValue];
	attribute_t inner[maxNested], a = { type, 0, 0 };
	memset(inner, 0, sizeof inner);
	*n = 0;
	ulong_t rv = get(session, object, &a, 1);
	if (rv) return rv;
	if (a.length % sizeof *inner || a.length > sizeof inner) return 0x150; // CKR_BUFFER_TOO_SMALL
	if (!a.length) return 0;
	ulong_t count = a.length / sizeof *inner;
	a.value = inner;
	if ((rv = get(session, object, &a, 1))) return rv;
	for (ulong_t i = 0; i < count; i++) {
		if (inner[i].length > maxNestedValue) return 0x150;
		inner[i].value = values + i * maxNestedValue;
	}
	a.length = count * sizeof *inner;
	if ((rv = get(session, object, &a, 1))) return rv;
	for (ulong_t i = 0; i < count; i++) {
		if (inner[i].length > maxNestedValue) return 0x150;
		types[i] = inner[i].type; lengths[i] = inner[i].length;
	}
	*n = count;
	return 0;
}

// nested builds an array of attributes of one byte each, for a template inside a
// template. It stays in C memory until the process ends.
static attribute_t *nested(ulong_t n, ulong_t *types, unsigned char *values) {
	attribute_t *a = calloc(n, sizeof *a);
	unsigned char *v = malloc(n);
	if (!a || !v) { free(a); free(v); return 0; }
	memcpy(v, values, n);
	for (ulong_t i = 0; i < n; i++) { a[i].type = types[i]; a[i].value = v + i; a[i].length = 1; }
	return a;
}
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	p11 "github.com/miekg/pkcs11"
)

// glue makes the calls that carry key bytes.
type glue struct{ list *C.functions_t }

func loadGlue(module string) (*glue, error) {
	path := C.CString(module)
	defer C.free(unsafe.Pointer(path))
	list := C.load(path)
	if list == nil {
		return nil, fmt.Errorf("%s cannot be loaded or has no C_GetFunctionList", module)
	}
	return &glue{list}, nil
}

// freedIsZeroed reports whether freed C memory is zeroed, so that a token that is software
// in this process leaves no key there.
func freedIsZeroed() bool { return C.freedIsZeroed() != 0 }

// returned returns the error of a return value.
func returned(code C.ulong_t) error {
	if code == 0 {
		return nil
	}
	return p11.Error(code)
}

// createSecret makes a session object with the given attributes and value.
func (g *glue) createSecret(s p11.SessionHandle, template []*p11.Attribute, value []byte) (p11.ObjectHandle, error) {
	if len(value) == 0 {
		return 0, p11.Error(p11.CKR_ATTRIBUTE_VALUE_INVALID)
	}
	types, lengths := make([]C.ulong_t, len(template)), make([]C.ulong_t, len(template))
	var packed []byte
	for i, a := range template {
		types[i], lengths[i] = C.ulong_t(a.Type), C.ulong_t(len(a.Value))
		packed = append(packed, a.Value...)
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	var h C.ulong_t
	err := returned(C.create(g.list, C.ulong_t(s), C.ulong_t(len(template)), &types[0], &lengths[0], (*C.uchar)(&packed[0]),
		(*C.uchar)(&value[0]), C.ulong_t(len(value)), &h))
	return p11.ObjectHandle(h), err
}

// readValue reads CKA_VALUE into buf and returns how many bytes it is.
func (g *glue) readValue(s p11.SessionHandle, o p11.ObjectHandle, buf []byte) (int, error) {
	n := C.ulong_t(len(buf))
	err := returned(C.readValue(g.list, C.ulong_t(s), C.ulong_t(o), (*C.uchar)(&buf[0]), &n))
	return bytesRead(n, buf, err)
}

// bytesRead returns how many bytes a call has written into buf: none if it failed,
// whatever length it reports then.
func bytesRead(n C.ulong_t, buf []byte, err error) (int, error) {
	switch {
	case err != nil:
		return 0, err
	case n > C.ulong_t(len(buf)):
		return 0, p11.Error(p11.CKR_BUFFER_TOO_SMALL)
	}
	return int(n), nil
}

// readWrapped reads the secret in a blob into buf and returns how many bytes it is.
func (g *glue) readWrapped(s p11.SessionHandle, kek p11.ObjectHandle, blob, buf []byte) (int, error) {
	n := C.ulong_t(len(buf))
	err := returned(C.readWrapped(g.list, C.ulong_t(s), C.ulong_t(kek), (*C.uchar)(&blob[0]), C.ulong_t(len(blob)), (*C.uchar)(&buf[0]), &n))
	return bytesRead(n, buf, err)
}

// encrypt, decrypt and sign finish an operation that an Init call began. They write into
// buf.
func (g *glue) encrypt(s p11.SessionHandle, data, buf []byte) (int, error) {
	return g.process(C.fnEncrypt, s, data, buf)
}

func (g *glue) decrypt(s p11.SessionHandle, data, buf []byte) (int, error) {
	return g.process(C.fnDecrypt, s, data, buf)
}

func (g *glue) sign(s p11.SessionHandle, data, buf []byte) (int, error) {
	return g.process(C.fnSign, s, data, buf)
}

func (g *glue) process(fn C.int, s p11.SessionHandle, data, buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, p11.Error(p11.CKR_BUFFER_TOO_SMALL)
	}
	in := new(C.uchar) // some modules refuse a null pointer to no data
	if len(data) > 0 {
		in = (*C.uchar)(&data[0])
	}
	n := C.ulong_t(len(buf))
	err := returned(C.process(g.list, fn, C.ulong_t(s), in, C.ulong_t(len(data)), (*C.uchar)(&buf[0]), &n))
	return bytesRead(n, buf, err)
}

// random fills buf with random bytes.
func (g *glue) random(s p11.SessionHandle, buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	return returned(C.randomBytes(g.list, C.ulong_t(s), (*C.uchar)(&buf[0]), C.ulong_t(len(buf))))
}

// readTemplate reads CKA_UNWRAP_TEMPLATE or CKA_WRAP_TEMPLATE; the binding returns only
// pointers for them. An absent template is the same as an empty one.
func (g *glue) readTemplate(s p11.SessionHandle, o p11.ObjectHandle, attribute uint) (map[uint][]byte, error) {
	var n C.ulong_t
	var types, lengths [C.maxNested]C.ulong_t
	var values [C.maxNested * C.maxNestedValue]byte
	if err := returned(C.readNested(g.list, C.ulong_t(s), C.ulong_t(o), C.ulong_t(attribute), &n, &types[0], &lengths[0], (*C.uchar)(&values[0]))); err != nil {
		return nil, err
	}
	out := make(map[uint][]byte, n)
	for i := range int(n) {
		at := i * C.maxNestedValue
		out[uint(types[i])] = bytes.Clone(values[at : at+int(lengths[i])])
	}
	return out, nil
}

// nestedTemplate returns the value of CKA_UNWRAP_TEMPLATE or CKA_WRAP_TEMPLATE: an array
// of Boolean attributes in C memory. It is never freed, since few are made.
func nestedTemplate(flags ...flag) []byte {
	n := len(flags)
	types, values := make([]C.ulong_t, n), make([]byte, n)
	for i, f := range flags {
		types[i] = C.ulong_t(f.attribute)
		if f.value {
			values[i] = 1
		}
	}
	a := C.nested(C.ulong_t(n), &types[0], (*C.uchar)(&values[0]))
	if a == nil {
		panic("member: out of C memory")
	}
	return C.GoBytes(unsafe.Pointer(a), C.int(n)*C.int(unsafe.Sizeof(*a)))
}

// derivationData returns a CK_KEY_DERIVATION_STRING_DATA that points to a copy of b.
func derivationData(b []byte) (param []byte, free func()) {
	p := C.CBytes(b)
	param = binary.NativeEndian.AppendUint64(nil, uint64(uintptr(p)))
	return binary.NativeEndian.AppendUint64(param, uint64(len(b))), func() { C.free(p) }
}

// flag is a Boolean attribute of a template inside a template.
type flag struct {
	attribute uint
	value     bool
}
