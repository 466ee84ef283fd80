/* SPDX-License-Identifier: Apache-2.0 */
/* lane_stubs.c - no bulk lane, wherever flows are driven without one. A test that has one of its own takes the place of these. */
#include "engine/worker.h"

__attribute__((weak)) bool ftt_lane_up(const struct ftt_bulk_lane *l, uint8_t worker)
{
	(void)l, (void)worker;
	return false;
}

__attribute__((weak)) uint32_t ftt_lane_room(struct ftt_bulk_lane *l, uint8_t to)
{
	(void)l, (void)to;
	return 0;
}

__attribute__((weak)) bool ftt_lane_send(struct ftt_bulk_lane *l, uint8_t to, uint8_t kind, const uint8_t *bytes, uint32_t len)
{
	(void)l, (void)to, (void)kind, (void)bytes, (void)len;
	return false;
}

__attribute__((weak)) void ftt_lane_push(struct ftt_bulk_lane *l, uint8_t to, uint64_t now_ns)
{
	(void)l, (void)to, (void)now_ns;
}

__attribute__((weak)) void ftt_lane_resume(struct ftt_bulk_lane *l, uint8_t from)
{
	(void)l, (void)from;
}
