/* SPDX-License-Identifier: Apache-2.0 */
/* heed.h - a backup: which records of the primary are heeded, and which are answered at once. */
#ifndef FTTCP_HEED_H
#define FTTCP_HEED_H
#include "core/records/record.h"
#include "core/tcp/state.h"

enum ftt_heed {
	FTT_HEEDED = 1,   /* it does what record.h says of it */
	FTT_ANSWERED = 2  /* DETACHED is said: this backup does not hold the flow, and never will, or lets go of it now */
};

/* One that has been, and is over: an OPEN is not about it. */
static inline bool ftt_flow_is_past(const struct ftt_flow *f, bool closed)
{
	return closed && f->bits & FTT_F_ESTABLISHED;
}

/* A record of this type about flow f, or about one that is not known (NULL): a set of enum ftt_heed. */
static inline unsigned ftt_backup_heeds(const struct ftt_flow *f, uint8_t type)
{
	bool held = f && f->protection != FTT_DETACHED, mapped = f && f->bits & FTT_F_MAPPED;

	switch (type) {
	case FTT_REC_OPEN: /* it was overtaken, if the flow was let go */
		return f && !held ? FTT_ANSWERED : FTT_HEEDED;
	case FTT_REC_PROBE: /* a primary waits in vain for who does not hold the flow; for an answer to OPEN it asks otherwise */
		return held && mapped ? FTT_HEEDED : f && f->protection == FTT_PROTECTED ? 0 : FTT_ANSWERED;
	case FTT_REC_RENEW:
		return held ? FTT_HEEDED : FTT_ANSWERED;
	case FTT_REC_DETACH:
		return FTT_ANSWERED | (held ? FTT_HEEDED : 0);
	case FTT_REC_OUTPUT:
		return held && mapped ? FTT_HEEDED : 0;
	case FTT_REC_DISCARD:
		return mapped ? FTT_HEEDED : 0;
	case FTT_REC_CLOSE:
		return f ? FTT_HEEDED : 0;
	default: /* none for a backup: it is counted */
		return FTT_HEEDED;
	}
}

#endif
