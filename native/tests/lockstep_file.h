/* SPDX-License-Identifier: Apache-2.0 */
/* lockstep_file.h - a file as fttcp/group/lockstep.py makes it, and connections for it. */
#ifndef FTTCP_TESTS_LOCKSTEP_FILE_H
#define FTTCP_TESTS_LOCKSTEP_FILE_H
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "check.h"
#include "core/lockstep/lockstep_input.h"

static inline void *make_file(char path[], uint32_t tables, uint32_t rows, size_t *size)
{
	struct ftt_ls_header h = {.magic = FTT_LS_MAGIC, .tables = tables, .rows = rows, .bucket_secret = {1}};
	uint8_t start[FTT_LS_SECRET] = {2};
	int fd = mkstemp(path);
	void *at;

	*size = ftt_ls_size(tables, rows);
	CHECK(fd >= 0 && !ftruncate(fd, (off_t)*size));
	CHECK_EQ(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	CHECK_EQ(pwrite(fd, start, sizeof(start), (off_t)ftt_ls_secrets_at(tables, rows)), sizeof(start));
	at = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	close(fd);
	return at;
}

static inline bool context(const struct ftt_ls_map *m, const struct ftt_ls_found *f, uint8_t key[FTT_CHACHA_KEY])
{
	return ftt_ls_context(f, ftt_ls_seed(m, (size_t)(f->row - m->rows)), key);
}

static inline struct ftt_key key_of(uint16_t port)
{
	struct ftt_key k = {.remote = {[10] = 0xff, 0xff, 10, 0, 0, 1}, .local = {[10] = 0xff, 0xff, 10, 0, 0, 9},
			    .remote_port = port, .local_port = 443, .proto = 6};

	return k;
}

#endif
