/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ownership.pml - who may emit: two nodes, their heartbeats and leases, and an arbiter.
 *
 * docs/model.md says what is checked; `make model` checks it (check.py). In short:
 *
 * - One line of a process is one step of a daemon or of the arbiter. Any step may come at any time or never, so
 *   delay, loss, and a node that freezes and thaws with stale knowledge need no steps of their own.
 * - Time is what the process Clock does: one tick takes one from every timer. A lease is given the longest that
 *   it can last, on a slow clock; a wait the shortest that it can last, on a fast clock.
 * - An epoch is only ever compared with the one that stands. So 1 is the epoch that stands, 0 is any older one, and
 *   nothing bounds how often the record changes. A node that starts knows no epoch: no disk is needed.
 * - From some moment on the world may be calm (LIVENESS): then a step comes when WHEN(...) says that the daemon takes
 *   it, and time passes only when no step is left.
 *
 * What stands for what in the code:
 *
 *   IDLE, FOLLOWING, SOLO, PAIRED, HANDOVER   Phase: listening, joining, silent, stopped are idle; pairing is solo, unpairing paired
 *   emits(n); granted; shut_gate              ftt_may_emit; ftt_lease_grant; ftt_lease_set_policy(FTT_LEASE_NONE)
 *   self                                      the limit of SetLease(SELF)
 *   grants(n); promise                        grantee in state.py; _free, Settings.patience_ns, startup_wait_ns
 *   follows; pairs; rely                      _joining, _follow; _pairing, _depend; _consents, _keep_lease
 *   ask_for(...), "asks what stands"          commands Propose, RenewLease, Inquire
 *   "has no answer, or a refusal"             outcomes UNREACHABLE, LOST
 *   ME.won && ...                             event ArbiterAnswered; _own, _go_solo, _pair
 *   agrees, declined, resumes                 _take, _handover, _resume
 *   give_up                                   _demote, _abandon, _drop, _go_silent, _finish
 *   write, may_replace, lapsed                fttcp/arbiter/register.py: propose, refusal, renew, restarted
 *
 * Words behind #ifdef that choose what is modelled: LIVENESS, STOPPED, NUMBERS, CONSENT (two nodes that also agree
 * without the arbiter), THIRD (more than two nodes), HALTS (a daemon that stands still between a decision and the
 * orders that follow from it, while its beat thread goes on), NO_SWITCHOVER. All others are mutations: a rule left out.
 */

#ifndef LEASE
#define LEASE 2                 /* D on a slow clock: the longest that a grant can be worth, in ticks */
#endif
#ifndef TERM
#define TERM 3                  /* the arbiter's lease for a solo holder, on a slow clock of the holder */
#endif
#ifdef NO_DRIFT
#define PATIENCE (LEASE - 1)    /* D on a fast clock */
#else
#define PATIENCE LEASE          /* D * (1 + drift) on a fast clock: Settings.patience_ns */
#endif
#ifdef NO_TERM_DRIFT
#define ARBITER_TERM (TERM - 1) /* the same term on a fast clock of the arbiter */
#else
#define ARBITER_TERM TERM       /* with the allowance for drift */
#endif
#define LIMIT LEASE             /* how long a primary without a right waits before it gives up: at least one round of all */

#include "state.pml"
#include "calm.pml"
#include "rules.pml"
#include "steps.pml"
#include "daemon.pml"
#include "arbiter.pml"
#include "world.pml"
