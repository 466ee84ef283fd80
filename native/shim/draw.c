/* SPDX-License-Identifier: Apache-2.0 */
/* draw.c - random numbers: of a connection, of a server that starts, or the kernel's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "core/lockstep/uniform.h"
#include "shim.h"

/* What may be seen, what must not be, and what a generator grows from come from streams of their own. */
enum kind { OF_PUBLIC = 1, OF_PRIVATE = 2, OF_ENTROPY = 3, OF_PIDS = 4 };

#define WAITS 100000 /* for another thread that takes the key; a handler of signals may have interrupted just that one */

static uint64_t state_of(uint32_t epoch, enum shim_state state)
{
	return (uint64_t)epoch << 2 | state;
}

static enum shim_state phase(uint64_t state)
{
	return (enum shim_state)(state & 3);
}

static void write_key(struct shim_secret *s, uint32_t epoch, const uint8_t key[FTT_CHACHA_KEY])
{
	memcpy(s->key, key, FTT_CHACHA_KEY);
	for (unsigned i = 0; i < SHIM_COUNTS; i++) {
		atomic_store(&s->drawn[i].what, 0);
		atomic_store(&s->drawn[i].number, 0);
	}
	atomic_store(&s->state, state_of(epoch, SHIM_READY));
}

void shim_set_key(struct shim_current c, const uint8_t key[FTT_CHACHA_KEY])
{
	struct shim_secret *s = &shim_secrets[c.slot];
	uint64_t none = 0;

	if (atomic_compare_exchange_strong(&s->state, &none, state_of(c.epoch, SHIM_BUSY)))
		write_key(s, c.epoch, key);
}

bool shim_begin_key(struct shim_current c)
{
	uint64_t none = 0;

	return atomic_compare_exchange_strong(&shim_secrets[c.slot].state, &none, state_of(c.epoch, SHIM_FRESH));
}

void shim_forget_key(struct shim_current c)
{
	struct shim_secret *s = &shim_secrets[c.slot];
	uint64_t state = atomic_load(&s->state);

	do
		if (state >> 2 != c.epoch || phase(state) == SHIM_BUSY)
			return; /* the next connection's; or who is at it looks at the epoch then, and forgets it */
	while (!atomic_compare_exchange_weak(&s->state, &state, state_of(c.epoch, SHIM_BUSY)));
	ftt_wipe(s->key, FTT_CHACHA_KEY);
	atomic_store(&s->state, 0);
}

/* The state is BUSY, by this thread: while it is, the slot has no other connection, if it had none before. */
static bool take_key(struct shim_current c)
{
	struct shim_secret *s = &shim_secrets[c.slot];
	struct ftt_ls_found found;
	uint8_t key[FTT_CHACHA_KEY];
	bool taken = shim_found(c, &found) && shim_context(&found, key);

	if (taken)
		write_key(s, c.epoch, key);
	else
		atomic_store(&s->state, state_of(c.epoch, SHIM_LOST));
	ftt_wipe(key, sizeof(key));
	if (shim_still(c))
		return taken;
	shim_forget_key(c);
	return false;
}

bool shim_keyed(struct shim_current c)
{
	struct shim_secret *s = &shim_secrets[c.slot];

	for (int i = 0; c.slot && i < WAITS; i++) {
		uint64_t state = atomic_load(&s->state);

		if (state && state >> 2 != c.epoch)
			return false; /* another connection's */
		if (phase(state) == SHIM_READY)
			return true;
		if (phase(state) == SHIM_LOST)
			return false;
		if (phase(state) == SHIM_BUSY)
			sched_yield(); /* another thread takes it: some hundred nanoseconds */
		else if (atomic_compare_exchange_strong(&s->state, &state, state_of(c.epoch, SHIM_BUSY)))
			return take_key(c);
	}
	return false;
}

/* The number of the next draw of this kind and length. */
static uint64_t take_number(struct shim_secret *s, uint32_t what)
{
	unsigned i = 0;

	for (; i < SHIM_COUNTS - 1; i++) {
		uint32_t there = atomic_load_explicit(&s->drawn[i].what, memory_order_relaxed);

		if (there == what || (!there && (atomic_compare_exchange_strong(&s->drawn[i].what, &there, what) || there == what)))
			break;
	}
	return atomic_fetch_add(&s->drawn[i].number, 1);
}

/* Copies the key, and takes a number for `what`, if it is not 0. False if it is not (no longer) the key of this connection. */
static bool copy_key(struct shim_current c, uint32_t what, uint8_t key[FTT_CHACHA_KEY], uint64_t *number)
{
	struct shim_secret *s = &shim_secrets[c.slot];
	uint64_t ready = state_of(c.epoch, SHIM_READY);

	if (atomic_load(&s->state) != ready)
		return false;
	if (what)
		*number = take_number(s, what);
	memcpy(key, s->key, FTT_CHACHA_KEY);
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load(&s->state) == ready && shim_still(c))
		return true;
	ftt_wipe(key, FTT_CHACHA_KEY);
	return false;
}

bool shim_start_key(uint8_t key[FTT_CHACHA_KEY])
{
	return copy_key((struct shim_current){0}, 0, key, NULL);
}

/*
 * The next draw of this kind and length. What a process draws for itself in a connection that happens to be its first, or its 32nd (OpenSSL's
 * blinding of RSA), has another length than what the connection needs, and so displaces none of that.
 */
static bool draw_from(struct shim_current c, enum kind kind, uint8_t *out, size_t n)
{
	uint32_t what = (uint32_t)kind << 28 | (n < 1u << 28 ? (uint32_t)n : (1u << 28) - 1);
	uint8_t nonce[FTT_CHACHA_NONCE], key[FTT_CHACHA_KEY];
	uint64_t number;

	if (!copy_key(c, what, key, &number))
		return false;
	ftt_chacha_put(nonce, what);
	ftt_chacha_put(nonce + 4, (uint32_t)number);
	ftt_chacha_put(nonce + 8, (uint32_t)(number >> 32));
	ftt_chacha_stream(out, n, key, nonce);
	ftt_wipe(key, sizeof(key));
	return true;
}

/*
 * Before it serves, a server draws what stays with it: keys of session tickets. Not so what a generator grows from: what came of
 * it would be the same after each start, for other connections.
 */
static bool starts(enum kind kind)
{
	return kind != OF_ENTROPY && !atomic_load_explicit(&shim_serves, memory_order_relaxed);
}

/*
 * ... nor in a connection of a process that has others: the generator is for all of them. Both copies would use the same state of it
 * for different connections, whose order is not the same, and once more after a takeover.
 */
static bool serves(enum kind kind, struct shim_current c)
{
	return c.slot && (kind != OF_ENTROPY || shim_is_only(c));
}

/* False: nothing was drawn, the kernel is to be asked. */
static bool draw(enum kind kind, void *out, size_t n)
{
	struct shim_current c;

	if (!shim_map.header)
		return false;
	c = shim_now();
	if (serves(kind, c) && shim_keyed(c) && draw_from(c, kind, out, n)) {
		shim_count(FTT_LS_OF_CONNECTIONS);
		return true;
	}
	if (!c.slot && starts(kind) && draw_from(c, kind, out, n)) {
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

/* GnuTLS: its levels are 0, what may be seen, and above it what must not be. -206: GNUTLS_E_RANDOM_FAILED */
EXPORT int gnutls_rnd(int level, void *out, size_t n)
{
	return openssl(level ? OF_PRIVATE : OF_PUBLIC, out, n) ? 0 : -206;
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
	return ftt_uniform(below, arc4random);
}

bool shim_draw_pid(struct shim_current c, uint32_t *drawn)
{
	return shim_keyed(c) && draw_from(c, OF_PIDS, (uint8_t *)drawn, sizeof(*drawn));
}

bool shim_draw_device(void *out, size_t n)
{
	return draw(OF_ENTROPY, out, n);
}
