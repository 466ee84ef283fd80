/* SPDX-License-Identifier: Apache-2.0 */
/*
 * env.h - the surroundings of a decision: all that it may look at besides the flow and what happened.
 *
 * The core reads no clock, asks no other thread and knows no configuration. Whoever asks it tells with struct ftt_env what
 * the node is at that moment.
 */
#ifndef FTTCP_ENV_H
#define FTTCP_ENV_H
#include <stdbool.h>
#include <stdint.h>
#include "core/types.h"

static inline bool ftt_flow_emits(uint8_t mode)
{
	return mode == FTT_MODE_PAIRED || mode == FTT_MODE_SOLO;
}

#endif
