/* SPDX-License-Identifier: Apache-2.0 */
/* calls_lead.h - the primary's side of calls.h. Of a worker whose server leads. */
#ifndef FTTCP_CALLS_LEAD_H
#define FTTCP_CALLS_LEAD_H
#include "engine/flows/calls.h"

/* What the backup says: HELD, LISTENS, BROKEN, of the right length. */
void ftt_calls_told(struct ftt_worker *w, uint8_t kind, const uint8_t *bytes, uint64_t now_ns);
void ftt_calls_lead_tick(struct ftt_worker *w, uint64_t now_ns);

#endif
