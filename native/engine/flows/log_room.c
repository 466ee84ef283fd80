/* SPDX-License-Identifier: Apache-2.0 */
/* log_room.c - memory of logs, within the bounds of one and of all of a worker's; see log.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/flows/history.h"
#include "engine/flows/log.h"

enum ftt_unrenewable ftt_log_room(struct ftt_worker *w, uint8_t **bytes, uint32_t *size, uint32_t need, uint32_t most, bool told)
{
	uint64_t used = w->log_bytes + (w->history ? w->history->bytes : 0); /* both are within the same bound */
	uint32_t to;
	enum ftt_unrenewable why = ftt_log_room_for(*size, need, most, used, !w->history && !told, &w->e->cfg.policy, &to);
	uint8_t *more;

	if (why || to == *size)
		return why;
	if (!(more = realloc(*bytes, to)))
		return FTT_LOGS_TOO_LONG;
	w->log_bytes += to - *size;
	*bytes = more;
	*size = to;
	return FTT_RENEWABLE;
}
