/* SPDX-License-Identifier: Apache-2.0 */
/* hear.h - what the other node says on the commit channel; see hear.c. */
#ifndef FTTCP_HEAR_H
#define FTTCP_HEAR_H
#include "engine/worker.h"

/* What waits on these of the channel's lanes (FTT_ON_*). True if nothing is left: so many are taken at once. */
bool ftt_hear_records(struct ftt_worker *w, unsigned lanes, uint64_t now_ns);
/* One record, of the other node's worker `from`, and of this pairing. */
void ftt_hear_record(struct ftt_worker *w, const struct ftt_record *r, uint8_t from, uint64_t now_ns);

#endif
