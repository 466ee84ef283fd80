/* SPDX-License-Identifier: Apache-2.0 */
/* What flows add to a history on disk: from their beginning on or nothing, in order, up to their end or to where something is missing. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "core/history.h"
#include "engine/flows/filed.h"
#include "engine/history/file.h"

#define IRS 0xfffffff0u /* the stream goes over the turn of sequence numbers */

static struct ftt_engine engine;
static struct ftt_worker worker = {.e = &engine, .mode = FTT_MODE_SOLO};
static struct ftt_history_event events[256];
static char dir[] = "/tmp/fttcp-record-XXXXXX", path[64], err[256];
static uint8_t payload[65536], syn[40] = {0x45}, *file;

uint64_t ftt_now_ns(void)
{
	return 1000;
}

static void begin_file(void)
{
	static const uint8_t head[40];
	struct ftt_history_settings s = {.path = path, .head = head, .head_len = sizeof(head), .most = 1 << 30};

	CHECK((engine.history_file = ftt_history_file_open(&s, err, sizeof(err))));
	engine.file_number++;
	worker.n.unrecorded = 0;
}

static uint32_t end_file(void)
{
	uint32_t n = 0, sum = 0, len;
	int fd;

	ftt_history_file_close(engine.history_file, false);
	engine.history_file = NULL;
	free(file);
	file = malloc(1 << 20);
	CHECK(file && (fd = open(path, O_RDONLY)) >= 0);
	for (ssize_t at = FTT_HISTORY_START, size = read(fd, file, 1 << 20); at < size; at += len, n++)
		CHECK_EQ(ftt_history_get(file + at, (uint64_t)(size - at), &sum, &events[n], &len), FTT_HISTORY_EVENT);
	close(fd);
	CHECK(!unlink(path) && n && events[0].kind == FTT_HISTORY_HEAD);
	return n;
}

static struct ftt_tcp flow(uint16_t port)
{
	struct ftt_tcp c = {.key = {.proto = 6, .remote = {9}, .local = {8}, .remote_port = port, .local_port = 80}, .syn = syn, .syn_len = sizeof(syn)};

	c.flow.hard.irs = IRS;
	c.flow.bits = FTT_F_MAPPED;
	c.flow.local_rcv_nxt = IRS + 1;
	return c;
}

/* The client says what is at `offset` of its stream, and our stack takes it. */
static void say(struct ftt_tcp *c, uint32_t offset, uint32_t len, uint8_t flags, bool whole)
{
	struct ftt_seg s = {.seq = IRS + 1 + offset, .len = len, .flags = flags | TCP_ACK};
	struct ftt_packet p = {.bytes = payload, .len = len, .cap = whole ? len : 10};
	struct ftt_pkt k = {.payload = 0};

	if (ftt_filed(&worker, c))
		ftt_filed_input(&worker, c, &p, &k, &s);
	c->flow.local_rcv_nxt = seq_max(c->flow.local_rcv_nxt, ftt_seg_end(&s));
}

static void answer(struct ftt_tcp *c, uint32_t len)
{
	c->bytes_out += len;
	if (ftt_filed(&worker, c))
		ftt_filed_said(&worker, c);
}

static void expect(uint32_t i, uint8_t kind, const struct ftt_tcp *c)
{
	CHECK_EQ(events[i].kind, kind);
	CHECK(!memcmp(&events[i].key, &c->key, sizeof(c->key)) && events[i].irs == IRS);
}

/* Outputs stand before what follows them, whichever flow that is of, and once. */
static void in_order(void)
{
	struct ftt_tcp a = flow(1), b = flow(2);

	begin_file();
	ftt_filed_begin(&worker, &a);
	ftt_filed_begin(&worker, &b);
	say(&a, 0, 5, 0, true);
	answer(&a, 7);
	answer(&a, 3);
	say(&b, 0, 4, 0, true);
	say(&b, 0, 4, 0, true); /* once more: our stack has it */
	answer(&a, 0);
	say(&b, 2, 6, TCP_FIN, true);
	b.flow.bits |= FTT_F_CLIENT_RST;
	ftt_filed_over(&worker, &b, true);
	say(&b, 8, 4, 0, true);
	ftt_filed_over(&worker, &a, true);
	CHECK_EQ(end_file(), 10);
	expect(1, FTT_HISTORY_OPEN, &a);
	CHECK(events[1].open.data_len == sizeof(syn) && !memcmp(events[1].open.data, syn, sizeof(syn)));
	expect(2, FTT_HISTORY_OPEN, &b);
	expect(3, FTT_HISTORY_INPUT, &a);
	expect(4, FTT_HISTORY_OUTPUT, &a);
	CHECK_EQ(events[4].place, 10);
	expect(5, FTT_HISTORY_INPUT, &b);
	expect(6, FTT_HISTORY_OUTPUT, &a);
	expect(7, FTT_HISTORY_INPUT, &b);
	CHECK(events[7].piece.offset == 2 && events[7].piece.len == 6 && events[7].piece.flags & FTT_PIECE_FIN);
	expect(8, FTT_HISTORY_END, &b);
	CHECK_EQ(events[8].how, FTT_HISTORY_CLIENT_RST);
	expect(9, FTT_HISTORY_END, &a);
	CHECK_EQ(events[9].how, FTT_HISTORY_CLOSED);
}

/* What began before the file is not in it; nor is what has no beginning, which counts. */
static void from_the_beginning(void)
{
	struct ftt_tcp before = flow(1), old, without = flow(3);

	ftt_filed_begin(&worker, &before);
	begin_file();
	old = flow(2);
	ftt_filed_begin(&worker, &old);
	without.syn_len = 0;
	ftt_filed_begin(&worker, &without);
	CHECK_EQ(worker.n.unrecorded, 1);
	say(&before, 0, 4, 0, true);
	say(&without, 0, 4, 0, true);
	answer(&before, 4);
	CHECK_EQ(end_file(), 2);
	begin_file(); /* of the next life */
	say(&old, 0, 4, 0, true);
	answer(&old, 4);
	ftt_filed_over(&worker, &old, true);
	CHECK_EQ(end_file(), 1);
}

/* A segment that the kernel has put together is longer than a piece; one of which the payload is missing ends it. */
static void pieces(void)
{
	struct ftt_tcp c = flow(1);

	begin_file();
	ftt_filed_begin(&worker, &c);
	say(&c, 0, 65000, TCP_PSH, true);
	say(&c, 65000, 100, 0, false);
	say(&c, 65100, 100, 0, true);
	answer(&c, 4);
	ftt_filed_over(&worker, &c, true);
	CHECK_EQ(worker.n.unrecorded, 1);
	CHECK_EQ(end_file(), 5);
	CHECK(events[2].piece.offset == 0 && events[2].piece.len == FTT_PIECE_MAX && !events[2].piece.flags);
	CHECK(events[3].piece.offset == FTT_PIECE_MAX && events[3].piece.len == 65000 - FTT_PIECE_MAX);
	CHECK(events[3].piece.flags == FTT_PIECE_PUSH && !memcmp(events[3].piece.bytes, payload + FTT_PIECE_MAX, events[3].piece.len));
	expect(4, FTT_HISTORY_END, &c);
	CHECK_EQ(events[4].how, FTT_HISTORY_FORGOTTEN);
}

/* A flow that goes is not looked at any more; more of them speak than the worker notes at once. */
static void many(void)
{
	static struct ftt_tcp c[FTT_MOVED + 8];
	uint32_t outputs = 0, n;

	begin_file();
	for (uint32_t i = 0; i < FTT_MOVED + 8; i++) {
		c[i] = flow((uint16_t)i);
		if (i < 8)
			ftt_filed_begin(&worker, &c[i]);
		else
			c[i].filed = c[7].filed;
		answer(&c[i], 1);
	}
	ftt_filed_over(&worker, &c[FTT_MOVED], false);
	memset(&c[FTT_MOVED], 0xee, sizeof(c[0]));
	say(&c[0], 0, 1, 0, true);
	CHECK_EQ(worker.filed.n, 0);
	for (uint32_t i = (n = end_file()); i--;)
		outputs += events[i].kind == FTT_HISTORY_OUTPUT;
	CHECK_EQ(outputs, FTT_MOVED + 8);
}

int main(void)
{
	CHECK(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x", dir);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 5 + i / 253);
	in_order();
	from_the_beginning();
	pieces();
	many();
	free(file);
	CHECK(!rmdir(dir));
	return 0;
}
