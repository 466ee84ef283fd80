/* SPDX-License-Identifier: Apache-2.0 */
/* calls_rig.h - a primary whose server leads and a backup whose server follows, and a connection that is protected. Included once. */
#ifndef FTTCP_CALLS_RIG_H
#define FTTCP_CALLS_RIG_H
#include "calls_file.h"
#include "engine/flows/calls.h"
#include "history_rig.h"

enum { THREAD = 7 };

static struct calls_file led, followed;
static uint64_t said, heard;
static const uint8_t none[1];

static void with_log(struct node *n, struct calls_file *f, uint8_t part)
{
	struct ftt_calls_memory m;

	calls_file_make(f);
	calls_file_map(f, &m);
	CHECK(!ftt_calls_anew(&n->worker, &m, part));
}

/* Its server starts anew, with another log. */
static void another_life(struct node *n, struct calls_file *f, uint8_t part)
{
	calls_file_end(f);
	with_log(n, f, part);
}

static void begin(void)
{
	open_both();
	said = heard = 0;
	primary.engine.cfg.policy.calls_log = backup.engine.cfg.policy.calls_log = 1 << 22;
	with_log(&primary, &led, FTT_CALLS_PART_LEADS);
	with_log(&backup, &followed, FTT_CALLS_PART_FOLLOWS);
	ftt_calls_role(&primary.worker, model_now);
	ftt_calls_role(&backup.worker, model_now);
}

static void end(void)
{
	close_both();
	ftt_calls_close(&primary.worker);
	ftt_calls_close(&backup.worker);
	calls_file_end(&led);
	calls_file_end(&followed);
}

static void role(struct node *n, uint32_t mode, uint64_t session)
{
	node_role(n, mode, session);
	ftt_calls_role(&n->worker, model_now);
}

/* What workers do by themselves. */
static void go_on(void)
{
	for (unsigned i = 0; i < 4; i++) {
		ftt_calls_tick(&primary.worker, model_now);
		ftt_calls_tick(&backup.worker, model_now);
		settle();
	}
}

static void calls(uint32_t n)
{
	CHECK_EQ(calls_write(&led, THREAD, &said, n), n);
	ftt_calls_look(&primary.worker, model_now); /* as when output is seen */
}

static struct ftt_calls_shown shown(const struct node *n)
{
	struct ftt_calls_shown out = {0};

	ftt_calls_show(&n->worker, &out);
	return out;
}

static void joins(void)
{
	role(&primary, FTT_MODE_PAIRED, 2);
	crossing = mirrored = true;
	set_lane(true);
	go_on();
}

static void backup_listens(void)
{
	backup.worker.calls->listens = true;
	go_on();
}

/* A connection that is protected, with a log that goes along. */
static struct ftt_tcp *in_step(void)
{
	struct ftt_key key = key_of(3);
	struct ftt_tcp *c;

	begin();
	calls(100);
	joins();
	CHECK_EQ(calls_read(&followed, THREAD, &heard, 1000), 100);
	backup_listens();
	CHECK(backup.worker.history->live && primary.worker.history->stage == FTT_HISTORY_MARKED);
	listens(&backup, 3);
	listens(&primary, 3);
	says(3, TCP_SYN, 0, 0);
	go_on();
	says(3, TCP_ACK, 1, 0);
	go_on();
	says(3, TCP_ACK | TCP_PSH, 1, 10);
	go_on();
	CHECK((c = ftt_table_find(&primary.worker.table, &key)));
	CHECK_EQ(c->flow.protection, FTT_PROTECTED);
	return c;
}

#endif
