/* SPDX-License-Identifier: Apache-2.0 */
/*
 * children.c - which processes the follower means by the leader's numbers of them: it signals them, and waits for them.
 */
#define _GNU_SOURCE
#include "calls.h"
#include "next.h"

#define CHILDREN 1024

static struct {
	_Atomic int leader, own;
} children[CHILDREN]; /* this process's; the last ones, and itself */
static _Atomic unsigned known;

void calls_know_child(int leader, int own)
{
	unsigned i = atomic_fetch_add(&known, 1) % CHILDREN;

	atomic_store(&children[i].own, own);
	atomic_store(&children[i].leader, leader);
}

int calls_own_pid(int number)
{
	for (unsigned i = 0; i < CHILDREN && i < atomic_load(&known); i++)
		if (number > 0 && atomic_load(&children[i].leader) == number)
			return atomic_load(&children[i].own);
	return 0;
}

int calls_told_pid(int own)
{
	for (unsigned i = 0; i < CHILDREN && i < atomic_load(&known); i++)
		if (atomic_load(&children[i].own) == own && atomic_load(&children[i].leader))
			return atomic_load(&children[i].leader);
	return own;
}

void calls_forget_child(int own)
{
	for (unsigned i = 0; i < CHILDREN && i < atomic_load(&known); i++)
		if (atomic_load(&children[i].own) == own)
			atomic_store(&children[i].leader, 0);
}

bool calls_is_family(int own)
{
	for (unsigned i = 0; i < CHILDREN && i < atomic_load(&known); i++)
		if (atomic_load(&children[i].own) == own)
			return true;
	return own == NEXT(getppid)();
}

void calls_forget_self(void)
{
	atomic_store(&known, 0);
}
