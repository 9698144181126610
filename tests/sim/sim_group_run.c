/*
 * The run: the queue of events, the faults, and when it has come to its end.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "tests/sim/sim_group.h"

#define CHAOS_US  (4000 * GS_MS)
#define HEAL_US   (30000 * GS_MS)
#define QUIET_US  (8000 * GS_MS)
#define RETURN_US (12000 * GS_MS) /* After the healing, for whom the others still wait. */
/* Less than a member that starts waits for peers (timeout_ms). */
#define CLOCK_STEP_US_MAX (1500 * GS_MS)

bool gs_chance(struct gs *gs, unsigned percent)
{
    return rng_below(&gs->rng, 100) < percent;
}

unsigned gs_pick(struct gs *gs, unsigned n)
{
    return (unsigned)rng_below(&gs->rng, n);
}

uint64_t gs_between(struct gs *gs, uint64_t low, uint64_t high)
{
    return low + rng_below(&gs->rng, high - low + 1);
}

void gs_fail(struct gs *gs, const char *format, ...)
{
    va_list args;

    if (gs->why[0] != '\0')
        return;
    va_start(args, format);
    (void)vsnprintf(gs->why, sizeof(gs->why), format, args);
    va_end(args);
    gs_trace(gs, "FAILED: %s", gs->why);
}

void gs_trace(const struct gs *gs, const char *format, ...)
{
    va_list args;

    if (!gs->trace)
        return;
    printf("%10.3f ", (double)gs->now / 1000.0);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
}

/* --- events --- */

static bool earlier(const struct gs_event *a, const struct gs_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void gs_at(struct gs *gs, uint64_t delay_us, const struct gs_event *event)
{
    if (gs->heap_count == gs->heap_cap) {
        gs->heap_cap = gs->heap_cap == 0 ? 256 : gs->heap_cap * 2;
        gs->heap = mem_realloc(gs->heap, gs->heap_cap * sizeof(*gs->heap));
    }
    unsigned at = gs->heap_count++;
    struct gs_event e = *event;
    e.at = gs->now + delay_us;
    e.order = gs->order++;
    while (at != 0 && earlier(&e, &gs->heap[(at - 1) / 2])) {
        gs->heap[at] = gs->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    gs->heap[at] = e;
}

static struct gs_event next_event(struct gs *gs)
{
    const struct gs_event first = gs->heap[0];
    const struct gs_event last = gs->heap[--gs->heap_count];
    unsigned at = 0;

    for (;;) {
        unsigned child = 2 * at + 1;

        if (child >= gs->heap_count)
            break;
        if (child + 1 < gs->heap_count && earlier(&gs->heap[child + 1], &gs->heap[child]))
            child++;
        if (!earlier(&gs->heap[child], &last))
            break;
        gs->heap[at] = gs->heap[child];
        at = child;
    }
    gs->heap[at] = last;
    return first;
}

/* --- faults --- */

static void block_pair(struct gs *gs, unsigned pair, unsigned sides)
{
    for (unsigned side = 0; side < 2; side++) {
        if ((sides & 1u << side) == 0 || gs->pairs[pair].way[side].blocked)
            continue;
        gs_net_block(gs, pair, side, true);
        gs_at(gs, gs_between(gs, 50 * GS_MS, 2500 * GS_MS),
              &(struct gs_event){.kind = GS_HEAL, .a = pair, .b = side});
    }
}

static void isolate(struct gs *gs, unsigned member)
{
    gs_trace(gs, "member %u is cut off", member);
    for (unsigned i = 0; i < gs->pairs_count; i++) {
        if (gs->pairs[i].member[0] == member || gs->pairs[i].member[1] == member)
            block_pair(gs, i, 3);
    }
}

/* For longer than the others keep their logs, and it keeps its own. */
static void outage(struct gs *gs, unsigned member)
{
    gs_trace(gs, "member %u is away for long", member);
    for (unsigned i = 0; i < gs->pairs_count; i++) {
        if (gs->pairs[i].member[0] != member && gs->pairs[i].member[1] != member)
            continue;
        for (unsigned side = 0; side < 2; side++) {
            gs_net_block(gs, i, side, true);
            gs_at(gs, gs_between(gs, 1200 * GS_MS, 3500 * GS_MS),
                  &(struct gs_event){.kind = GS_HEAL, .a = i, .b = side});
        }
    }
}

static void crash(struct gs *gs, struct gs_member *m)
{
    gs_member_crash(gs, m);
    gs_at(gs, gs_between(gs, 1 * GS_MS, 800 * GS_MS),
          &(struct gs_event){.kind = GS_RESTART, .a = m->index, .life = m->life});
}

static void pause(struct gs *gs, struct gs_member *m)
{
    gs_trace(gs, "member %u is paused", m->index);
    m->paused = true;
    gs_at(gs, gs_between(gs, 20 * GS_MS, 1500 * GS_MS),
          &(struct gs_event){.kind = GS_RESUME, .a = m->index});
}

/*
 * The wall clock of one member is an hour off for a moment. In one run always the same one's: what
 * another was told of it may be a step old, and two that agree may be wrong together.
 */
static void step_clock(struct gs *gs)
{
    struct gs_member *m = &gs->members[gs->stepper];

    /* A start that nobody comes to, and one without a lease, has to believe its clock. */
    if (m->step_ms != 0 || m->lease == 0 || (m->up && !core_clock_known(m->core)))
        return;
    m->step_ms = gs_chance(gs, 50) ? GS_HOUR_MS : -GS_HOUR_MS;
    gs->totals.steps++;
    gs_trace(gs, "member %u: its clock is an hour %s", m->index, m->step_ms > 0 ? "ahead" : "back");
    gs_at(gs, gs_between(gs, 1, CLOCK_STEP_US_MAX),
          &(struct gs_event){.kind = GS_CLOCK_RIGHT, .a = m->index});
}

static void happen(struct gs *gs)
{
    struct gs_member *m = &gs->members[gs_pick(gs, gs->members_count)];
    const unsigned pair = gs_pick(gs, gs->pairs_count);
    const unsigned what = gs_pick(gs, 100);

    if (what < 20) {
        gs_net_cut(gs, pair);
    } else if (what < 35) {
        block_pair(gs, pair, 1 + gs_pick(gs, 3));
    } else if (what < 42) {
        isolate(gs, m->index);
    } else if (what < 52) {
        if (m->up && !m->paused)
            pause(gs, m);
    } else if (what < 72) {
        if (m->up && gs->crashes)
            crash(gs, m);
    } else if (what < 75) {
        step_clock(gs);
    } else if (what < 80) {
        m->skew_ms += (int64_t)gs_pick(gs, 160) - 80;
    } else if (what < 88) {
        m->stall_until = gs->now + gs_between(gs, 20 * GS_MS, 700 * GS_MS);
    } else if (what < 96) {
        m->refuses = !m->refuses;
    } else {
        gs->pairs[pair].delay_us = gs_between(gs, 100, 120 * GS_MS);
    }
}

/* Nothing goes wrong any more, and what did is over. */
static void heal(struct gs *gs)
{
    gs->calm = true;
    for (unsigned i = 0; i < gs->pairs_count; i++) {
        gs_net_block(gs, i, 0, false);
        gs_net_block(gs, i, 1, false);
    }
    for (unsigned i = 0; i < gs->members_count; i++) {
        struct gs_member *m = &gs->members[i];

        m->refuses = false;
        m->stall_until = 0;
        if (!m->up && gs_counts(gs, i))
            gs_member_start(gs, m);
        if (m->paused) {
            m->paused = false;
            gs_net_member_resumed(gs, i);
        }
    }
}

/* A survivor has rows of the one to be unlinked, and waits for what else they may hold. */
static bool is_waited_for(const struct gs *gs)
{
    const uint8_t origin = GS_ORIGIN(gs->unlinked);
    struct posv at;

    for (unsigned i = 0; i < gs->members_count; i++) {
        const struct gs_member *m = &gs->members[i];

        if (i == gs->unlinked || !m->frozen || m->answered)
            continue;
        core_position(m->core, &at);
        if (posv_get(&m->newest, origin).seq > posv_get(&at, origin).seq)
            return true;
    }
    return false;
}

/* Whoever is to be unlinked may stay away, but not if the unlinking has not ended without it. */
static void bring_back(struct gs *gs)
{
    if (gs->unlinked == gs->members_count || gs->members[gs->unlinked].up || gs->sealed ||
        !is_waited_for(gs))
        return;
    gs_trace(gs, "member %u is brought back", gs->unlinked);
    gs->totals.brought_back++;
    gs_member_start(gs, &gs->members[gs->unlinked]);
}

/* --- what happens when --- */

/* The disk has done something. */
static void on_disk_event(struct gs *gs, struct gs_member *m, const struct gs_event *e)
{
    if (!m->up || m->life != e->life)
        return;
    if (m->paused)
        gs_at(gs, 10 * GS_MS, e);
    else if (e->kind == GS_SYNC_DONE)
        gs_member_sync_done(gs, m);
    else if (e->kind == GS_FETCH)
        gs_member_fetch(gs, m, &e->fetch);
    else
        gs_copy_event(gs, m, e);
}

static void restart(struct gs *gs, struct gs_member *m, const struct gs_event *e)
{
    if (m->up || m->life != e->life || (!gs_counts(gs, m->index) && !gs_chance(gs, 50)))
        return;
    gs_trace(gs, "member %u restarts", m->index);
    gs_member_start(gs, m);
}

static void on_member_event(struct gs *gs, const struct gs_event *e)
{
    struct gs_member *m = &gs->members[e->a];

    switch ((enum gs_event_kind)e->kind) {
    case GS_TICK:
        gs_at(gs, 4 * GS_MS, e);
        if (m->up && !m->paused)
            gs_member_tick(gs, m);
        break;
    case GS_OP:
        gs_at(gs, gs_between(gs, 1, 2 * gs->op_gap_us), e);
        if (m->up && !m->paused && !gs->calm && !m->refuses &&
            (!gs->leaving || m->index != gs->unlinked)) {
            gs_member_tick(gs, m);
            gs_local_change(gs, m);
        }
        break;
    case GS_SYNC_DONE:
    case GS_FETCH:
    case GS_SYNC_OPEN:
    case GS_SYNC_READ:
    case GS_SYNC_SUM:
    case GS_SYNC_PUT:
    case GS_SYNC_FINISH:
        on_disk_event(gs, m, e);
        break;
    case GS_JOIN:
        gs_trace(gs, "member %u joins", m->index);
        m->epoch = 2;
        m->lacks = true;
        gs_member_start(gs, m);
        break;
    case GS_FLUSH:
        gs_at(gs, gs_between(gs, 20 * GS_MS, 400 * GS_MS), e);
        if (m->up && !m->paused)
            gs_member_flush(gs, m, gs->calm);
        break;
    case GS_COLLECT:
        gs_at(gs, gs_between(gs, 20 * GS_MS, 300 * GS_MS), e);
        if (m->up && !m->paused && gs->collect)
            gs_member_collect(gs, m);
        break;
    case GS_RESUME:
        if (m->up && m->paused) {
            m->paused = false;
            gs_net_member_resumed(gs, m->index);
        }
        break;
    case GS_CLOCK_RIGHT:
        gs_trace(gs, "member %u: its clock is right again", m->index);
        m->step_ms = 0;
        break;
    case GS_RESTART:
        restart(gs, m, e);
        break;
    case GS_SYNC_START:
        gs_member_sync_start(gs, m);
        break;
    case GS_ARRIVE:
    case GS_DIAL:
    case GS_LINK_DOWN:
    case GS_FAULT:
    case GS_HEAL:
    case GS_CONTROL:
    case GS_EMPTY:
    case GS_OUTAGE:
    default:
        UNREACHABLE();
    }
}

static void on_event(struct gs *gs, const struct gs_event *e)
{
    switch ((enum gs_event_kind)e->kind) {
    case GS_ARRIVE:
        gs_net_arrive(gs, e->a, e->b, e->life);
        break;
    case GS_DIAL:
        gs_net_dial(gs, e->a);
        break;
    case GS_LINK_DOWN:
        gs_net_link_down(gs, e->a, e->b, e->life);
        break;
    case GS_HEAL:
        gs_net_block(gs, e->a, e->b, false);
        break;
    case GS_OUTAGE:
        outage(gs, e->a);
        break;
    case GS_EMPTY:
        if (!gs->calm && gs->members[e->a].up && !gs->members[e->a].paused && gs_counts(gs, e->a))
            core_flush(gs->members[e->a].core, gs->members[e->a].flush + 1);
        break;
    case GS_CONTROL:
        gs_at(gs, gs_between(gs, 10 * GS_MS, 60 * GS_MS), e);
        gs_control(gs);
        break;
    case GS_FAULT:
        gs_at(gs, gs_between(gs, 1, 2 * gs->fault_gap_us), e);
        if (!gs->calm && gs->faults)
            happen(gs);
        break;
    case GS_TICK:
    case GS_OP:
    case GS_SYNC_START:
    case GS_SYNC_DONE:
    case GS_FETCH:
    case GS_FLUSH:
    case GS_COLLECT:
    case GS_CLOCK_RIGHT:
    case GS_RESUME:
    case GS_RESTART:
    case GS_JOIN:
    case GS_SYNC_OPEN:
    case GS_SYNC_READ:
    case GS_SYNC_SUM:
    case GS_SYNC_PUT:
    case GS_SYNC_FINISH:
    default:
        on_member_event(gs, e);
        break;
    }
}

static void run_until(struct gs *gs, uint64_t until)
{
    while (gs->why[0] == '\0' && gs->heap_count != 0 && gs->heap[0].at <= until) {
        const struct gs_event e = next_event(gs);

        CHECK(e.at >= gs->now);
        gs->now = e.at;
        gs->totals.events++;
        on_event(gs, &e);
        gs_check_bounds(gs);
    }
    gs->now = u64_max(gs->now, until);
}

/* How often the group was emptied. */
static uint32_t flush_of(const struct gs *gs)
{
    uint32_t flush = gs->left_flush;

    for (unsigned i = 0; i < gs->members_count; i++)
        flush = u32_max(flush, gs_counts(gs, i) ? gs->members[i].flush : 0);
    return flush;
}

/* The history without what was lost or flushed; the oracle reads it. */
static void drop_lost(struct gs *gs)
{
    unsigned place[SIM_BATCHES_MAX + 1] = {0};
    unsigned kept = 0;
    const uint32_t flush = flush_of(gs);

    for (unsigned i = 0; i < gs->history.batches_count; i++) {
        if (gs->lost[i] || gs->flush[i] < flush) {
            buf_deinit(&gs->history.batches[i].bytes);
            continue;
        }
        if (kept != i) {
            gs->history.batches[kept] = gs->history.batches[i];
            gs->list_batches[kept] = gs->list_batches[i];
            gs->bits_batches[kept] = gs->bits_batches[i];
        }
        /* What points into the change itself moved along. */
        for (unsigned j = 0; j < gs->history.batches[kept].changes_count; j++) {
            struct sim_change *change = &gs->history.batches[kept].changes[j];

            change->op.key = bytes_cstr(change->key);
            change->op.sub = bytes_cstr(change->sub);
            change->op.value = bytes_of(change->value, change->value_len);
        }
        place[i] = kept + 1;
        gs->flush[kept] = gs->flush[i];
        gs->lost[kept++] = false;
    }
    gs->history.batches_count = kept;
    /* Whoever was unlinked may still be behind. */
    for (unsigned i = 0; i < gs->members_count; i++) {
        for (unsigned seq = 1; seq <= SIM_BATCHES_MAX; seq++) {
            if (gs->made[i][seq] != 0)
                gs->made[i][seq] = place[gs->made[i][seq] - 1];
        }
    }
}

static bool has_all(const struct gs *gs, const struct gs_member *m)
{
    for (unsigned i = 0; i < gs->history.batches_count; i++) {
        if (!gs->lost[i] && !vv_covers(core_applied_vv(m->core), gs->history.batches[i].tag))
            return false;
    }
    /* Rows that hold more than a seal are still to be exchanged. */
    return m->durable_lsn + 1 == m->next_lsn && core_may_write(m->core) != CORE_WRITE_JOINING;
}

static void trace_lacking(const struct gs *gs, const struct gs_member *m)
{
    for (unsigned i = 0; m->up && i < gs->history.batches_count; i++) {
        const struct tag tag = gs->history.batches[i].tag;

        if (!gs->lost[i] && !vv_covers(core_applied_vv(m->core), tag))
            gs_trace(gs, "member %u lacks batch %u of member %u", m->index, i,
                     GS_INDEX(tag.origin));
    }
}

static bool all_have_all(const struct gs *gs)
{
    for (unsigned i = 0; i < gs->members_count; i++) {
        if (gs_counts(gs, i) && !has_all(gs, &gs->members[i]))
            return false;
        if (gs_counts(gs, i) && gs->members[i].flush != flush_of(gs))
            return false;
    }
    if (gs->joiner != gs->members_count && gs->members[0].epoch != 3)
        return false;
    return gs->unlinked == gs->members_count || gs->sealed;
}

/* --- the run --- */

/* Who comes, who goes. */
static void pick_members(struct gs *gs, unsigned shape)
{
    const bool harsh = (shape & GS_HARSH) != 0;

    gs->members_count = 2 + gs_pick(gs, GS_MEMBERS_MAX - 1);
    gs->joiner = gs->members_count;
    gs->unlinked = gs->members_count;
    gs->leaves = (shape & GS_LEAVES) != 0;
    if (gs->leaves) {
        gs->unlinked = gs_pick(gs, gs->members_count);
        gs->unlink_at = gs->now + gs_between(gs, 500 * GS_MS, CHAOS_US);
    }
    if (gs->members_count < 3 || gs->leaves)
        return;
    if ((shape & GS_JOINS) != 0 || (!harsh && gs_chance(gs, 30))) {
        gs->joiner--;
        gs->join_at = gs->now + gs_between(gs, 1000 * GS_MS, 3500 * GS_MS);
    } else if ((shape & GS_UNLINKS) != 0 || (!harsh && gs_chance(gs, 50))) {
        gs->unlinked = gs_pick(gs, gs->members_count);
        gs->unlink_at = gs->now + gs_between(gs, 500 * GS_MS, CHAOS_US);
    }
}

/* One or two members are away for long, perhaps at the same time. */
static void plan_outages(struct gs *gs)
{
    const uint64_t at = gs_between(gs, 50 * GS_MS, 1500 * GS_MS);

    gs->lags = true;
    gs_at(gs, at, &(struct gs_event){.kind = GS_OUTAGE, .a = gs_pick(gs, gs->members_count)});
    if (gs_chance(gs, 40))
        gs_at(gs, at + gs_between(gs, 0, 1500 * GS_MS),
              &(struct gs_event){.kind = GS_OUTAGE, .a = gs_pick(gs, gs->members_count)});
}

/* One or two members empty the group, perhaps at the same time. */
static void plan_flushes(struct gs *gs)
{
    const uint64_t at = gs_between(gs, 200 * GS_MS, CHAOS_US);

    gs_at(gs, at, &(struct gs_event){.kind = GS_EMPTY, .a = gs_pick(gs, gs->members_count)});
    gs_at(gs, at + gs_between(gs, 0, 100 * GS_MS),
          &(struct gs_event){.kind = GS_EMPTY, .a = gs_pick(gs, gs->members_count)});
}

/* Not drawn, where it was not always so: seeds that were told of before mean what they meant. */
static void pick_keys(struct gs *gs, uint64_t seed, unsigned shape)
{
    const bool bits = (shape & GS_STRINGS) != 0;

    gs->hlls = seed % 9 == 0 && !bits;
    gs->retypes = seed % 9 == 8 && !bits;
    gs->many = seed % 9 == 0 || seed % 9 == 3 || gs->retypes;
    gs->lists_count = gs->retypes ? GS_LISTS_MAX : seed % 9 == 5 && !bits;
    gs->positions_max = gs->retypes ? GS_POSITIONS_MAX : GS_POSITIONS_ALONE;
    /* Seeds that have no lists. */
    gs->bits = bits || seed % 18 == 10 || seed % 18 == 15;
    gs->lives = gs->bits && gs_chance(gs, 50);
    gs->former = gs->bits && seed % 5 == 1;
    gs->rows_count = SIM_ROWS + (gs->bits ? GS_BITS_ROWS : 0);
    if (gs->lists_count != 0)
        gs->rows_count = gs->retypes ? GS_ROWS_MAX : SIM_ROWS + 1 + GS_POSITIONS_ALONE;
    gs->history.types[0] = seed % 9 == 3 || seed % 18 == 17 ? VT_ZSET : VT_HASH;
    gs->history.types[1] = VT_SET;
}

void gs_init(struct gs *gs, uint64_t seed, enum gs_fault fault, unsigned shape)
{
    const bool harsh = (shape & GS_HARSH) != 0;

    memset(gs, 0, sizeof(*gs));
    rng_seed(&gs->rng, seed);
    gs->fault = fault;
    gs->now = 1000000 * GS_MS;
    pick_members(gs, shape);
    gs->faults = harsh || gs_chance(gs, 85);
    gs->crashes = !harsh || (shape & GS_CRASHES) != 0;
    gs->stepper = gs_pick(gs, gs->members_count);
    pick_keys(gs, seed, shape);
    gs->expiry = (shape & GS_EXPIRES) != 0 || gs_chance(gs, 60);
    gs->collect = harsh || gs_chance(gs, 80);
    gs->op_gap_us = gs_between(gs, 10 * GS_MS, (harsh ? 40 : 150) * GS_MS);
    gs->fault_gap_us = gs_between(gs, 30 * GS_MS, 500 * GS_MS);
    if ((shape & GS_LAGS) != 0 || (!harsh && gs_chance(gs, 25)))
        plan_outages(gs);
    for (unsigned i = 0; i < gs->members_count; i++)
        gs_member_init(gs, i);
    if (gs->joiner != gs->members_count)
        gs_at(gs, gs->join_at - gs->now, &(struct gs_event){.kind = GS_JOIN, .a = gs->joiner});
    gs_net_init(gs);
    for (unsigned i = 0; i < gs->members_count; i++) {
        static const uint8_t kinds[] = {GS_TICK, GS_OP, GS_SYNC_START, GS_FLUSH, GS_COLLECT};

        for (unsigned j = 0; j < ARRAY_COUNT(kinds); j++)
            gs_at(gs, gs_between(gs, 0, 20 * GS_MS), &(struct gs_event){.kind = kinds[j], .a = i});
    }
    if ((shape & GS_FLUSHES) != 0 || (!harsh && gs_chance(gs, 25)))
        plan_flushes(gs);
    gs_at(gs, 0, &(struct gs_event){.kind = GS_CONTROL});
    gs_at(gs, gs->fault_gap_us, &(struct gs_event){.kind = GS_FAULT});
}

void gs_deinit(struct gs *gs)
{
    for (unsigned i = 0; i < gs->members_count; i++)
        gs_member_deinit(&gs->members[i]);
    gs_net_deinit(gs);
    for (unsigned i = 0; i < gs->history.batches_count; i++)
        buf_deinit(&gs->history.batches[i].bytes);
    mem_free(gs->heap);
}

static void count_outcome(struct gs *gs)
{
    gs->totals.unlinks += gs->sealed;
    gs->totals.joins += gs->joiner != gs->members_count && gs->members[gs->joiner].epoch == 3;
    gs->totals.flushes += flush_of(gs);
    for (unsigned i = 0; i < gs->members_count; i++) {
        for (unsigned j = 0; j < gs->members_count; j++) {
            struct core_peer_info info;

            if (i != j && gs->members[i].up &&
                core_peer_info(gs->members[i].core, GS_ORIGIN(j), &info))
                gs->totals.relayed += info.relayed_in;
        }
    }
}

bool gs_run(struct gs *gs)
{
    run_until(gs, gs->now + CHAOS_US);
    if (gs->why[0] != '\0')
        return false;
    gs_trace(gs, "healed");
    heal(gs);
    const uint64_t limit = gs->now + HEAL_US;
    while (gs->why[0] == '\0' && gs->now < limit && !all_have_all(gs)) {
        run_until(gs, gs->now + 20 * GS_MS);
        if (limit - gs->now < HEAL_US - RETURN_US)
            bring_back(gs);
    }
    for (unsigned i = 0; gs->trace && i < gs->members_count; i++)
        trace_lacking(gs, &gs->members[i]);
    if (gs->why[0] == '\0' && !all_have_all(gs))
        gs_fail(gs, "not everybody has everything");
    drop_lost(gs);
    if (gs->why[0] == '\0')
        gs_check_agreed(gs);
    gs->collect = true;
    run_until(gs, gs->now + QUIET_US);
    if (gs->why[0] == '\0')
        gs_check_agreed(gs);
    if (gs->why[0] == '\0' && (gs->fault == GS_SOUND || gs->fault == GS_PART_BESIDE))
        gs_check_collected(gs);
    count_outcome(gs);
    return gs->why[0] == '\0';
}
