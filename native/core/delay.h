/* SPDX-License-Identifier: Apache-2.0 */
/*
 * delay.h - by how much later a peer's words come, by our clock, than they were sent by its own: what the two clocks differ by, and the
 * way between. The least of some seconds has hardly more than the way itself in it (the clock filter of RFC 5905, section 10). Pure.
 */
#ifndef FTTCP_DELAY_H
#define FTTCP_DELAY_H
#include <stdbool.h>
#include <stdint.h>

#define FTT_DELAY_WINDOW_NS 10000000000ull

/* All zero at first. */
struct ftt_delay {
	int64_t least_ns, before_ns; /* of this window; of this one and the one before it */
	uint64_t since_ns;           /* when this window began; 0: nothing was heard */
};

/* Something came now that was sent then. */
static inline void ftt_delay_heard(struct ftt_delay *d, uint64_t sent_ns, uint64_t now_ns)
{
	int64_t delay = (int64_t)(now_ns - sent_ns);
	uint64_t age = now_ns - d->since_ns;

	if (!d->since_ns || age >= FTT_DELAY_WINDOW_NS) {
		d->before_ns = !d->since_ns || age >= 2 * FTT_DELAY_WINDOW_NS ? delay : d->least_ns;
		d->least_ns = delay;
		d->since_ns = now_ns;
	}
	d->least_ns = delay < d->least_ns ? delay : d->least_ns;
	d->before_ns = delay < d->before_ns ? delay : d->before_ns;
}

/* The least of the last 10 to 20 s; may be negative. False: nothing was heard for so long. */
static inline bool ftt_delay_least(const struct ftt_delay *d, uint64_t now_ns, int64_t *least_ns)
{
	*least_ns = d->before_ns;
	return d->since_ns && now_ns - d->since_ns < 2 * FTT_DELAY_WINDOW_NS;
}

#endif
