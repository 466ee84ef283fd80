/* SPDX-License-Identifier: Apache-2.0 */
/* company.c - what all of the library knows of this process: its memory, and whether it was made for one connection. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "shim.h"

struct ftt_ls_map shim_map;
struct shim_slot shim_slots[SHIM_SLOTS];
struct shim_secret *shim_secrets;
_Atomic bool shim_serves;
_Thread_local struct shim_current shim_current __attribute__((tls_model("initial-exec")));
_Thread_local bool shim_ahead __attribute__((tls_model("initial-exec")));

static _Atomic uint32_t company; /* enum: NONE, ONE, MANY */
static struct ftt_ls_found only;

enum { NONE = 0, ONE, MANY };

static bool same(const struct ftt_ls_found *a, const struct ftt_ls_found *b)
{
	return a->row && a->row == b->row && a->generation == b->generation;
}

bool shim_is_only(struct shim_current c)
{
	struct ftt_ls_found found;

	return atomic_load(&company) == ONE && shim_found(c, &found) && same(&found, &only);
}

bool shim_has_one(void)
{
	return atomic_load_explicit(&company, memory_order_relaxed) == ONE;
}

void shim_made_for(const struct ftt_ls_found *found)
{
	only = *found;
	atomic_store(&company, ONE);
}

void shim_came_with(const struct ftt_ls_found *found)
{
	if (found->row && atomic_load(&company) == NONE)
		shim_made_for(found);
	else if (!same(found, &only))
		atomic_store(&company, MANY);
}

void shim_meets_others(void)
{
	atomic_store(&company, MANY);
}

static uint8_t own_seed[FTT_LS_SECRET]; /* of the only connection, when the others' are not mapped any more */

bool shim_context(const struct ftt_ls_found *found, uint8_t key[FTT_CHACHA_KEY])
{
	if (shim_map.secrets)
		return ftt_ls_context(found, ftt_ls_seed(&shim_map, (size_t)(found->row - shim_map.rows)), key);
	return same(found, &only) && ftt_ls_context(found, own_seed, key);
}

void shim_keep_own_seed(void)
{
	size_t at = ftt_ls_secrets_at(shim_map.tables, shim_map.length);

	if (atomic_load(&company) != ONE || shim_map.flags & FTT_LS_BY_ADDRESS)
		return;
	memcpy(own_seed, ftt_ls_seed(&shim_map, (size_t)(only.row - shim_map.rows)), sizeof(own_seed));
	if (!ftt_ls_still(&only)) /* it is over: the seed is another's by now */
		ftt_wipe(own_seed, sizeof(own_seed));
	shim_map.secrets = NULL;
	if (munmap((uint8_t *)shim_map.header + at, shim_map.size - at))
		abort(); /* there is no reason why it should fail; going on would be with what it must not have */
}
