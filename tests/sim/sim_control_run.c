/*
 * The run: the queue of events and the faults.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "tests/sim/sim_control.h"

#define CHAOS_MS 25000u
#define QUIET_MS 40000u

bool cs_chance(struct cs *cs, unsigned percent)
{
    return rng_below(&cs->rng, 100) < percent;
}

unsigned cs_pick(struct cs *cs, unsigned n)
{
    return (unsigned)rng_below(&cs->rng, n);
}

uint64_t cs_between(struct cs *cs, uint64_t low, uint64_t high)
{
    return low + rng_below(&cs->rng, high - low + 1);
}

void cs_fail(struct cs *cs, const char *format, ...)
{
    va_list args;

    if (cs->why[0] != '\0')
        return;
    va_start(args, format);
    (void)vsnprintf(cs->why, sizeof(cs->why), format, args);
    va_end(args);
    cs_trace(cs, "FAILED: %s", cs->why);
}

void cs_trace(const struct cs *cs, const char *format, ...)
{
    va_list args;

    if (!cs->trace)
        return;
    printf("%8" PRIu64 " ", cs->now);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
}

/* --- events --- */

static bool earlier(const struct cs_event *a, const struct cs_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void cs_at(struct cs *cs, uint64_t delay_ms, const struct cs_event *event)
{
    if (cs->heap_count == cs->heap_cap) {
        cs->heap_cap = cs->heap_cap == 0 ? 256 : cs->heap_cap * 2;
        cs->heap = mem_realloc(cs->heap, cs->heap_cap * sizeof(*cs->heap));
    }
    unsigned at = cs->heap_count++;
    struct cs_event e = *event;
    e.at = cs->now + delay_ms;
    e.order = cs->order++;
    while (at != 0 && earlier(&e, &cs->heap[(at - 1) / 2])) {
        cs->heap[at] = cs->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    cs->heap[at] = e;
}

static struct cs_event next_event(struct cs *cs)
{
    const struct cs_event first = cs->heap[0];
    const struct cs_event last = cs->heap[--cs->heap_count];
    unsigned at = 0;

    for (;;) {
        unsigned child = 2 * at + 1;

        if (child >= cs->heap_count)
            break;
        if (child + 1 < cs->heap_count && earlier(&cs->heap[child + 1], &cs->heap[child]))
            child++;
        if (!earlier(&cs->heap[child], &last))
            break;
        cs->heap[at] = cs->heap[child];
        at = child;
    }
    cs->heap[at] = last;
    return first;
}

/* --- faults --- */

static void partition(struct cs *cs)
{
    const unsigned side = 1 + cs_pick(cs, (1u << cs->nodes_count) - 1);
    const bool one_way = cs_chance(cs, 20);

    cs_trace(cs, "partition %x%s", side, one_way ? ", one way" : "");
    for (unsigned i = 0; i < cs->nodes_count; i++) {
        for (unsigned j = 0; j < cs->nodes_count; j++) {
            const bool from = (side >> i & 1) != 0;
            const bool to = (side >> j & 1) != 0;

            cs->cut[i][j] = one_way ? from && !to : from != to;
        }
    }
    cs_at(cs, cs_between(cs, 200, cs_chance(cs, 80) ? 5000 : 15000),
          &(struct cs_event){.kind = CS_HEAL});
}

static void crash(struct cs *cs, struct cs_node *node)
{
    if (!node->up)
        return;
    cs_node_crash(node);
    cs_at(cs, cs_between(cs, 20, cs->harsh ? 150 : (cs_chance(cs, 70) ? 500 : 6000)),
          &(struct cs_event){.kind = CS_RESTART, .a = node->index, .life = node->life});
}

static void happen(struct cs *cs)
{
    struct cs_node *node = &cs->nodes[cs_pick(cs, cs->nodes_count)];
    const unsigned what = cs_pick(cs, 100);

    if (what < 25)
        partition(cs);
    else if (what < 60)
        memset(cs->cut, 0, sizeof(cs->cut));
    else if (what < 97)
        crash(cs, node);
    else
        cs_node_recreate(node); /* The disk was lost. */
}

/* Nothing goes wrong any more, and what did is over. */
static void heal(struct cs *cs)
{
    cs_trace(cs, "healed");
    cs->calm = true;
    memset(cs->cut, 0, sizeof(cs->cut));
    for (unsigned i = 0; i < cs->nodes_count; i++) {
        if (!cs->nodes[i].up)
            cs_node_start(&cs->nodes[i]);
    }
}

/* --- what happens when --- */

static void on_periodic(struct cs *cs, const struct cs_event *e)
{
    struct cs_node *node = &cs->nodes[e->a];

    switch ((enum cs_event_kind)e->kind) {
    case CS_TICK:
        cs_at(cs, 40, e);
        break;
    case CS_DATA:
        cs_at(cs, cs_between(cs, 20, 200), e);
        if (node->up)
            cs_node_data(node);
        break;
    case CS_OPERATOR:
        cs_at(cs, cs_between(cs, 1, 2 * cs->operator_gap_ms), e);
        node = &cs->nodes[cs_pick(cs, cs->nodes_count)];
        if (node->up && !cs->calm)
            cs_node_operator(node);
        node = &cs->nodes[cs_pick(cs, cs->nodes_count)];
        if (node->up && !cs->calm && cs_chance(cs, 40))
            cs_node_operator(node); /* Another one at the same time. */
        break;
    case CS_FAULT:
        cs_at(cs, cs_between(cs, 1, 2 * cs->fault_gap_ms), e);
        if (!cs->calm)
            happen(cs);
        break;
    case CS_ARRIVE:
    case CS_WRITTEN:
    case CS_FROZEN:
    case CS_HEAL:
    case CS_RESTART:
    case CS_CRASH:
    default:
        UNREACHABLE();
    }
}

static void on_event(struct cs *cs, const struct cs_event *e)
{
    static const char *const addresses[CS_NODES_MAX] = {"a0:1", "a1:1", "a2:1", "a3:1",
                                                        "a4:1", "a5:1", "a6:1"};
    struct cs_node *node = &cs->nodes[e->a];

    if (node->up)
        control_tick(node->control, cs->now);
    switch ((enum cs_event_kind)e->kind) {
    case CS_ARRIVE:
        if (node->up && !cs->cut[e->b][e->a])
            control_receive(node->control, addresses[e->b], bytes_of(e->bytes, e->len));
        mem_free(e->bytes);
        break;
    case CS_WRITTEN:
        if (node->up && node->life == e->life)
            cs_node_written(node);
        break;
    case CS_FROZEN:
        if (node->up && node->life == e->life && node->told_epoch == e->detail)
            cs_node_frozen(node, (uint8_t)e->b);
        break;
    case CS_HEAL:
        memset(cs->cut, 0, sizeof(cs->cut));
        break;
    case CS_RESTART:
        if (!node->up && node->life == e->life)
            cs_node_start(node);
        break;
    case CS_CRASH:
        if (node->life == e->life && !cs->calm)
            crash(cs, node);
        break;
    case CS_TICK:
    case CS_DATA:
    case CS_FAULT:
    case CS_OPERATOR:
    default:
        on_periodic(cs, e);
        break;
    }
    for (unsigned i = 0; i < cs->nodes_count; i++)
        cs_check_node(&cs->nodes[i]);
}

static void run_until(struct cs *cs, uint64_t until)
{
    while (cs->why[0] == '\0' && cs->heap_count != 0 && cs->heap[0].at <= until) {
        const struct cs_event e = next_event(cs);

        cs->now = e.at;
        cs->totals.events++;
        on_event(cs, &e);
    }
    cs->now = u64_max(cs->now, until);
}

/* --- the run --- */

void cs_init(struct cs *cs, uint64_t seed, enum cs_fault fault, bool harsh)
{
    memset(cs, 0, sizeof(*cs));
    rng_seed(&cs->rng, seed);
    cs->fault = fault;
    cs->now = 1000;
    cs->nodes_count = harsh ? 3 + cs_pick(cs, 3) : 1 + cs_pick(cs, CS_NODES_MAX);
    cs->loss_percent = cs_chance(cs, 50) || harsh ? (harsh ? 15 : 0) + cs_pick(cs, 40) : 0;
    cs->double_percent = cs_pick(cs, 20);
    cs->delay_ms = cs_between(cs, 2, cs_chance(cs, 50) ? 20 : 300);
    cs->harsh = harsh;
    cs->fault_gap_ms = cs_between(cs, 200, 5000);
    cs->operator_gap_ms = cs_between(cs, 200, harsh ? 1500 : 5000);
    cs->ambush_percent = harsh ? 5 + cs_pick(cs, 50) : 0;
    cs->force_percent = harsh ? 0 : cs_pick(cs, 60);
    cs->leaves = cs_chance(cs, 60);
    for (unsigned i = 0; i < cs->nodes_count; i++)
        cs_node_init(cs, i);
    for (unsigned i = 0; i < cs->nodes_count; i++) {
        cs_at(cs, cs_between(cs, 0, 2000), &(struct cs_event){.kind = CS_RESTART, .a = i});
        cs_at(cs, cs_between(cs, 0, 40), &(struct cs_event){.kind = CS_TICK, .a = i});
        cs_at(cs, cs_between(cs, 0, 200), &(struct cs_event){.kind = CS_DATA, .a = i});
    }
    /* Time to come together, mostly. */
    const uint64_t calm_ms = cs_chance(cs, 80) ? 8000 : 0;
    cs_at(cs, calm_ms + cs->fault_gap_ms, &(struct cs_event){.kind = CS_FAULT});
    cs_at(cs, calm_ms + cs->operator_gap_ms, &(struct cs_event){.kind = CS_OPERATOR});
}

void cs_deinit(struct cs *cs)
{
    while (cs->heap_count != 0)
        mem_free(next_event(cs).bytes);
    mem_free(cs->heap);
    for (unsigned i = 0; i < cs->nodes_count; i++)
        cs_node_deinit(&cs->nodes[i]);
}

bool cs_run(struct cs *cs)
{
    run_until(cs, cs->now + CHAOS_MS);
    if (cs->why[0] == '\0') {
        heal(cs);
        run_until(cs, cs->now + QUIET_MS);
    }
    if (cs->why[0] == '\0')
        cs_check_end(cs);
    return cs->why[0] == '\0';
}
