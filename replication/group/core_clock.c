/*
 * Clocks: how far those of the peers are off, and which time this member goes by.
 *
 * SAMPLES. A heartbeat returns when ours was sent, by our monotonic clock, and how long it was
 * held: that gives the round trip, and the peer's wall clock at its middle. It is kept as the
 * difference to our monotonic clock, so that a step of our own wall clock leaves it valid; a step
 * of the peer's begins anew. Of the last samples the one with the shortest round trip counts; its
 * error is at most half of that.
 *
 * THE CLOCK. A wall clock that is an hour ahead, be it for one tick, must not reach the HLC or the
 * lease: neither ever goes back, and the peers would refuse all batches for an hour, also when the
 * clock is right again. So a member goes by its wall clock only while that runs as the monotonic
 * one does (slewing, a pause of the process, and steps within CORE_SKEW_FENCE_MS). After a step,
 * ahead or back, it goes on with the monotonic clock from where it was, for tags, expiry, HLC and
 * lease, until the wall clock
 *
 *     is back                   it was wrong for a moment;
 *     is confirmed by peers     as soon as one is heard, unless most of those that are heard are
 *                               still on the other side of it: a step ahead is refused by those
 *                               that are behind it, a step back by those that are ahead of it;
 *     is confirmed by time      after PATIENCE_MS in which no peer was there to ask.
 *
 * Heartbeats carry the wall clock itself: if a whole group was wrong and is set right, each member
 * follows when half of those that it hears have been set, too. Of two members that differ each
 * goes on as it did before: nobody can say which of them is right, and neither needs to be.
 *
 * THE START. The lease on disk is where the clock was when the process ended. A wall clock that is
 * within CORE_AHEAD_MS_MAX of it, which peers would take, is what we go by. Else the process was
 * down for long or the clock is wrong, and nobody knows which: nothing is promised and no write is
 * taken, until
 *
 *     a peer is heard           which takes a round trip after the link is up; if most would refuse
 *                               our clock, as above, we go by the nearest of theirs, as if ours had
 *                               been stepped from there;
 *     nobody is there to ask    for as long as a silent link lives, at once if there are no peers:
 *                               by the wall clock, or the lease if that is later.
 *
 * THE FENCE. If the time that we go by is off all the same (it was wrong at the start, or has
 * drifted), writes are refused when at least two peers, and the majority of those that we hear, say
 * so with the same sign: one peer alone may be the wrong one. The promise goes on meanwhile, unless
 * we are ahead. A member that is more than CORE_AHEAD_MS_MAX behind takes nothing from the others,
 * either.
 */
#include "replication/group/core_impl.h"

/* A peer's clock was stepped. */
#define STEP_MS 50
/* How long a wall clock that was stepped is not followed while nobody is there to ask. */
#define PATIENCE_MS 600000u
/* More is no time: the HLC has 48 bits for it. */
#define WALL_MS_MAX ((UINT64_C(1) << 48) - 1)

/* --- samples --- */

void core_clock_sample(struct core *core, struct peer *peer, const struct wire_heartbeat *hb)
{
    const uint64_t now_ms = core->now.mono_ms;

    if (hb->echo_ms == 0 || hb->echo_ms > now_ms || hb->wall_ms > WALL_MS_MAX)
        return;
    /* Both ends count from tick to tick: what was held may seem to be longer than all of it. */
    const uint64_t elapsed_ms = now_ms - hb->echo_ms;
    if (hb->held_ms > elapsed_ms + STEP_MS)
        return;
    const uint64_t rtt_ms = elapsed_ms - u64_min(elapsed_ms, hb->held_ms);
    const struct sample sample = {.difference_ms = (int64_t)(hb->wall_ms + rtt_ms / 2 - now_ms),
                                  .rtt_ms = rtt_ms};
    if (peer->samples_count != 0) {
        const struct sample *last = &peer->samples[(peer->samples_count - 1) % SAMPLES_MAX];
        const int64_t step_ms = sample.difference_ms - last->difference_ms;
        const int64_t error_ms = STEP_MS + (int64_t)(sample.rtt_ms / 2 + last->rtt_ms / 2);

        if (step_ms > error_ms || step_ms < -error_ms)
            peer->samples_count = 0;
    }
    peer->samples[peer->samples_count++ % SAMPLES_MAX] = sample;
}

/* False if there is none, or no link. */
static bool best_of(const struct peer *peer, struct sample *out)
{
    const unsigned count = u32_min(peer->samples_count, SAMPLES_MAX);

    if (count == 0 || peer->state != CORE_LINK_UP)
        return false;
    *out = peer->samples[0];
    for (unsigned i = 1; i < count; i++) {
        if (peer->samples[i].rtt_ms < out->rtt_ms)
            *out = peer->samples[i];
    }
    return true;
}

bool core_clock_offset(const struct core *core, const struct peer *peer, int64_t *out_ms,
                       uint64_t *out_rtt_ms)
{
    struct sample best;

    if (!best_of(peer, &best))
        return false;
    *out_ms = best.difference_ms - core->wall_ms;
    *out_rtt_ms = best.rtt_ms;
    return true;
}

/*
 * Whether a peer's clock is beyond doubt ahead (1) of `clock_ms` or behind it (-1) by more than
 * `bound_ms`; `clock_ms` is minus the monotonic clock, too.
 */
static int beyond(const struct sample *sample, int64_t clock_ms, int64_t bound_ms)
{
    const int64_t offset_ms = sample->difference_ms - clock_ms;
    const int64_t error_ms = (int64_t)(sample->rtt_ms / 2);

    if (offset_ms - error_ms > bound_ms)
        return 1;
    return offset_ms + error_ms < -bound_ms ? -1 : 0;
}

/* --- the clock --- */

/* What the peers say. */
struct verdict {
    unsigned up;     /* Links, */
    unsigned heard;  /* of these with a sample, */
    unsigned refuse; /* of these on the other side of where our wall clock was stepped to; */
    int64_t theirs;  /* the nearest of the clocks of these. */
};

static bool is_near(const struct core *core, int64_t wall_ms)
{
    const int64_t step_ms = wall_ms - core->clock_ms;

    return step_ms <= CORE_SKEW_FENCE_MS && step_ms >= -CORE_SKEW_FENCE_MS;
}

uint64_t core_clock_ms(const struct core *core, uint64_t mono_ms, uint64_t wall_ms)
{
    if (!core->clock_known || is_near(core, (int64_t)(wall_ms - mono_ms)))
        return wall_ms;
    return mono_ms + (uint64_t)core->clock_ms;
}

bool core_clock_known(const struct core *core)
{
    return core->clock_known;
}

bool core_clock_promises(const struct core *core)
{
    return core->clock_known && !core->fenced_ahead;
}

static void follow(struct core *core, int64_t clock_ms)
{
    core->clock_known = true;
    core->clock_ms = clock_ms;
}

static void warn(struct core *core, const struct peer *peer, const struct sample *best, bool *any)
{
    if (beyond(best, core->wall_ms, CORE_SKEW_WARN_MS) == 0)
        return;
    *any = true;
    if (!core->warned)
        core_event(core, CORE_SKEW_WARN, peer, (uint64_t)(best->difference_ms - core->wall_ms));
    core->warned = true;
}

static struct verdict ask_peers(struct core *core)
{
    const int other_side = core->wall_ms < core->clock_ms ? 1 : -1;
    struct verdict v = {0};
    bool warned = false;

    for (unsigned i = 0; i < core->peers_count; i++) {
        const struct peer *peer = core->peers[i];
        struct sample best;

        v.up += peer->state == CORE_LINK_UP;
        if (!best_of(peer, &best))
            continue;
        v.heard++;
        warn(core, peer, &best, &warned);
        if (beyond(&best, core->wall_ms, CORE_SKEW_FENCE_MS) != other_side)
            continue;
        if (v.refuse++ == 0 || (best.difference_ms < v.theirs) == (other_side > 0))
            v.theirs = best.difference_ms;
    }
    core->warned = warned;
    return v;
}

/* Nobody is there to ask, and has not been for long enough. */
static bool is_alone(const struct core *core, const struct verdict *v)
{
    uint64_t patience_ms = PATIENCE_MS;

    if (!core->clock_known)
        patience_ms = core->peers_count == 0 ? 0 : core->options.timeout_ms;
    return core->members.count != 0 && v->up == 0 &&
           core->now.mono_ms - core->heard_ms >= patience_ms;
}

static void judge_clock(struct core *core, const struct verdict *v)
{
    const bool refused = 2 * v->refuse > v->heard;

    const bool near = core->clock_known && is_near(core, core->wall_ms);

    if (near || (v->heard != 0 && !refused))
        follow(core, core->wall_ms);
    else if (v->heard != 0 && !core->clock_known)
        follow(core, v->theirs);
    else if (v->heard == 0 && is_alone(core, v))
        follow(core, core->clock_known || core->wall_ms > core->clock_ms ? core->wall_ms
                                                                         : core->clock_ms);
    const bool doubted = core->clock_known && core->clock_ms != core->wall_ms;
    if (v->heard != 0 || (core->clock_known && !doubted))
        core->heard_ms = core->now.mono_ms;
    if (doubted == core->clock_doubted)
        return;
    core->clock_doubted = doubted;
    core_event(core, doubted ? CORE_CLOCK_DOUBTED : CORE_CLOCK_FOLLOWED, NULL,
               (uint64_t)(core->wall_ms - core->clock_ms));
}

static void judge_fence(struct core *core)
{
    unsigned heard = 0;
    unsigned ahead = 0;
    unsigned behind = 0;

    for (unsigned i = 0; i < core->peers_count && core->clock_known; i++) {
        struct sample best;

        if (!best_of(core->peers[i], &best))
            continue;
        heard++;
        ahead += beyond(&best, core->clock_ms, CORE_SKEW_FENCE_MS) > 0;
        behind += beyond(&best, core->clock_ms, CORE_SKEW_FENCE_MS) < 0;
    }
    if (core->fenced && heard < 2)
        return; /* Whoever is fenced stays so until peers say otherwise. */
    const bool we_are_ahead = behind >= 2 && 2 * behind > heard;
    const bool off = we_are_ahead || (ahead >= 2 && 2 * ahead > heard);
    core->fenced_ahead = we_are_ahead;
    if (off == core->fenced)
        return;
    core->fenced = off;
    core_event(core, off ? CORE_SKEW_FENCED : CORE_SKEW_OK, NULL, 0);
}

/* Where the clock begins: `now.hlc` is the lease. */
static void start_clock(struct core *core)
{
    const uint64_t lease_ms = hlc_ms(core->now.hlc);

    core->heard_ms = core->now.mono_ms;
    core->clock_ms = (int64_t)(lease_ms - core->now.mono_ms);
    if (core->now.wall_ms <= lease_ms + CORE_AHEAD_MS_MAX &&
        lease_ms <= core->now.wall_ms + CORE_AHEAD_MS_MAX)
        follow(core, core->wall_ms);
}

void core_clock_check(struct core *core)
{
    const bool starts = core->heard_ms == 0;

    core->wall_ms = (int64_t)(core->now.wall_ms - core->now.mono_ms);
    if (starts)
        start_clock(core);
    const struct verdict v = ask_peers(core);
    judge_clock(core, &v);
    judge_fence(core);
}
