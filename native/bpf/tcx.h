/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcx.h - what a program at tcx returns (linux/bpf.h, enum tcx_action_base, since 6.6). tcx knows no TC_ACT_STOLEN: it lets such a
 * packet pass, as of any number that is not here (findings/tcx-knows-no-stolen.sh).
 */
#ifndef FTTCP_BPF_TCX_H
#define FTTCP_BPF_TCX_H
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum { FTT_TCX_NEXT = -1, FTT_TCX_PASS = 0, FTT_TCX_DROP = 2 };

/*
 * Takes away what a stack says, and the stack takes it for sent. FTT_TCX_DROP is an error to it: it would stand still at that
 * segment. To send to an interface that is not there is none.
 */
static __always_inline int ftt_tcx_swallow(void)
{
	return (int)bpf_redirect(0, 0);
}

#endif
