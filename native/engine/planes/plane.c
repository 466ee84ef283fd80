/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/planes/plane.h"
#include "engine/planes/nfqueue/nfqueue.h"
#include "engine/planes/python/python.h"

struct ftt_plane *ftt_plane_open(const struct ftt_config *cfg, unsigned index, struct ftt_plane_owner owner, char *err,
				 size_t err_len)
{
	if (cfg->hooks)
		return ftt_python_open(cfg, owner, err, err_len);
	return ftt_nfqueue_open(cfg, index, owner, err, err_len);
}
