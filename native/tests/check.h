/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - assertions of the native tests: they say what was wanted, where, and what was there. */
#ifndef FTTCP_CHECK_H
#define FTTCP_CHECK_H
#include <stdio.h>
#include <stdlib.h>

#define SKIPPED 77

#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #condition); \
			exit(1); \
		} \
	} while (0)

#define CHECK_EQ(got, wanted) \
	do { \
		long long got_ = (long long)(got), wanted_ = (long long)(wanted); \
		if (got_ != wanted_) { \
			fprintf(stderr, "%s:%d: %s: %s is %lld, not %s (%lld)\n", __FILE__, __LINE__, __func__, \
				#got, got_, #wanted, wanted_); \
			exit(1); \
		} \
	} while (0)

#endif
