/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of logs at the bound of all: who sends for ever takes none from those that are short. */
#include <stdlib.h>
#include "check.h"
#include "engine/flows/log.h"

#define FLOW (256u << 10)
#define ALL (4u << 20)
#define GREEDY 100u
#define LITTLE 50u /* bytes that a short one grows by, while each of the greedy ones does by 1000 */

struct one {
	uint8_t *bytes;
	uint32_t size, len;
};

static struct ftt_engine engine;
static struct ftt_worker worker = {.e = &engine};

static enum ftt_unrenewable grow(struct one *x, uint32_t more)
{
	enum ftt_unrenewable why = ftt_log_room(&worker, &x->bytes, &x->size, x->len + more, FLOW, false);

	if (!why)
		x->len += more;
	CHECK(worker.log_bytes <= ALL);
	return why;
}

static void give_back(struct one *x)
{
	worker.log_bytes -= x->size;
	free(x->bytes);
	*x = (struct one){0};
}

/* A greedy one that is refused begins anew, as another connection. */
static void test_short_ones_keep_growing(void)
{
	struct one greedy[GREEDY] = {0}, small = {0};
	unsigned refused = 0;

	engine.cfg.policy.renew_flow = FLOW;
	engine.cfg.policy.renew_bytes = ALL;
	for (unsigned round = 0; round < 400; round++) {
		for (unsigned i = 0; i < GREEDY; i++)
			if (grow(&greedy[i], 1000)) {
				give_back(&greedy[i]);
				refused++;
			}
		CHECK_EQ(grow(&small, LITTLE), FTT_RENEWABLE);
	}
	CHECK(refused > GREEDY && small.len == 400 * LITTLE);
	CHECK(worker.log_bytes > ALL / 2); /* what there is is used */
	for (unsigned i = 0; i < GREEDY; i++)
		give_back(&greedy[i]);
	give_back(&small);
	CHECK_EQ(worker.log_bytes, 0);
}

int main(void)
{
	test_short_ones_keep_growing();
	return 0;
}
