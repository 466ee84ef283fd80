/* SPDX-License-Identifier: Apache-2.0 */
/* shared_file.h - a file whose memory is shared with a server. */
#ifndef FTTCP_SHARED_FILE_H
#define FTTCP_SHARED_FILE_H
#include <stddef.h>

/* Maps it, for reading and writing. Whoever cuts it short from now on ends nobody: there are zeros then. NULL: errno says why. */
void *ftt_shared_map(const char *path, size_t *size);
void ftt_shared_unmap(void *at, size_t size);

#endif
