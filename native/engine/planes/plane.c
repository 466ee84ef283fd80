/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/planes/plane.h"
#include "engine/planes/nfqueue/nfqueue.h"

struct ftt_plane *ftt_plane_open(const struct ftt_config *cfg, unsigned index, struct ftt_plane_owner owner, char *err,
				 size_t err_len)
{
	return ftt_nfqueue_open(cfg, index, owner, err, err_len);
}
