/* SPDX-License-Identifier: Apache-2.0 */
/* log_room.c - memory of logs, within the bounds of one and of all of a worker's; see log.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/history.h"
#include "engine/flows/log.h"

/*
 * None grows beyond this part of what is left for all: of those that grow for ever the longest end first, and the short ones do not notice
 * (dynamic thresholds, as switches share their buffers). A history is lost with any of its logs.
 */
#define SHARE 4u
#define SHORT 4096u    /* up to here a log has no room to spare: there may be very many, and idle */

enum ftt_unrenewable ftt_log_room(struct ftt_worker *w, uint8_t **bytes, uint32_t *size, uint32_t need, uint32_t most)
{
	const struct ftt_policy *policy = &w->e->cfg.policy;
	uint64_t taken = w->log_bytes + (w->history ? w->history->bytes : 0); /* both are within the same bound */
	uint64_t left = taken < policy->renew_bytes ? policy->renew_bytes - taken : 0;
	uint32_t wanted;
	uint8_t *more;

	if (need <= *size)
		return FTT_RENEWABLE;
	if (need > most || need > FTT_LOG_MAX)
		return FTT_LOG_TOO_LONG;
	wanted = need < SHORT ? (need + 7) / 16 * 16 + 8 : need + need / 2; /* what malloc() gives anyway */
	if (wanted > policy->renew_flow) /* what is beyond that, a spool takes soon: no spare room for it */
		wanted = need > policy->renew_flow ? need : policy->renew_flow;
	if ((need > left / SHARE && !w->history) || wanted - *size > left || !(more = realloc(*bytes, wanted)))
		return FTT_LOGS_TOO_LONG;
	w->log_bytes += wanted - *size;
	*bytes = more;
	*size = wanted;
	return FTT_RENEWABLE;
}
