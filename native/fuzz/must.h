/* SPDX-License-Identifier: Apache-2.0 */
/* must.h - what a fuzz target demands: says where it is not so, and stops there. */
#ifndef FTTCP_MUST_H
#define FTTCP_MUST_H
#include <stdio.h>
#include <stdlib.h>

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#endif
