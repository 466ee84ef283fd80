/* SPDX-License-Identifier: Apache-2.0 */
/* list.c - the calls, their families and their names. */
#include "calls.h"

#define CALLS_FAMILY(name, family) family,
static const uint32_t family_of[CALLS_COUNT] = {CALLS_LIST(CALLS_FAMILY)};
#undef CALLS_FAMILY

/* For people: fttcp/server/calls.py looks for it in the library. */
#define CALLS_NAME(name, family) " " #name
__attribute__((used)) static const char names[] = "FTTCP_CALLS_NAMES" CALLS_LIST(CALLS_NAME);
#undef CALLS_NAME

bool calls_follows(enum calls_number call)
{
	return calls_log && (calls_log->families & family_of[call]);
}
