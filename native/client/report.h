/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - what a measurement says: one JSON object for each line.
 *
 *   start    mode, connections
 *   bucket   of the time since the last one: bytes received and sent, answers, the longest wait for one, connections that are
 *            open; and of those that are looked at: smoothed round-trip time and congestion window (means), retransmissions
 *   gap      of one connection: from, to, and how long
 *   lost     a connection: wrong, reset, closed, refused, silence, lost; at which byte
 *   end      sums; the longest silence, a gap or not; waits for answers as quantiles
 *
 * `time_us` is the wall clock (CLOCK_REALTIME) in microseconds, so that lines of several hosts and captures fit together; all
 * intervals are measured by the monotonic clock.
 */
#ifndef FTTCP_REPORT_H
#define FTTCP_REPORT_H
#include <netinet/tcp.h>
#include "client.h"

#define WAITS 1024u /* classes of waits: 32 for each power of two of nanoseconds */

struct report {
	FILE *out;
	uint64_t epoch_ns;  /* wall clock - monotonic clock, at the begin */
	uint64_t began_ns, bucket_ns;
	uint64_t gap_ns;
	uint64_t sent, received, answers;
	uint64_t bucket_sent, bucket_received, bucket_answers, bucket_longest_ns;
	uint64_t gaps, losses, longest_silence_ns, longest_wait_ns;
	uint64_t wait[WAITS];
	struct {
		uint32_t n;
		uint64_t srtt_us, window, retransmits;
	} info;
};

void report_begin(struct report *r, FILE *out, const struct options *o);
void report_answer(struct report *r, uint64_t waited_ns);
/* A silence of a connection; one that is as long as --gap says is told, and counted as a gap. */
void report_silence(struct report *r, uint32_t connection, uint64_t from_ns, uint64_t to_ns);
void report_loss(struct report *r, uint32_t connection, const char *kind, uint64_t at, const char *why);
void report_info(struct report *r, const struct tcp_info *info);
void report_bucket(struct report *r, uint64_t now, uint32_t open);
/* Whether no connection was lost. */
bool report_end(struct report *r, uint64_t now);
#endif
