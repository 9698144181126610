/*
 * Skew of clocks, from heartbeats.
 *
 * A heartbeat returns when ours was sent, by our monotonic clock, and how long it was held: that
 * gives the round trip, and the peer's wall clock at its middle. Of the last samples the one with
 * the shortest round trip counts; its error is at most half of that.
 *
 * We fence ourselves only when at least two peers, and the majority of those that we hear, say that
 * our clock is off by the same sign beyond the bound: one peer alone may be the wrong one.
 */
#include "replication/group/core_impl.h"

/* A step of our own clock makes all samples worthless. */
#define STEP_MS 50

void core_clock_sample(struct core *core, struct peer *peer, const struct wire_heartbeat *hb)
{
    const uint64_t now_ms = core->now.mono_ms;

    if (hb->echo_ms == 0 || hb->echo_ms > now_ms || hb->held_ms > now_ms - hb->echo_ms)
        return;
    const uint64_t rtt_ms = now_ms - hb->echo_ms - hb->held_ms;
    peer->samples[peer->samples_count++ % SAMPLES_MAX] = (struct sample){
        .offset_ms = (int64_t)(hb->wall_ms + rtt_ms / 2 - core->now.wall_ms), .rtt_ms = rtt_ms};
}

bool core_clock_best(const struct peer *peer, struct sample *out)
{
    const unsigned count = u32_min(peer->samples_count, SAMPLES_MAX);

    if (count == 0)
        return false;
    *out = peer->samples[0];
    for (unsigned i = 1; i < count; i++) {
        if (peer->samples[i].rtt_ms < out->rtt_ms)
            *out = peer->samples[i];
    }
    return true;
}

/* Beyond doubt ahead (1) or behind (-1) of us by more than `bound_ms`. */
static int beyond(const struct sample *sample, int64_t bound_ms)
{
    const int64_t error_ms = (int64_t)(sample->rtt_ms / 2);

    if (sample->offset_ms - error_ms > bound_ms)
        return 1;
    return sample->offset_ms + error_ms < -bound_ms ? -1 : 0;
}

static void notice_step(struct core *core)
{
    const int64_t difference = (int64_t)(core->now.wall_ms - core->now.mono_ms);
    const int64_t step = difference - core->wall_minus_mono;

    core->wall_minus_mono = difference;
    if (step <= STEP_MS && step >= -STEP_MS)
        return;
    for (unsigned i = 0; i < core->peers_count; i++)
        core->peers[i]->samples_count = 0;
}

static void judge_fence(struct core *core, unsigned ahead, unsigned behind, unsigned heard)
{
    const bool off = (ahead >= 2 && 2 * ahead > heard) || (behind >= 2 && 2 * behind > heard);

    if (off == core->fenced || (core->fenced && heard < 2))
        return; /* Whoever is fenced stays so until peers say otherwise. */
    core->fenced = off;
    core_event(core, off ? CORE_SKEW_FENCED : CORE_SKEW_OK, NULL, 0);
}

void core_clock_check(struct core *core)
{
    unsigned ahead = 0;
    unsigned behind = 0;
    unsigned heard = 0;
    bool warn = false;

    notice_step(core);
    for (unsigned i = 0; i < core->peers_count; i++) {
        const struct peer *peer = core->peers[i];
        struct sample best;

        if (peer->state != CORE_LINK_UP || !core_clock_best(peer, &best))
            continue;
        heard++;
        ahead += beyond(&best, CORE_SKEW_FENCE_MS) > 0;
        behind += beyond(&best, CORE_SKEW_FENCE_MS) < 0;
        if (beyond(&best, CORE_SKEW_WARN_MS) == 0)
            continue;
        warn = true;
        if (!core->warned)
            core_event(core, CORE_SKEW_WARN, peer, (uint64_t)best.offset_ms);
        core->warned = true;
    }
    core->warned = warn;
    judge_fence(core, ahead, behind, heard);
}
