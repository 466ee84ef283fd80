/* SPDX-License-Identifier: Apache-2.0 */
/* bpf_rig.h - decide.bpf.c in this kernel, and beside it the same decisions in user space: both must be alike, byte for byte. */
#ifndef FTTCP_BPF_RIG_H
#define FTTCP_BPF_RIG_H
#include <stdbool.h>
#include <stdint.h>
#include "bpf/decide.h"

/* Packets of both directions, and what became of them: so that a test sees what it has tried. */
struct bpf_counts {
	unsigned packets, tcp, passed, edited, dropped, unknown;
};

extern struct bpf_counts bpf_counts;

/* Loads the programs. Returns false, having said why, where this kernel or this user may not have any. */
bool bpf_begin(void);
void bpf_end(void);

/* CLOCK_BOOTTIME, as the programs have it. */
uint64_t bpf_now(void);

/*
 * Has both decide about the packet of `len` bytes from IP on, for a node as `n` and a flow as *f (NULL: of no flow). *f is then what they made
 * of it. Fails the test where they differ. Returns the verdict, FTT_PASS of a packet of no flow.
 */
enum ftt_verdict bpf_decide(const struct ftt_bpf_node *n, struct ftt_flow *f, const uint8_t *packet, uint32_t len, enum ftt_dir dir);

/* What the kernel needs for that packet, in ns, when it decides about it again and again. */
uint32_t bpf_cost_ns(const struct ftt_bpf_node *n, const struct ftt_flow *f, const uint8_t *packet, uint32_t len, enum ftt_dir dir);

/* As the verifier took it: instructions that it went through; *size, of the program. */
uint32_t bpf_verified(enum ftt_dir dir, uint32_t *size);

#endif
