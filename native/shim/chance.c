/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chance.c - random() and rand(), if the server's environment asks for it: the same in both copies for the timers of a loop.
 *
 * The C library has one generator for all that a process does. In which order a server's timers draw from it depends on moments in
 * which nodes differ, and after one other order both copies draw otherwise for ever. So what is drawn follows from the command
 * and from how much was drawn since the thread last waited, and from nothing else. ALIKE draws, one after the other, give the same
 * number: a timer draws that whether others are due in its turn or not. Not for secrets; who draws until a number fits finds one.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "shim.h"

#define ALIKE 64u
#define WANTED "FTTCP_LOCKSTEP_RANDOM"

static bool wanted;
static uint8_t key[FTT_CHACHA_KEY];
static _Thread_local uint64_t drawn __attribute__((tls_model("initial-exec"))); /* since this thread last waited */
static long (*_Atomic next)(void);

void shim_know_chance(int argc, char **argv)
{
	char *asked = getenv(WANTED);

	if (!asked || strcmp(asked, "1"))
		return;
	ftt_chacha_derive(key, shim_map.secrets[0], FTT_LS_CHANCE, NULL, 0);
	for (int i = 0; i < argc; i++)
		ftt_chacha_derive(key, key, FTT_LS_CHANCE, argv[i], strlen(argv[i]));
	wanted = true;
}

void shim_new_turn(void)
{
	drawn = 0;
}

static long ask_library(void)
{
	long (*known)(void) = atomic_load_explicit(&next, memory_order_relaxed);

	if (!known) {
		*(void **)&known = dlsym(RTLD_NEXT, "random");
		atomic_store(&next, known);
	}
	return known();
}

EXPORT long random(void)
{
	uint8_t nonce[FTT_CHACHA_NONCE] = {0}, out[4];

	if (!wanted)
		return ask_library();
	ftt_chacha_put(nonce, (uint32_t)(drawn / ALIKE));
	ftt_chacha_put(nonce + 4, (uint32_t)(drawn / ALIKE >> 32));
	drawn++;
	ftt_chacha_stream(out, sizeof(out), key, nonce);
	return ((long)(out[3] & 0x7f) << 24) | (long)out[2] << 16 | (long)out[1] << 8 | out[0]; /* 31 bits, as RAND_MAX has */
}

EXPORT int rand(void)
{
	return (int)random();
}
