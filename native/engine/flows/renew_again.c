/* SPDX-License-Identifier: Apache-2.0 */
/* renew_again.c - when what was not renewed is tried again; see renewal.h. */
#define _GNU_SOURCE
#include "engine/flows/renewal.h"

#define AGAIN_NS 30000000000ull     /* after a failure all that rests is tried again ... */
#define AGAIN_MOST_NS (60 * AGAIN_NS) /* ... then less and less often: it costs the backup's server another run */

void ftt_renewal_failed(struct ftt_worker *w, enum ftt_unrenewable why, uint64_t now_ns)
{
	w->n.renewals_failed += why != FTT_RENEWABLE;
	if (why == FTT_NOT_IN_TIME && !w->renew_again_ns)
		w->renew_again_ns = now_ns + w->renew_wait_ns;
}

bool ftt_renewals_again(struct ftt_worker *w, uint64_t now_ns)
{
	if (!w->renew_again_ns || now_ns < w->renew_again_ns)
		return false;
	w->renew_again_ns = 0;
	w->renew_wait_ns = w->renew_wait_ns < AGAIN_MOST_NS / 2 ? w->renew_wait_ns * 2 : AGAIN_MOST_NS;
	return true;
}

void ftt_renewals_anew(struct ftt_worker *w)
{
	w->renew_again_ns = 0;
	w->renew_wait_ns = AGAIN_NS;
}
