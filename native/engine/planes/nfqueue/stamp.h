/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stamp.h - headers edited in the kernel, so that a backup's engine need not see payload.
 *
 * Every segment of a client needs other numbers before the backup's stack may have it. A verdict can
 * replace a packet, but only whole: its bytes go to the engine and back, and the kernel sums them anew. So
 * the verdict on a long packet only tells the two numbers, as the packet's mark (acknowledgement) and
 * priority (echoed time), and a rule right behind the queue writes them into the header: a table of nftables
 * that belongs to this engine's socket. The kernel removes it when the engine's process ends, however that comes.
 *
 * SACK blocks of such packets are blotted out: what they tell, shorter ones tell as well.
 */
#ifndef FTTCP_STAMP_H
#define FTTCP_STAMP_H
#include "engine/api/abi.h"

/* Installs the rules for packets of the mirror that are longer than `longer_than` bytes; the socket that they
 * live with, or a negative errno: see ftt_stamp_try(). */
int ftt_stamp_open(const struct ftt_config *cfg, uint32_t longer_than);

#endif
