/*
 * Positions in the log.
 *
 * Two mappings from an LSN to what had been applied there, both in bounded memory and both allowed
 * to know less than there is:
 *
 *   - the last records, until they are durable: a ring. When it is full, every second one of each
 *     origin is forgotten; that something is durable is then noticed a little later;
 *   - positions of the whole retained log, one each `history_bytes`: the log is trimmed up to the
 *     last one that all members have acknowledged. When there are too many, every second one goes
 *     and the distance doubles.
 */
#include <string.h>

#include "engine/base/check.h"

#include "replication/group/core_impl.h"

/* --- durability --- */

static struct sync *sync_at(struct core *core, unsigned i)
{
    return &core->syncs[(core->syncs_first + i) % SYNCS_MAX];
}

/* From the last to the first: the last of each origin stays, then every second one. */
static void thin_syncs(struct core *core)
{
    bool keep_next[ORIGINS_MAX];
    unsigned to = core->syncs_count;

    memset(keep_next, true, sizeof(keep_next));
    for (unsigned i = core->syncs_count; i-- > 0;) {
        const struct sync s = *sync_at(core, i);

        if (keep_next[s.index])
            *sync_at(core, --to) = s;
        keep_next[s.index] = !keep_next[s.index];
    }
    core->syncs_first = (core->syncs_first + to) % SYNCS_MAX;
    core->syncs_count -= to;
}

void core_log_durable(struct core *core, uint64_t lsn)
{
    CHECK(lsn <= core->applied_lsn);
    core->durable_lsn = lsn;
    while (core->syncs_count != 0 && sync_at(core, 0)->lsn <= lsn) {
        const struct sync *s = sync_at(core, 0);

        core->origins[s->index].durable = s->pos;
        core->syncs_first = (core->syncs_first + 1) % SYNCS_MAX;
        core->syncs_count--;
    }
}

void core_durable_posv(const struct core *core, struct posv *out)
{
    posv_init(out);
    for (unsigned i = 0; i < core->origins_count; i++)
        CHECK(posv_raise(out, core->origins[i].origin, core->origins[i].durable) == 0);
}

void core_applied_posv(const struct core *core, struct posv *out)
{
    posv_init(out);
    for (unsigned i = 0; i < core->origins_count; i++)
        CHECK(posv_raise(out, core->origins[i].origin, core->origins[i].applied) == 0);
}

/* --- history --- */

static void thin_history(struct core *core)
{
    unsigned kept = 1;

    for (unsigned i = 2; i < core->history_count; i += 2)
        core->history[kept++] = core->history[i];
    core->history_count = kept;
    core->history_step *= 2;
}

static void add_moment(struct core *core, uint64_t lsn)
{
    if (core->history_count == HISTORY_MAX)
        thin_history(core);
    struct moment *moment = &core->history[core->history_count++];
    moment->lsn = lsn;
    moment->bytes = core->log_bytes;
    moment->at_ms = core->now.mono_ms;
}

void core_log_init(struct core *core)
{
    core->history_step = core->options.history_bytes;
    add_moment(core, core->covered_lsn);
    posv_copy(&core->history[0].at, &core->covered);
    if (core->applied_lsn != core->covered_lsn) {
        add_moment(core, core->applied_lsn);
        core_applied_posv(core, &core->history[1].at);
    }
}

void core_log_reset(struct core *core)
{
    core->history_count = 0;
    add_moment(core, core->applied_lsn);
    core_applied_posv(core, &core->history[0].at);
}

void core_log_start(struct core *core, uint64_t now_ms)
{
    for (unsigned i = 0; i < core->history_count; i++)
        core->history[i].at_ms = now_ms;
}

void core_log_note(struct core *core, unsigned index, uint64_t lsn, struct pos pos, size_t len)
{
    if (core->syncs_count == SYNCS_MAX)
        thin_syncs(core);
    core->syncs_count++;
    *sync_at(core, core->syncs_count - 1) = (struct sync){.lsn = lsn, .index = index, .pos = pos};
    core->log_bytes += len;
    if (core->log_bytes - core->history[core->history_count - 1].bytes < core->history_step)
        return;
    add_moment(core, lsn);
    core_applied_posv(core, &core->history[core->history_count - 1].at);
}

/* From where on the log is kept for the member: what it has, or will have with its copy. */
static const struct posv *kept_from(const struct peer *peer)
{
    return peer->behind && peer->has_floor ? &peer->floor : &peer->durable;
}

/* The last moment of which the member has everything; NULL: none that is remembered. */
static const struct moment *acked_moment(const struct core *core, const struct peer *peer)
{
    for (unsigned i = core->history_count; i-- > 0;) {
        if (posv_leq(&core->history[i].at, kept_from(peer)))
            return &core->history[i];
    }
    return NULL;
}

static void forget_before(struct core *core, uint64_t lsn)
{
    unsigned first = 0;

    while (first + 1 < core->history_count && core->history[first + 1].lsn <= lsn)
        first++;
    if (core->history[first].lsn <= lsn)
        posv_copy(&core->trimmed, &core->history[first].at);
    core->history_count -= first;
    memmove(core->history, core->history + first, core->history_count * sizeof(core->history[0]));
    if (core->history_count < HISTORY_MAX / 4)
        core->history_step = u64_max(core->options.history_bytes, core->history_step / 2);
}

uint64_t core_log_trim(struct core *core)
{
    uint64_t lsn = u64_min(core->covered_lsn, core->durable_lsn);

    for (unsigned i = 0; i < core->peers_count; i++) {
        const struct peer *peer = core->peers[i];

        if (peer->behind && !peer->has_floor)
            continue;
        const struct moment *moment = acked_moment(core, peer);
        lsn = u64_min(lsn, moment == NULL ? 0 : moment->lsn);
    }
    forget_before(core, lsn);
    return lsn;
}

/* --- retention --- */

/* Bytes of log that the peer lacks, and their age; both are known to a step of the history. */
static void retained(const struct core *core, const struct peer *peer, uint64_t *out_bytes,
                     uint64_t *out_age_ms)
{
    const struct moment *acked = acked_moment(core, peer);
    const struct moment *last = &core->history[core->history_count - 1];

    *out_bytes = core->log_bytes - (acked == NULL ? core->history[0].bytes : acked->bytes);
    if (acked == NULL)
        *out_age_ms = core->now.mono_ms - core->history[0].at_ms;
    else
        *out_age_ms = acked == last ? 0 : core->now.mono_ms - acked[1].at_ms;
}

void core_set_retention(struct core *core, uint64_t bytes, uint64_t ms)
{
    core->options.retention_bytes = bytes;
    core->options.retention_ms = ms;
}

static bool is_beyond(const struct core *core, const struct peer *peer, uint64_t *out_bytes)
{
    uint64_t age_ms;

    retained(core, peer, out_bytes, &age_ms);
    return (core->options.retention_bytes != 0 && *out_bytes > core->options.retention_bytes) ||
           (core->options.retention_ms != 0 && age_ms > core->options.retention_ms);
}

static void check_peer(struct core *core, struct peer *peer)
{
    const struct member *member = members_find(&core->members, peer->origin);
    struct posv applied;
    uint64_t bytes;

    core_applied_posv(core, &applied);
    /* A joiner has acknowledged nothing until it has its copy. */
    if (posv_leq(&applied, &peer->durable) || member == NULL || member->state == MEMBER_JOINING)
        return;
    if (!peer->behind) {
        peer->behind = is_beyond(core, peer, &bytes);
        peer->has_floor = peer->sync_out.open;
        if (peer->behind)
            core_event(core, CORE_PEER_BEHIND, peer, bytes);
    } else if (peer->has_floor && peer->state != CORE_LINK_UP) {
        /* Its copy took it no further: the next one begins with another vector. */
        peer->has_floor = !is_beyond(core, peer, &bytes);
    }
}

void core_log_check(struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++)
        check_peer(core, core->peers[i]);
}

void core_log_acked(struct core *core, struct peer *peer)
{
    if (!peer->behind || !posv_leq(&core->history[0].at, &peer->durable))
        return;
    peer->behind = peer->has_floor = false;
    core_event(core, CORE_PEER_BACK, peer, 0);
}

static uint64_t left_ms(uint64_t max, uint64_t used, uint64_t rate_per_s)
{
    if (used >= max)
        return 0;
    return rate_per_s == 0 ? UINT64_MAX : (max - used) / rate_per_s * 1000;
}

/*
 * Age of the first own batch that the peer has not acknowledged. When it is in memory no more, then
 * at least that of the first one that is, and at least what the history says of the log.
 */
static uint64_t lag_ms(const struct core *core, const struct peer *peer, uint64_t retained_ms)
{
    const uint64_t seq = posv_get(&peer->durable, core->options.origin).seq + 1;
    uint64_t hlc;

    if (seq > core->origins[core->self].applied.seq)
        return 0;
    const uint64_t first_seq = core_tail_first(core, seq, &hlc);
    const uint64_t now_ms = core_clock_ms(core, core->now.mono_ms, core->now.wall_ms);
    const uint64_t tail_ms = first_seq == 0 || hlc_ms(hlc) > now_ms ? 0 : now_ms - hlc_ms(hlc);
    return first_seq == seq ? tail_ms : u64_max(tail_ms, retained_ms);
}

void core_log_info(const struct core *core, const struct peer *peer, struct core_peer_info *out)
{
    const struct moment *first = &core->history[0];
    const uint64_t span_ms = core->now.mono_ms - first->at_ms;
    const uint64_t rate = span_ms == 0 ? 0 : (core->log_bytes - first->bytes) * 1000 / span_ms;
    uint64_t age_ms;

    retained(core, peer, &out->retained_bytes, &age_ms);
    out->lag_ms = lag_ms(core, peer, age_ms);
    out->retained_left_ms = UINT64_MAX;
    if (core->options.retention_bytes != 0)
        out->retained_left_ms = left_ms(core->options.retention_bytes, out->retained_bytes, rate);
    if (core->options.retention_ms != 0)
        out->retained_left_ms =
            u64_min(out->retained_left_ms, left_ms(core->options.retention_ms, age_ms, 1000));
}
