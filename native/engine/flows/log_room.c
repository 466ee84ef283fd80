/* SPDX-License-Identifier: Apache-2.0 */
/* log_room.c - memory of logs, within the bounds of one and of all of a worker's; see log.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/history.h"
#include "engine/flows/log.h"

#define SHORT 4096u    /* up to here a log has no room to spare: there may be very many, and idle */

enum ftt_unrenewable ftt_log_room(struct ftt_worker *w, uint8_t **bytes, uint32_t *size, uint32_t need, uint32_t most)
{
	const struct ftt_policy *policy = &w->e->cfg.policy;
	uint64_t beside = w->history ? w->history->bytes : 0; /* both are within the same bound */
	uint32_t wanted;
	uint8_t *more;

	if (need <= *size)
		return FTT_RENEWABLE;
	if (need > most || need > FTT_LOG_MAX)
		return FTT_LOG_TOO_LONG;
	wanted = need < SHORT ? (need + 7) / 16 * 16 + 8 : need + need / 2; /* what malloc() gives anyway */
	if (wanted > policy->renew_flow) /* what is beyond that, a spool takes soon: no spare room for it */
		wanted = need > policy->renew_flow ? need : policy->renew_flow;
	if (w->log_bytes + beside + (wanted - *size) > policy->renew_bytes || !(more = realloc(*bytes, wanted)))
		return FTT_LOGS_TOO_LONG;
	w->log_bytes += wanted - *size;
	*bytes = more;
	*size = wanted;
	return FTT_RENEWABLE;
}
