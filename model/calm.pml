/* SPDX-License-Identifier: Apache-2.0 */
/* calm.pml - faults have stopped, daemons do what they should: what liveness needs (world.pml begins it). */

#ifdef LIVENESS
bool calm;
bool cut;              /* the nodes will never hear each other again */
bool reach[2];         /* the arbiter can be reached from here */
bool able[2];          /* the server is healthy and the service link is up */
bool third;            /* there is a third node, which is able and reaches the arbiter */
bool beaten[2], tried[2];  /* in this tick: sent a heartbeat, asked the arbiter */
byte quiet[2];         /* how long the node goes on to believe that its partner lives */
byte left[2];          /* how long it waits for an answer in HANDOVER or SILENT: State._waited */
#define WHEN(x) (!calm || (x))
#define CALM(x) (calm && (x))
#define FAULT (!calm)
#define can_ask (!calm || (reach[me] && !tried[me]))
#define asking tried[me] = calm
#define partner_heard quiet[me] = (calm -> PATIENCE : 0)
#define alone (quiet[me] == 0)
#define waits left[me] = (calm -> LIMIT : 0)
#define waited_in_vain (left[me] == 0)
#else
#define WHEN(x) true
#define CALM(x) false
#define FAULT true
#define can_ask true
#define asking skip
#define partner_heard skip
#define alone true
#define waits skip
#define waited_in_vain true
#endif
