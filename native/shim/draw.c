/* SPDX-License-Identifier: Apache-2.0 */
/* draw.c - random numbers: of a connection, of a server that starts, or the kernel's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "shim.h"

/* What may be seen, what must not be, and what a generator grows from come from streams of their own. */
enum kind { OF_PUBLIC = 1, OF_PRIVATE = 2, OF_ENTROPY = 3 };

void shim_set_key(uint32_t slot, const uint8_t key[FTT_CHACHA_KEY])
{
	struct shim_secret *s = &shim_secrets[slot];

	memcpy(s->key, key, FTT_CHACHA_KEY);
	for (unsigned i = 0; i < SHIM_COUNTS; i++)
		atomic_store(&s->drawn[i], 0);
	atomic_store_explicit(&s->state, SHIM_READY, memory_order_release);
}

bool shim_keyed(uint32_t slot)
{
	struct shim_secret *s = &shim_secrets[slot];
	uint8_t key[FTT_CHACHA_KEY];

	for (;;) {
		uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);

		if (state == SHIM_READY)
			return true;
		if (state == SHIM_LOST)
			return false;
		if (state == SHIM_BUSY) { /* another thread takes it: some hundred nanoseconds */
			sched_yield();
			continue;
		}
		if (!atomic_compare_exchange_strong(&s->state, &state, SHIM_BUSY))
			continue;
		if (slot && shim_slots[slot].found.row && ftt_ls_context(&shim_slots[slot].found, key)) {
			shim_set_key(slot, key);
			ftt_wipe(key, sizeof(key));
			return true;
		}
		atomic_store_explicit(&s->state, SHIM_LOST, memory_order_release);
		return false;
	}
}

void shim_forget_key(uint32_t slot)
{
	ftt_wipe(shim_secrets[slot].key, FTT_CHACHA_KEY);
	atomic_store(&shim_secrets[slot].state, SHIM_FRESH);
}

/*
 * The next draw of this kind and length. What a process draws for itself in a connection that happens to be its first, or its 32nd (OpenSSL's
 * blinding of RSA), has another length than what the connection needs, and so displaces none of that.
 */
static void draw_from(uint32_t slot, enum kind kind, uint8_t *out, size_t n)
{
	struct shim_secret *s = &shim_secrets[slot];
	uint32_t what = (uint32_t)kind << 28 | (n < 1u << 28 ? (uint32_t)n : (1u << 28) - 1);
	uint64_t number = atomic_fetch_add(&s->drawn[(what * 0x9e3779b1u >> 16) % SHIM_COUNTS], 1);
	uint8_t nonce[FTT_CHACHA_NONCE];

	ftt_chacha_put(nonce, what);
	ftt_chacha_put(nonce + 4, (uint32_t)number);
	ftt_chacha_put(nonce + 8, (uint32_t)(number >> 32));
	ftt_chacha_stream(out, n, s->key, nonce);
}

/*
 * Before it serves, a server draws what stays with it: keys of session tickets. Not so what a generator grows from: what came of
 * it would be the same after each start, for other connections.
 */
static bool starts(enum kind kind)
{
	return kind != OF_ENTROPY && !atomic_load_explicit(&shim_serves, memory_order_relaxed) &&
	       atomic_load(&shim_secrets[SHIM_NOBODY].state) == SHIM_READY;
}

/* False: nothing was drawn, the kernel is to be asked. */
static bool draw(enum kind kind, void *out, size_t n)
{
	uint32_t slot;

	if (!shim_map.header)
		return false;
	slot = shim_now();
	if (slot && shim_keyed(slot)) {
		draw_from(slot, kind, out, n);
		shim_count(FTT_LS_OF_CONNECTIONS);
		return true;
	}
	if (!slot && starts(kind)) {
		draw_from(SHIM_NOBODY, kind, out, n);
		shim_count(FTT_LS_AT_START);
		return true;
	}
	shim_count(FTT_LS_WITHOUT);
	return false;
}

typedef long syscall_fn(long, ...);

static syscall_fn *next_syscall(void)
{
	static syscall_fn *_Atomic next;
	syscall_fn *known = atomic_load_explicit(&next, memory_order_relaxed);

	if (!known) {
		*(void **)&known = dlsym(RTLD_NEXT, "syscall");
		atomic_store(&next, known);
	}
	return known;
}

static ssize_t ask_kernel(void *out, size_t n, unsigned flags)
{
	return next_syscall()(SYS_getrandom, out, n, flags);
}

static bool from_kernel(uint8_t *out, size_t n)
{
	int before = errno;

	while (n) {
		ssize_t got = ask_kernel(out, n, 0);

		if (got < 0 && errno != EINTR)
			return false;
		if (got > 0) {
			out += got;
			n -= (size_t)got;
		}
	}
	errno = before;
	return true;
}

static int openssl(enum kind kind, void *out, size_t n)
{
	return draw(kind, out, n) || from_kernel(out, n);
}

EXPORT int RAND_bytes(unsigned char *out, int n)
{
	return n >= 0 && openssl(OF_PUBLIC, out, (size_t)n);
}

EXPORT int RAND_priv_bytes(unsigned char *out, int n)
{
	return n >= 0 && openssl(OF_PRIVATE, out, (size_t)n);
}

EXPORT int RAND_bytes_ex(void *library, unsigned char *out, size_t n, unsigned strength)
{
	(void)library, (void)strength; /* 256 bits, the most that there is */
	return openssl(OF_PUBLIC, out, n);
}

EXPORT int RAND_priv_bytes_ex(void *library, unsigned char *out, size_t n, unsigned strength)
{
	(void)library, (void)strength;
	return openssl(OF_PRIVATE, out, n);
}

EXPORT ssize_t getrandom(void *out, size_t n, unsigned flags)
{
	return draw(OF_ENTROPY, out, n) ? (ssize_t)n : ask_kernel(out, n, flags);
}

/* Some ask the kernel by this (CPython's os.getrandom). All other calls go on as they are. */
EXPORT long syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_getrandom)
		return getrandom((void *)a[0], (size_t)a[1], (unsigned)a[2]);
	return next_syscall()(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

EXPORT int getentropy(void *out, size_t n)
{
	if (n > 256) {
		errno = EIO;
		return -1;
	}
	return draw(OF_ENTROPY, out, n) || from_kernel(out, n) ? 0 : -1;
}

/* These have no way to fail. */
EXPORT void arc4random_buf(void *out, size_t n)
{
	if (!draw(OF_ENTROPY, out, n) && !from_kernel(out, n))
		__builtin_trap();
}

EXPORT uint32_t arc4random(void)
{
	uint32_t drawn;

	arc4random_buf(&drawn, sizeof(drawn));
	return drawn;
}

EXPORT uint32_t arc4random_uniform(uint32_t below)
{
	uint32_t drawn, least = below < 2 ? 0 : -below % below; /* numbers below this one would come up more often */

	if (below < 2)
		return 0;
	do
		drawn = arc4random();
	while (drawn < least);
	return drawn % below;
}

/* A read of /dev/urandom: who.c knows its descriptors. */
bool shim_draw_device(void *out, size_t n)
{
	return draw(OF_ENTROPY, out, n);
}
