/* SPDX-License-Identifier: Apache-2.0 */
/* uniform.h - a number below another one, each as likely: arc4random_uniform(3) of both libraries that answer for a server's chance. */
#ifndef FTTCP_UNIFORM_H
#define FTTCP_UNIFORM_H
#include <stdint.h>

/* draw: any 32 bits, each as likely. 0 for below < 2. */
static inline uint32_t ftt_uniform(uint32_t below, uint32_t (*draw)(void))
{
	uint32_t drawn, least = below < 2 ? 0 : -below % below; /* numbers below this one would come up more often */

	if (below < 2)
		return 0;
	do
		drawn = draw();
	while (drawn < least);
	return drawn % below;
}

#endif
