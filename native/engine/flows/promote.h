/* SPDX-License-Identifier: Apache-2.0 */
/* promote.h - a cold backup's server is up: it is told what clients have sent, up to where each of them stands. */
#ifndef FTTCP_FLOWS_PROMOTE_H
#define FTTCP_FLOWS_PROMOTE_H
#include "engine/worker.h"

/*
 * Of a backup that is not cold there is nothing to be told. When it is done, and the server lives: FTT_EV_PROMOTED.
 * Once more: it has died, and this is another one. What the one before was told of cannot be gone on with.
 */
void ftt_promote(struct ftt_worker *w, uint64_t now_ns);
void ftt_promote_tick(struct ftt_worker *w, uint64_t now_ns);

#endif
