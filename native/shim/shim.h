/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim.h - a library that is loaded into a server before it starts, so that its two copies draw the same random numbers.
 *
 *   life.c     the start of a process with the library, and its forks
 *   company.c  what all know of this process: its memory, and whether it was made for one connection
 *   slots.c    its connections, and which descriptors are theirs
 *   next.c     the C library's own functions
 *   who.c      which connection a thread is busy with: the one whose bytes it read last
 *   opens.c    connections that the server opens
 *   address.c  what the kernel knows of a socket
 *   draw.c     what it draws then
 *   chance.c   what random() gives to its timers
 *   time.c     what its clocks show, and what it waits for
 *   pids.c     the numbers of its children
 *   records.c  what it reads at once of TLS
 *   bgp.c      ... and of BGP
 *   turns.c    who speaks next in a process between its connection and programs
 *   sleep.c    whether those programs sleep
 *
 * It writes nothing anywhere but into that memory, allocates nothing, and takes no lock that a fork could meet.
 */
#ifndef FTTCP_SHIM_H
#define FTTCP_SHIM_H
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include "core/lockstep/lockstep_input.h"

#define EXPORT __attribute__((visibility("default")))
#define SHIM_FDS (1u << 20)   /* descriptors above are nobody's */
#define SHIM_SLOTS (1u << 17) /* connections that a process may have open at once */
#define SHIM_NOBODY 0u        /* no slot */
#define SHIM_CLOSING UINT32_MAX
#define SHIM_DEVICE UINT32_MAX /* in place of a slot: /dev/urandom */

/* Where the reader of a connection stands in what its client says over TLS. */
enum shim_reading { SHIM_NO_RECORDS = 0, SHIM_NO_TLS_YET, SHIM_IN_HEAD, SHIM_IN_BODY, SHIM_BETWEEN };

struct shim_records {
	uint32_t left;                /* of this record's body */
	uint16_t port;                /* of the server */
	uint8_t head[5], have, state; /* enum shim_reading */
	bool sealed;                  /* what comes is encrypted */
};

/* ... and in what its peer says over BGP: UNKNOWN before the first message's head. */
#define SHIM_BGP_HEAD 19u
enum shim_bgp_state { SHIM_BGP_UNKNOWN = 0, SHIM_BGP, SHIM_NO_BGP };

struct shim_bgp {
	uint32_t left, turn; /* of this message's body; in which turn the last one was read to its end */
	uint8_t head[SHIM_BGP_HEAD], have, state; /* enum shim_bgp_state */
};

/* A connection of this process. Nothing of this is secret; a child inherits it. */
struct shim_slot {
	_Atomic uint32_t refs;  /* descriptors; 0: free; SHIM_CLOSING */
	_Atomic uint32_t epoch; /* which connection of this slot: a thread may remember one that was closed */
	_Atomic uint32_t below; /* of a free one: the next one that is taken */
	struct ftt_ls_found found; /* row NULL: without identity */
	_Atomic uint64_t data;     /* what it is registered with in epoll */
	int fd, epoll;             /* ... as which descriptor, and where */
	uint32_t events;           /* 0: it is not */
	bool opened;               /* by the server, and has no identity: no thread is busy with it */
	_Atomic int64_t shown_ns;  /* the latest time that was shown for it */
	struct shim_records records;
	struct shim_bgp bgp;
};

/*
 * ... and what it draws from. The kernel clears this memory in a child, whatever made it, so that no two processes have the
 * same key. The state holds whose key it is (the slot's epoch): a thread that comes late neither uses the key of the slot's next
 * connection nor gives it one. 0: no key. Only who has made it BUSY writes the key.
 */
#define SHIM_COUNTS 16u

struct shim_secret {
	_Atomic uint64_t state; /* epoch << 2 | enum shim_state */
	uint8_t key[FTT_CHACHA_KEY];
	struct {
		_Atomic uint32_t what;   /* kind and length; 0: none yet */
		_Atomic uint64_t number; /* of the next one */
	} drawn[SHIM_COUNTS]; /* the last one is shared by those for which there is no other */
};

enum shim_state { SHIM_FRESH = 0, SHIM_BUSY, SHIM_READY, SHIM_LOST };

struct shim_current {
	uint32_t slot, epoch;
};

extern struct ftt_ls_map shim_map; /* .header NULL: the library does nothing */
extern struct shim_slot shim_slots[SHIM_SLOTS];
extern struct shim_secret *shim_secrets; /* [SHIM_SLOTS]; the one of slot 0 is the process's own, until it serves */
extern _Atomic bool shim_serves;         /* it has had a connection, or is the child of a process that had */
extern _Thread_local struct shim_current shim_current __attribute__((tls_model("initial-exec")));
/* It was told that there is something to read, and has not read yet. */
extern _Thread_local bool shim_ahead __attribute__((tls_model("initial-exec")));

static inline bool shim_still(struct shim_current c)
{
	return atomic_load(&shim_slots[c.slot].epoch) == c.epoch;
}

/* What this thread is busy with; .slot may be SHIM_NOBODY. */
static inline struct shim_current shim_now(void)
{
	struct shim_current c = shim_current;

	return c.slot && shim_still(c) ? c : (struct shim_current){0};
}

/* False: it has no identity, or is closed by now (by another thread). */
static inline bool shim_found(struct shim_current c, struct ftt_ls_found *f)
{
	*f = shim_slots[c.slot].found;
	return c.slot && f->row && shim_still(c);
}

static inline void shim_count(enum ftt_ls_count what)
{
	atomic_fetch_add_explicit(&shim_map.header->count[what], 1, memory_order_relaxed);
}

/* draw.c */
/* It has this key, of which nothing is drawn yet, if it had none. */
void shim_set_key(struct shim_current c, const uint8_t key[FTT_CHACHA_KEY]);
/* It has its key, taking a lineage if it has none yet; false if the connection has no identity (any more). */
bool shim_keyed(struct shim_current c);
/* Nobody's any more. */
void shim_forget_key(struct shim_current c);
/* For a connection that begins; false: a thread of the slot's last one is not through yet. */
bool shim_begin_key(struct shim_current c);
/* Copies the key of a process that has not served yet; false: it has none. */
bool shim_start_key(uint8_t key[FTT_CHACHA_KEY]);

/* A read of a device that gives random numbers; false: nothing was drawn. */
bool shim_draw_device(void *out, size_t n);

/* For the number of a process that is forked for this connection; false: it has no identity. */
bool shim_draw_pid(struct shim_current c, uint32_t *drawn);

/* chance.c */
/* Whether random() is ours, for this command. */
void shim_know_chance(int argc, char **argv);
/* This thread has waited for something. */
void shim_new_turn(void);

/* pids.c */
void shim_know_pids(void);
/* This thread forks a process for this connection now. */
void shim_number_child(struct shim_current c);

/* company.c */
/* A process that came with one connection, by fork or exec, and has met no other since: a generator that grows in it is for that one. */
bool shim_is_only(struct shim_current c);
/* A key of its own for what this process draws for the connection; false: it is over, or is not the only one that it has the seed of. */
bool shim_context(const struct ftt_ls_found *found, uint8_t key[FTT_CHACHA_KEY]);
/* It came with this connection, among others perhaps. */
void shim_came_with(const struct ftt_ls_found *found);
/* It was made for this connection. */
void shim_made_for(const struct ftt_ls_found *found);
/* It came with one connection and has met no other. */
bool shim_has_one(void);
/* It takes others, too, whatever it came with. */
void shim_meets_others(void);
/*
 * A program that was executed with one connection, and does not listen, needs no other's seed. So it has none, nor have its
 * children: an sshd's that talks to a client who has not logged in cannot read what others say. Connections that it
 * accepts later all the same draw from the kernel.
 */
void shim_keep_own_seed(void);

/* slots.c */
/* A free one, with one descriptor; SHIM_NOBODY: there is none. */
uint32_t shim_take_slot(void);
/* The connection of a descriptor, or SHIM_NOBODY. */
uint32_t shim_slot_of(int fd);
/* The descriptor is this slot's, or SHIM_DEVICE; nobody's; those from `first` to `last` are. */
void shim_give(int fd, uint32_t slot);
void shim_let_go(int fd);
void shim_let_go_range(unsigned first, unsigned last);
/* `to`, which is returned, is another name for what `from` is. */
int shim_also(int from, int to);
/* A device that gives random numbers. It may have been closed behind our back (by fclose, say), and its number be another file's by now. */
bool shim_is_device(int fd);

/* who.c */
/* Descriptors that were there when the program started: one that executes itself anew knows its connection by them. */
void shim_look_at_descriptors(void);

/* records.c */
/* What a connection that is accepted at this port of the server begins with. */
struct shim_records shim_expected(uint16_t port);
/* These bytes were read of it; NULL: in several pieces. */
void shim_took(uint32_t slot, const void *bytes, size_t n);
/* Reads, up to the end of a record. */
ssize_t shim_read(uint32_t slot, int fd, void *to, size_t n, int flags);

/* bgp.c */
/* These bytes were read of it; NULL: in several pieces. */
void shim_bgp_took(uint32_t slot, const void *bytes, size_t n);
/* It is read message by message: */
bool shim_bgp_waits(uint32_t slot, int fd, int flags);
ssize_t shim_bgp_read(uint32_t slot, int fd, void *to, size_t n, int flags);
/* poll() is about to be called, and waits or not. True: peers are hidden from it. */
bool shim_bgp_hide(struct pollfd *fds, nfds_t n, bool waits);
/* ... and was called: they are hidden no more. */
void shim_bgp_show(struct pollfd *fds, nfds_t n, bool hidden);

/* A connection that the server has opened, to a router: of what is said there the library knows no more. */
void shim_meet_peer(int fd);

/* address.c */
/* False: it is neither IPv4, which is mapped, nor IPv6. */
bool shim_address(const struct sockaddr_storage *from, uint8_t address[16], uint16_t *port);
bool shim_own_address(int fd, uint8_t address[16], uint16_t *port);
/* peer: what accept() said; NULL: the kernel is asked. */
bool shim_who_is(int fd, const struct sockaddr_storage *peer, struct ftt_ls_addresses *who);
bool shim_has_peer(int fd); /* it was not reset */
/* It may get connections. */
bool shim_listens(int fd);
/* A call with these flags would wait. */
bool shim_blocks(int fd, int flags);

/* time.c */
void shim_find_clocks(void);
/* This thread is busy with another connection, or has read more of it: servers that keep the time have this one's. */
void shim_keep_time(void);
/* epoll is to tell what is there once more. */
bool shim_tell_again(int epoll, int fd, uint32_t events, uint64_t data);

/* turns.c */
/* This process waits for its connection and for programs beside it: they take turns. */
bool shim_take_turns(struct pollfd *fds, nfds_t n);
int shim_poll_in_turn(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask);
/* How much of n bytes may be read at once. */
size_t shim_piece(int fd, size_t n);

/* sleep.c */
/* What the programs do that this process has started, and theirs. */
struct shim_look {
	uint64_t sum; /* of all that was seen: who runs for a moment in between changes it */
	int64_t ran_ns; /* all of them */
	unsigned tasks;
	bool awake; /* one works, or would if it got a processor; or waits for a disk: */
	bool runs;  /* ... the former */
	bool ended; /* a child of ours has, and was not asked for yet */
	bool blind; /* there is no /proc here, or it does not tell */
};

/* Asleep: they wait for the client, or for what no copy knows. */
struct shim_look shim_look(void);

#endif
