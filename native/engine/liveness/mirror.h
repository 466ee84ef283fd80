/* SPDX-License-Identifier: Apache-2.0 */
/* mirror.h - probes of the mirror (core/records/mirror_probe.h) among the packets of a queue. */
#ifndef FTTCP_MIRROR_H
#define FTTCP_MIRROR_H
#include <stdbool.h>
#include <stdint.h>
#include "engine/channel/channel.h"
#include "engine/engine.h"
#include "core/packet/parse.h"

/* True if a TCP segment is a probe; then it has been told of (FTT_EV_MIRROR_SEEN), and is for nobody else. */
bool ftt_mirror_probe(struct ftt_engine *e, const uint8_t *packet, uint32_t cap, const struct ftt_pkt *k);

/* True if a datagram on the commit channel is a probe; then it was told of, or sent on its next way. */
bool ftt_mirror_datagram(struct ftt_engine *e, struct ftt_channel *c);

#endif
