/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem.h - memcpy() and its kin, for a core that needs no C library: a program without one, and BPF, get the compiler's own
 * (C11 4p6: <string.h> is not of a freestanding implementation).
 */
#ifndef FTTCP_MEM_H
#define FTTCP_MEM_H
#if __STDC_HOSTED__
#include <string.h>
#else
#define memcpy __builtin_memcpy
#define memmove __builtin_memmove
#define memset __builtin_memset
#define memcmp __builtin_memcmp
#endif

#endif
