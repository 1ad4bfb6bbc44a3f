// Freed C memory is zeroed, whoever frees it in this process. OpenSSL and SoftHSM2
// unwrap a key by way of copies that they free as they are: without this each use
// of a private key left it in the C heap until the room happened to be used
// again (docs/decisions/0006-nothing-stays-in-memory.md). It replaces the C
// library's functions for all libraries, as its manual allows ("Replacing malloc").

#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)

// The C library's own, under the names that it keeps for those who replace them.
extern void __libc_free(void *);

void free(void *p) {
	if (p) explicit_bzero(p, malloc_usable_size(p));
	__libc_free(p);
}

// What realloc moves it would free by itself, and what it cuts off it would leave.
void *realloc(void *p, size_t n) {
	if (!p) return malloc(n);
	if (!n) { free(p); return 0; }
	size_t had = malloc_usable_size(p);
	void *q = malloc(n);
	if (!q) return 0;
	memcpy(q, p, n < had ? n : had);
	free(p);
	return q;
}

#endif

// freedIsZeroed tells whether those who load later, the token's library first of
// all, meet the functions above.
int freedIsZeroed(void) {
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
	return dlsym(RTLD_DEFAULT, "free") == (void *)free && dlsym(RTLD_DEFAULT, "realloc") == (void *)realloc;
#else
	return 0;
#endif
}
