// A PKCS#11 module for tests that forwards to the one named in FAULT_MODULE and
// answers errors, or answers late, as the file named in FAULT_CTL says. It is read
// at every call, so that a test can change it while a server runs.
//
// Rules, one a line, the first that fits wins:  FUNCTION CODE-in-hex DELAY-in-ms
//   C_Sign 0x30 0        C_Sign answers CKR_DEVICE_ERROR; the module is not called
//   C_Encrypt 0x0 300    C_Encrypt is 300 ms late, then works
//   C_CopyObject+ 0x30 0 C_CopyObject works, then answers an error all the same
//   * 0x30 0             every function below
// Ways of AES-GCM, which "*" does not mean:
//   GCM_IV 0x1 0         the module makes the IV itself and writes it into the parameters
//   GCM_IV 0x2 0         it makes the IV itself and tells nobody
//   GCM_IV 0x3 0         it uses one IV for ever, and says so
//   GCM_AAD 0x1 0        it leaves out the associated data
//   GCM_TAG 0x1 0        C_Decrypt takes any tag
// Each call of C_Login is noted in a line of FAULT_CTL.logins.
//
// A rule on C_Sign or C_Encrypt leaves the operation of their Init active, as a
// device that fails does.
#include <p11-kit/pkcs11.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static CK_FUNCTION_LIST list;
static CK_FUNCTION_LIST_PTR real;

// rule finds the rule of a function, before or after its effect; 0: none.
static CK_RV rule(const char *function, int after) {
	const char *path = getenv("FAULT_CTL");
	FILE *f = path ? fopen(path, "re") : 0;
	if (!f) return CKR_OK;
	char name[64];
	unsigned long code;
	int ms;
	CK_RV out = CKR_OK;
	while (fscanf(f, "%63s %lx %d", name, &code, &ms) == 3) {
		size_t n = strlen(name);
		int plus = n > 1 && name[n - 1] == '+';
		if (plus) name[n - 1] = 0;
		if (plus != after || (strcmp(name, function) && (strcmp(name, "*") || !strncmp(function, "GCM_", 4)))) continue;
		if (ms) usleep(ms * 1000);
		out = code;
		break;
	}
	fclose(f);
	return out;
}

static void note(const char *function) {
	char path[4096];
	const char *ctl = getenv("FAULT_CTL");
	if (strcmp(function, "C_Login") || !ctl || snprintf(path, sizeof path, "%s.logins", ctl) >= (int)sizeof path) return;
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0) return;
	if (write(fd, "C_Login\n", 8) != 8) {}
	close(fd);
}

#define W(fn, sig, args) static CK_RV my_##fn sig { \
	note(#fn); \
	CK_RV r = rule(#fn, 0); \
	if (r) return r; \
	r = real->fn args; \
	CK_RV then = r ? CKR_OK : rule(#fn, 1); \
	return then ? then : r; }

W(C_Initialize, (CK_VOID_PTR a), (a))
W(C_OpenSession, (CK_SLOT_ID s, CK_FLAGS f, CK_VOID_PTR a, CK_NOTIFY n, CK_SESSION_HANDLE_PTR h), (s, f, a, n, h))
W(C_Login, (CK_SESSION_HANDLE h, CK_USER_TYPE u, CK_UTF8CHAR_PTR p, CK_ULONG n), (h, u, p, n))
W(C_GetSessionInfo, (CK_SESSION_HANDLE h, CK_SESSION_INFO_PTR i), (h, i))
W(C_FindObjectsInit, (CK_SESSION_HANDLE h, CK_ATTRIBUTE_PTR t, CK_ULONG n), (h, t, n))
W(C_CreateObject, (CK_SESSION_HANDLE h, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR o), (h, t, n, o))
W(C_CopyObject, (CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR p), (h, o, t, n, p))
W(C_DestroyObject, (CK_SESSION_HANDLE h, CK_OBJECT_HANDLE o), (h, o))
// gcm is CK_GCM_PARAMS of PKCS#11 2.40, errata 1.
typedef struct { CK_BYTE *iv; CK_ULONG iv_length, iv_bits; CK_BYTE *aad; CK_ULONG aad_length, tag_bits; } gcm;

// odd changes the parameters of AES-GCM for the real module. It returns the
// mechanism to use; copy and iv are room for it.
static CK_MECHANISM_PTR odd(CK_MECHANISM_PTR m, int encrypt, CK_MECHANISM_PTR copy, gcm *params, CK_BYTE *iv) {
	if (!m || m->mechanism != CKM_AES_GCM || m->ulParameterLen != sizeof *params) return m;
	CK_RV how = encrypt ? rule("GCM_IV", 0) : 0;
	CK_RV aad = rule("GCM_AAD", 0);
	if (!how && !aad) return m;
	*params = *(gcm *)m->pParameter;
	*copy = *m;
	copy->pParameter = params;
	if (how && params->iv_length <= 64) {
		static CK_BYTE next;
		memset(iv, 0xA5, params->iv_length);
		if (how != 3) iv[0] = ++next;
		if (how != 2) memcpy(params->iv, iv, params->iv_length); // the caller's own bytes
		params->iv = iv;
	}
	if (aad) params->aad_length = 0;
	return copy;
}

static CK_RV my_C_EncryptInit(CK_SESSION_HANDLE h, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k) {
	CK_RV r = rule("C_EncryptInit", 0);
	if (r) return r;
	CK_MECHANISM copy;
	gcm params;
	CK_BYTE iv[64];
	r = real->C_EncryptInit(h, odd(m, 1, &copy, &params, iv), k);
	CK_RV then = r ? CKR_OK : rule("C_EncryptInit", 1);
	return then ? then : r;
}

static CK_RV my_C_DecryptInit(CK_SESSION_HANDLE h, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k) {
	CK_MECHANISM copy;
	gcm params;
	CK_BYTE iv[64];
	return real->C_DecryptInit(h, odd(m, 0, &copy, &params, iv), k);
}
W(C_Encrypt, (CK_SESSION_HANDLE h, CK_BYTE_PTR d, CK_ULONG n, CK_BYTE_PTR o, CK_ULONG_PTR on), (h, d, n, o, on))
static CK_RV my_C_Decrypt(CK_SESSION_HANDLE h, CK_BYTE_PTR d, CK_ULONG n, CK_BYTE_PTR o, CK_ULONG_PTR on) {
	CK_RV r = rule("C_Decrypt", 0);
	if (r) return r;
	r = real->C_Decrypt(h, d, n, o, on);
	if (r && rule("GCM_TAG", 0)) {
		if (on) *on = 0;
		return CKR_OK;
	}
	CK_RV then = r ? CKR_OK : rule("C_Decrypt", 1);
	return then ? then : r;
}
W(C_SignInit, (CK_SESSION_HANDLE h, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k), (h, m, k))
W(C_Sign, (CK_SESSION_HANDLE h, CK_BYTE_PTR d, CK_ULONG n, CK_BYTE_PTR o, CK_ULONG_PTR on), (h, d, n, o, on))
W(C_GenerateKey, (CK_SESSION_HANDLE h, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR k), (h, m, t, n, k))
W(C_GenerateKeyPair, (CK_SESSION_HANDLE h, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR a, CK_ULONG an, CK_ATTRIBUTE_PTR b, CK_ULONG bn, CK_OBJECT_HANDLE_PTR p, CK_OBJECT_HANDLE_PTR q), (h, m, a, an, b, bn, p, q))
W(C_WrapKey, (CK_SESSION_HANDLE h, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE w, CK_OBJECT_HANDLE k, CK_BYTE_PTR o, CK_ULONG_PTR on), (h, m, w, k, o, on))
W(C_UnwrapKey, (CK_SESSION_HANDLE h, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE w, CK_BYTE_PTR d, CK_ULONG n, CK_ATTRIBUTE_PTR t, CK_ULONG tn, CK_OBJECT_HANDLE_PTR k), (h, m, w, d, n, t, tn, k))
W(C_GenerateRandom, (CK_SESSION_HANDLE h, CK_BYTE_PTR d, CK_ULONG n), (h, d, n))

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR out) {
	const char *path = getenv("FAULT_MODULE");
	void *lib = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : 0;
	CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = lib ? dlsym(lib, "C_GetFunctionList") : 0;
	if (!get) return CKR_GENERAL_ERROR;
	CK_RV r = get(&real);
	if (r) return r;
	list = *real;
#define S(fn) list.fn = my_##fn
	S(C_Initialize); S(C_OpenSession); S(C_Login); S(C_GetSessionInfo); S(C_FindObjectsInit); S(C_CreateObject); S(C_CopyObject); S(C_DestroyObject);
	S(C_EncryptInit); S(C_DecryptInit); S(C_Encrypt); S(C_Decrypt); S(C_SignInit); S(C_Sign); S(C_GenerateKey); S(C_GenerateKeyPair); S(C_WrapKey); S(C_UnwrapKey);
	S(C_GenerateRandom);
	*out = &list;
	return CKR_OK;
}
