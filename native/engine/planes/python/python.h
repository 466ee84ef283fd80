/* SPDX-License-Identifier: Apache-2.0 */
/*
 * python.h - the plane of the programmable engine: Python takes the packets, and carries the verdicts out.
 *
 * The flows are those of every other plane, in a worker as ever. Packets are whole, with checksums made that nobody has
 * verified. Packets of our own leave by raw sockets.
 */
#ifndef FTTCP_PYTHON_H
#define FTTCP_PYTHON_H
#include "engine/planes/plane.h"

struct ftt_plane *ftt_python_open(const struct ftt_config *cfg, struct ftt_plane_owner owner, char *err, size_t err_len);

#endif
