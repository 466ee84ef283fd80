/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint.h - a warm group: a backup's server would begin with what a checkpoint has. What an older connection has said is in
 * that, so it must not be said again: such a connection is not protected. Which checkpoint it is, is Python's to know.
 */
#ifndef FTTCP_FLOWS_CHECKPOINT_H
#define FTTCP_FLOWS_CHECKPOINT_H
#include "engine/worker.h"

/* Does a primary's backup know none of this pairing yet? Then nothing is protected. */
static inline bool ftt_checkpoint_awaited(const struct ftt_worker *w)
{
	return w->e->cfg.policy.warm && w->mode == FTT_MODE_PAIRED && !w->checkpointed;
}

/* One is complete, or, on a backup, is what our server would begin with: all connections that there are, are older. */
void ftt_checkpoint(struct ftt_worker *w, bool told, uint64_t now_ns);

#endif
