/* SPDX-License-Identifier: Apache-2.0 */
/* fake_engine.h - an engine of which only the events are real, for tests of one thread of it. */
#ifndef FTTCP_FAKE_ENGINE_H
#define FTTCP_FAKE_ENGINE_H
#include "engine/engine.h"

/* Gives the engine an empty list of events. */
void fake_engine_init(struct ftt_engine *e);
void fake_engine_free(struct ftt_engine *e);

/* Takes events off the list until one of that kind comes, and returns it; the test fails after ten seconds. */
struct ftt_event fake_wait(struct ftt_engine *e, uint32_t kind);
/* Takes all events off the list; returns how many were of that kind. */
int fake_drain(struct ftt_engine *e, uint32_t kind);
/* How many events of that kind there ever were, taken off or not. */
int fake_posted(struct ftt_engine *e, uint32_t kind);

/* The host was suspended for so long: the clock is ahead by it from here on. */
void fake_suspend(uint64_t ns);
void fake_set_mode(struct ftt_engine *e, uint32_t mode);
/* Reads a counter that a running thread writes. */
uint64_t fake_counter(const uint64_t *counter);

/* How many threads of this process have a name that begins so. */
int fake_threads_named(const char *name);

/* Puts the process into a network of its own with a working loopback. False: not allowed here. */
bool fake_private_network(void);

#endif
