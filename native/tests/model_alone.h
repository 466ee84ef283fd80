/* SPDX-License-Identifier: Apache-2.0 */
/* model_alone.h - what model.h asks of a world, for a test that drives one node by hand. Included once. */
#ifndef FTTCP_MODEL_ALONE_H
#define FTTCP_MODEL_ALONE_H
#include "model_counts.h"
#include "model_node.h"

uint64_t model_now = 1000000 * MS;

uint8_t model_byte(const struct stack *sender, uint32_t offset)
{
	return (uint8_t)(offset + sender->client);
}

bool model_is_right(const struct stack *receiver, uint32_t offset, uint8_t byte)
{
	return byte == (uint8_t)(offset + !receiver->client);
}

#endif
