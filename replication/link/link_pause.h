/*
 * How long to wait before a peer that could not be reached is dialed again.
 *
 * The pause doubles from each attempt in vain to the next, up to a limit: half a second where
 * nobody answered, since that says nothing of when somebody will, and an attempt costs a packet;
 * two seconds after a refusal, since whoever refuses will do so again. What is waited is drawn from
 * the upper half of it, so that those who lost a peer together do not come back in step.
 *
 * Pure, but for the random numbers.
 */
#ifndef TIERRA_REPLICATION_LINK_LINK_PAUSE_H
#define TIERRA_REPLICATION_LINK_LINK_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

struct rng;

#define LINK_PAUSE_MS_MIN     50u
#define LINK_PAUSE_MS_MAX     500u
#define LINK_PAUSE_REFUSED_MS 2000u

/* Zero: all was well so far. To be zeroed once a link is of use. */
struct link_pause {
    uint32_t ms;
};

/* An attempt, or a link, has ended with `err` (on_closed; 0: for a reason of one's own). Returns
 * how long to wait. */
MUST_USE uint32_t link_pause_next(struct link_pause *pause, int err, struct rng *rng);

#endif
