/* SPDX-License-Identifier: Apache-2.0 */
/* engine_stubs.c - what stands for other parts of the engine wherever TCP is driven without them. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "engine/liveness/mirror.h"
#include "engine/worker.h"

bool ftt_mirror_datagram(struct ftt_engine *e, struct ftt_channel *c)
{
	(void)e;
	(void)c;
	abort(); /* nobody probes */
}
