/* SPDX-License-Identifier: Apache-2.0 */
/* model_counts.h - what model.h draws, for a test without chance: it counts. Included once. */
#ifndef FTTCP_MODEL_COUNTS_H
#define FTTCP_MODEL_COUNTS_H
#include "model.h"

uint64_t model_seed;

uint32_t model_random(uint32_t below)
{
	return (uint32_t)(model_seed++ % below);
}

bool model_chance(uint32_t per_mille)
{
	return model_random(1000) < per_mille;
}

#endif
