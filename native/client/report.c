/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - see report.h. */
#define _GNU_SOURCE
#include "report.h"
#include <inttypes.h>
#include <string.h>

static uint64_t wall_us(const struct report *r, uint64_t ns)
{
	return (ns + r->epoch_ns) / 1000;
}

void report_begin(struct report *r, FILE *out, const struct options *o)
{
	struct timespec wall;

	memset(r, 0, sizeof(*r));
	r->out = out;
	clock_gettime(CLOCK_REALTIME, &wall);
	r->began_ns = r->bucket_ns = now_ns();
	r->epoch_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec - r->began_ns;
	r->gap_ns = o->gap_ns;
	fprintf(out, "{\"type\":\"start\",\"time_us\":%" PRIu64 ",\"mode\":\"%s\",\"connections\":%u,\"seed\":%" PRIu64 "}\n",
		wall_us(r, r->began_ns), mode_name[o->mode], o->connections, o->seed);
	fflush(out);
}

/* Of a wait: its power of two, and the five bits behind the first one. */
static uint32_t class_of(uint64_t ns)
{
	uint32_t power = 63u - (uint32_t)__builtin_clzll(ns | 1);
	uint32_t class = power < 5 ? (uint32_t)ns : (power - 4) * 32 + ((uint32_t)(ns >> (power - 5)) & 31);

	return class < WAITS ? class : WAITS - 1;
}

/* The longest wait of a class. */
static uint64_t longest_of(uint32_t class)
{
	uint32_t power = class / 32 + 4;

	return class < 32 ? class : ((33ull + class % 32) << (power - 5)) - 1;
}

void report_answer(struct report *r, uint64_t waited_ns)
{
	r->answers++;
	r->wait[class_of(waited_ns)]++;
	if (waited_ns > r->longest_wait_ns)
		r->longest_wait_ns = waited_ns;
	if (waited_ns > r->bucket_longest_ns)
		r->bucket_longest_ns = waited_ns;
}

void report_silence(struct report *r, uint32_t connection, uint64_t from_ns, uint64_t to_ns)
{
	uint64_t lasted_ns = to_ns - from_ns;

	if (lasted_ns > r->longest_silence_ns)
		r->longest_silence_ns = lasted_ns;
	if (lasted_ns < r->gap_ns)
		return;
	r->gaps++;
	fprintf(r->out, "{\"type\":\"gap\",\"time_us\":%" PRIu64 ",\"connection\":%u,\"from_us\":%" PRIu64 ",\"us\":%" PRIu64 "}\n",
		wall_us(r, to_ns), connection, wall_us(r, from_ns), lasted_ns / 1000);
	fflush(r->out);
}

void report_loss(struct report *r, uint32_t connection, const char *kind, uint64_t at, const char *why)
{
	r->losses++;
	fprintf(r->out, "{\"type\":\"lost\",\"time_us\":%" PRIu64 ",\"connection\":%u,\"kind\":\"%s\",\"at\":%" PRIu64 ",\"why\":\"%s\"}\n",
		wall_us(r, now_ns()), connection, kind, at, why);
	fflush(r->out);
}

void report_info(struct report *r, const struct tcp_info *info)
{
	r->info.n++;
	r->info.srtt_us += info->tcpi_rtt;
	r->info.window += info->tcpi_snd_cwnd;
	r->info.retransmits += info->tcpi_total_retrans;
}

void report_bucket(struct report *r, uint64_t now, uint32_t open)
{
	uint32_t n = r->info.n ? r->info.n : 1;

	fprintf(r->out,
		"{\"type\":\"bucket\",\"time_us\":%" PRIu64 ",\"us\":%" PRIu64 ",\"received\":%" PRIu64 ",\"sent\":%" PRIu64
		",\"answers\":%" PRIu64 ",\"longest_wait_us\":%" PRIu64 ",\"open\":%u,\"srtt_us\":%" PRIu64 ",\"window\":%" PRIu64
		",\"retransmits\":%" PRIu64 "}\n",
		wall_us(r, now), (now - r->bucket_ns) / 1000, r->received - r->bucket_received, r->sent - r->bucket_sent,
		r->answers - r->bucket_answers, r->bucket_longest_ns / 1000, open, r->info.srtt_us / n, r->info.window / n,
		r->info.retransmits);
	r->bucket_ns = now;
	r->bucket_received = r->received;
	r->bucket_sent = r->sent;
	r->bucket_answers = r->answers;
	r->bucket_longest_ns = 0;
	memset(&r->info, 0, sizeof(r->info));
	fflush(r->out);
}

static uint64_t quantile_us(const struct report *r, double part)
{
	uint64_t seen = 0, wanted = (uint64_t)(part * (double)r->answers);

	for (uint32_t i = 0; i < WAITS; i++) {
		seen += r->wait[i];
		if (seen > wanted) {
			uint64_t most = longest_of(i);

			return (most < r->longest_wait_ns ? most : r->longest_wait_ns) / 1000;
		}
	}
	return r->longest_wait_ns / 1000;
}

bool report_end(struct report *r, uint64_t now)
{
	report_bucket(r, now, 0);
	fprintf(r->out,
		"{\"type\":\"end\",\"time_us\":%" PRIu64 ",\"ok\":%s,\"us\":%" PRIu64 ",\"received\":%" PRIu64 ",\"sent\":%" PRIu64
		",\"answers\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"longest_gap_us\":%" PRIu64,
		wall_us(r, now), r->losses ? "false" : "true", (now - r->began_ns) / 1000, r->received, r->sent, r->answers, r->losses,
		r->gaps, r->longest_silence_ns / 1000);
	if (r->answers)
		fprintf(r->out,
			",\"wait_us\":{\"p10\":%" PRIu64 ",\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64
			",\"longest\":%" PRIu64 "}",
			quantile_us(r, 0.1), quantile_us(r, 0.5), quantile_us(r, 0.9), quantile_us(r, 0.99), quantile_us(r, 0.999),
			r->longest_wait_ns / 1000);
	fprintf(r->out, "}\n");
	fflush(r->out);
	return !r->losses;
}
