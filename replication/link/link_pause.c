/* Pauses between attempts; link_pause.h tells how long they are and why. */
#include "replication/link/link_pause.h"

#include "engine/base/err.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"

/* What will be the same the next time, most likely. */
static bool lasts(int err)
{
    return err == -ERR_REFUSED || err == -ERR_AUTH || err == -ERR_FORMAT || err == -ERR_PROTOCOL ||
           err == -ERR_NOT_FOUND || err == -ERR_SYNTAX;
}

uint32_t link_pause_next(struct link_pause *pause, int err, struct rng *rng)
{
    const uint32_t most_ms = lasts(err) ? LINK_PAUSE_REFUSED_MS : LINK_PAUSE_MS_MAX;

    pause->ms = pause->ms == 0 ? LINK_PAUSE_MS_MIN : pause->ms * 2;
    if (pause->ms > most_ms)
        pause->ms = most_ms;
    return pause->ms / 2 + (uint32_t)rng_below(rng, pause->ms / 2 + 1);
}
