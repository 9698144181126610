/*
 * Skew of clocks, from heartbeats.
 *
 * A heartbeat returns when ours was sent, by our monotonic clock, and how long it was held: that
 * gives the round trip, and the peer's wall clock at its middle. Of the last samples the one with
 * the shortest round trip counts; its error is at most half of that.
 *
 * We fence ourselves only when at least two peers, and the majority of those that we hear, say that
 * our clock is off by the same sign beyond the bound: one peer alone may be the wrong one.
 *
 * That takes some heartbeats, and the HLC never goes back: one batch, or one promise, with a clock
 * that is an hour ahead would have all batches of this member refused for an hour, also when the
 * clock is right again. So the HLC does not follow the wall clock blindly. A step ahead, like a
 * start, puts the clock in doubt until every linked peer has told its own. As long as it is in
 * doubt, or wrong by what peers would refuse in the eyes of most of them, the HLC goes on with the
 * monotonic clock from where the wall clock was last believed.
 *
 *     believed before     HLC follows the monotonic clock from there
 *     not since the start  no promise is made; batches follow the wall clock, as long as there is
 *                          nobody to ask, for a member that is alone has to have its latest write
 */
#include "replication/group/core_impl.h"

/* A step of our own clock makes all samples worthless. */
#define STEP_MS 50
/* With nobody to ask, a clock that stepped is believed after all. */
#define DOUBT_MS 60000u

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
    if (!core->clock_started || step > CORE_SKEW_FENCE_MS) {
        core->clock_doubt = true;
        core->doubt_ms = core->now.mono_ms;
    }
    core->clock_started = true;
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

/*
 * Whether the wall clock is to be believed: `refusing` of those that were heard would refuse what
 * we made with it.
 */
static void judge_doubt(struct core *core, unsigned refusing, unsigned heard)
{
    const uint64_t patience_ms = core->clock_believed ? DOUBT_MS : core->options.timeout_ms;
    unsigned up = 0;

    for (unsigned i = 0; i < core->peers_count; i++)
        up += core->peers[i]->state == CORE_LINK_UP;
    const bool alone =
        up == 0 && core->members.count != 0 &&
        (core->peers_count == 0 || core->now.mono_ms - core->doubt_ms >= patience_ms);
    if (heard != 0 && 2 * refusing > heard)
        core->clock_doubt = true;
    else if ((up != 0 && heard == up) || alone)
        core->clock_doubt = false;
    core->clock_refused = heard != 0 && core->clock_doubt;
    if (core->clock_doubt || core->fenced)
        return;
    core->clock_believed = true;
    core->believed_wall_ms = core->now.wall_ms;
    core->believed_mono_ms = core->now.mono_ms;
}

void core_clock(const struct core *core, struct core_clock *out)
{
    const uint64_t since_ms = core->now.mono_ms - core->believed_mono_ms;

    *out = (struct core_clock){.wall_max_ms = core->clock_refused ? 0 : UINT64_MAX};
    if (!core->clock_believed)
        return;
    out->promise = true;
    out->wall_ms = u64_min(core->now.wall_ms, core->believed_wall_ms + since_ms);
    /* Until the next tick it must not step further than what nobody would notice. */
    out->wall_max_ms = core->believed_wall_ms + since_ms + CORE_SKEW_FENCE_MS;
}

void core_clock_check(struct core *core)
{
    unsigned ahead = 0;
    unsigned behind = 0;
    unsigned heard = 0;
    unsigned refusing = 0;
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
        refusing += beyond(&best, CORE_AHEAD_MS_MAX) < 0;
        if (beyond(&best, CORE_SKEW_WARN_MS) == 0)
            continue;
        warn = true;
        if (!core->warned)
            core_event(core, CORE_SKEW_WARN, peer, (uint64_t)best.offset_ms);
        core->warned = true;
    }
    core->warned = warn;
    judge_fence(core, ahead, behind, heard);
    judge_doubt(core, refusing, heard);
}
