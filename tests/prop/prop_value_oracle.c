/*
 * The oracle: what a key shows, from the list of all changes and their contexts, by definition
 * (operation history as a partial order). It shares no code with the rows.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/num.h"

#include "tests/prop/prop_value_sim.h"

/* One change within the history. */
struct event {
    const struct sim_batch *batch;
    const struct sim_change *change;
};

struct history {
    unsigned count;
    struct event events[SIM_BATCHES_MAX * SIM_CHANGES_MAX];
};

static void history_of(const struct sim *sim, unsigned key, struct history *out)
{
    out->count = 0;
    for (unsigned i = 0; i < sim->batches_count; i++) {
        const struct sim_batch *batch = &sim->batches[i];

        for (unsigned j = 0; j < batch->changes_count; j++) {
            if (batch->changes[j].key_index == key)
                out->events[out->count++] = (struct event){batch, &batch->changes[j]};
        }
    }
}

/* Whether `later` had been applied on top of `earlier`. */
static bool saw(const struct event *later, struct tag earlier)
{
    return vv_covers(&later->batch->ctx, earlier);
}

static bool removes_all(const struct event *e)
{
    return e->change->op.kind == OP_DEL || (e->change->op.flags & OP_COVER) != 0;
}

static bool is_elem(const struct event *e)
{
    return e->change->op.kind == OP_ELEM_SET || e->change->op.kind == OP_ELEM_INCR;
}

/* A value; STRING changes a part of one in chunks, or is a new one. */
static bool is_value(const struct event *e)
{
    return e->change->op.kind == OP_SET || e->change->op.kind == OP_STRING;
}

/* The key as it was at `tag` has been replaced or removed. */
static bool key_gone(const struct history *h, struct tag tag)
{
    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];

        if ((is_value(e) || removes_all(e)) && saw(e, tag))
            return true;
    }
    return false;
}

/* The string in chunks that began with this tag has been replaced or removed as a whole. */
static bool cleared(const struct history *h, struct tag generation)
{
    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];
        const bool part =
            e->change->op.kind == OP_STRING && !tag_eq(e->change->op.generation, e->batch->tag);

        if (((is_value(e) && !part) || removes_all(e)) && saw(e, generation))
            return true;
    }
    return false;
}

/* What the value is a part of is gone. */
static bool part_gone(const struct history *h, const struct event *what)
{
    return what->change->op.kind == OP_STRING && cleared(h, what->change->op.generation);
}

static bool deleted(const struct history *h, struct tag tag)
{
    for (unsigned i = 0; i < h->count; i++) {
        if (removes_all(&h->events[i]) && saw(&h->events[i], tag))
            return true;
    }
    return false;
}

/* An EXPIRE or PERSIST of the group: of collections one type, of others one target. */
static bool is_expiry_of(const struct event *e, uint8_t type, struct tag target)
{
    const struct op *op = &e->change->op;
    const bool one = type == VT_STRING || type == VT_CHUNKED;

    return op->kind == OP_EXPIRE && op->target_type == type && (!one || tag_eq(op->target, target));
}

/* A value that came with a time of the group: its own, or that of its generation. */
static bool is_timed(const struct event *e, uint8_t type, struct tag target)
{
    const struct op *op = &e->change->op;

    if (!is_value(e) || op->expire_at_ms == 0)
        return false;
    if ((op->flags & OP_SHARED_TIME) == 0)
        return type == VT_STRING && tag_eq(e->batch->tag, target);
    return type == VT_CHUNKED && tag_eq(op->generation, target);
}

/* The longest setting of the group, among those that no later one of the group has seen. */
static uint64_t expiry_of(const struct history *h, uint8_t type, struct tag target)
{
    uint64_t at_ms = 0;

    if (type == VT_CHUNKED && cleared(h, target))
        return 0;
    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];
        const struct op *op = &e->change->op;
        bool seen = false;

        if (is_expiry_of(e, type, target) ? type != VT_CHUNKED && key_gone(h, op->target)
                                          : !is_timed(e, type, target))
            continue;
        for (unsigned j = 0; j < h->count && !seen; j++)
            seen = is_expiry_of(&h->events[j], type, target) && saw(&h->events[j], e->batch->tag);
        if (seen)
            continue;
        const uint64_t at = op->expire_at_ms == 0 ? UINT64_MAX : op->expire_at_ms;
        at_ms = at > at_ms ? at : at_ms;
    }
    return at_ms == UINT64_MAX ? 0 : at_ms;
}

/* Of a string in chunks, the time of the generation, unless the value has one for itself. */
static uint64_t string_expiry(const struct history *h, struct tag target)
{
    const uint64_t at_ms = expiry_of(h, VT_STRING, target);

    for (unsigned i = 0; at_ms == 0 && i < h->count; i++) {
        const struct event *e = &h->events[i];

        if (e->change->op.kind == OP_STRING && tag_eq(e->batch->tag, target))
            return expiry_of(h, VT_CHUNKED, e->change->op.generation);
    }
    return at_ms;
}

/* Sets that are alive, and the one of them with the greatest tag. */
struct alive {
    const struct event *base; /* NULL: there are none. */
    unsigned count;
    const struct event *sets[SIM_BATCHES_MAX];
};

static void alive_add(struct alive *alive, const struct event *e)
{
    alive->sets[alive->count++] = e;
    if (alive->base == NULL || tag_cmp(e->batch->tag, alive->base->batch->tag) > 0)
        alive->base = e;
}

static bool is_hll(const struct event *e)
{
    static const uint8_t none[SIM_REGISTERS] = {0};

    return memcmp(e->change->registers, none, sizeof(none)) != 0;
}

/* The base; if that is a HyperLogLog, with those that are later than all that are none. */
static void base_text(const struct alive *alive, char text[SIM_TEXT_BYTES])
{
    uint8_t most[SIM_REGISTERS] = {0};
    struct tag other = tag_of(0, 0);

    if (!is_hll(alive->base)) {
        snprintf(text, SIM_TEXT_BYTES, "%s", alive->base->change->text);
        return;
    }
    for (unsigned i = 0; i < alive->count; i++) {
        if (!is_hll(alive->sets[i]))
            other = tag_max(other, alive->sets[i]->batch->tag);
    }
    for (unsigned i = 0; i < alive->count; i++) {
        const uint8_t *registers = alive->sets[i]->change->registers;

        for (unsigned r = 0; r < SIM_REGISTERS; r++) {
            if (tag_cmp(alive->sets[i]->batch->tag, other) > 0 && registers[r] > most[r])
                most[r] = registers[r];
        }
    }
    snprintf(text, SIM_TEXT_BYTES, "hll %u %u %u", most[0], most[1], most[2]);
}

/* A counter on what is alive: its text, and the greatest tag of an increment that counts. */
static struct tag count_text(const struct alive *alive, const struct event *const *incs,
                             unsigned incs_count, char text[SIM_TEXT_BYTES])
{
    struct tag live = tag_of(0, 0);
    long double sum = 0.0L;
    long double number = 0.0L;
    bool numeric = true;

    for (unsigned i = 0; i < incs_count; i++) {
        sum += incs[i]->change->delta;
        live = tag_max(live, incs[i]->batch->tag);
    }
    text[0] = '\0';
    if (alive->base != NULL) {
        numeric = num_parse_ldouble(bytes_cstr(alive->base->change->text), &number);
        base_text(alive, text);
    }
    if (numeric && !tag_is_none(live)) {
        char printed[NUM_LDOUBLE_BYTES];

        num_print_ldouble(printed, number + sum);
        snprintf(text, SIM_TEXT_BYTES, "%.39s", printed);
    }
    return live;
}

static void show_string(const struct history *h, struct sim_shown *out, struct tag *out_tag,
                        uint8_t *out_target_type, struct tag *out_target)
{
    struct alive alive = {.base = NULL};
    const struct event *base;
    const struct event *incs[SIM_BATCHES_MAX] = {NULL};
    unsigned incs_count = 0;
    struct tag live;

    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];

        if (is_value(e) && !key_gone(h, e->batch->tag) && !part_gone(h, e))
            alive_add(&alive, e);
    }
    base = alive.base;
    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];

        if (e->change->op.kind == OP_INCR && !deleted(h, e->batch->tag) &&
            (base == NULL || !saw(base, e->batch->tag)))
            incs[incs_count++] = e;
    }
    live = count_text(&alive, incs, incs_count, out->text);
    *out_tag = base == NULL ? live : tag_max(live, base->batch->tag);
    *out_target_type = base == NULL ? VT_NONE : VT_STRING;
    *out_target = base == NULL ? live : base->batch->tag;
    out->type = tag_is_none(*out_tag) ? VT_NONE : VT_STRING;
}

static bool same_elem(const struct event *e, unsigned type, unsigned sub)
{
    return (is_elem(e) || e->change->op.kind == OP_ELEM_DEL) && e->change->type_index == type &&
           e->change->sub_index == sub;
}

/* Removed or replaced as an element, or with its key. */
static bool elem_gone(const struct history *h, unsigned type, unsigned sub, struct tag tag,
                      bool by_set_too)
{
    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];

        if (!same_elem(e, type, sub) || !saw(e, tag))
            continue;
        if (e->change->op.kind == OP_ELEM_DEL || (by_set_too && e->change->op.kind == OP_ELEM_SET))
            return true;
    }
    return key_gone(h, tag);
}

static void show_elem(const struct history *h, unsigned type, unsigned sub, struct sim_shown *out)
{
    struct alive alive = {.base = NULL};
    const struct event *base;
    const struct event *incs[SIM_BATCHES_MAX] = {NULL};
    unsigned incs_count = 0;

    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];

        if (e->change->op.kind == OP_ELEM_SET && same_elem(e, type, sub) &&
            !elem_gone(h, type, sub, e->batch->tag, true))
            alive_add(&alive, e);
    }
    base = alive.base;
    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];

        if (e->change->op.kind == OP_ELEM_INCR && same_elem(e, type, sub) &&
            !elem_gone(h, type, sub, e->batch->tag, false) &&
            (base == NULL || !saw(base, e->batch->tag)))
            incs[incs_count++] = e;
    }
    const struct tag live = count_text(&alive, incs, incs_count, out->elem_text[type][sub]);
    out->elem_present[type][sub] = base != NULL || !tag_is_none(live);
}

void oracle_show(const struct sim *sim, unsigned key, uint64_t now_ms, struct sim_shown *out)
{
    static struct history h;
    struct tag tag;
    struct tag target;
    uint8_t target_type;

    memset(out, 0, sizeof(*out));
    history_of(sim, key, &h);
    show_string(&h, out, &tag, &target_type, &target);
    for (unsigned i = 0; i < h.count; i++) {
        const struct event *e = &h.events[i];

        if (!is_elem(e) || key_gone(&h, e->batch->tag) || tag_cmp(e->batch->tag, tag) <= 0)
            continue;
        tag = e->batch->tag;
        out->type = e->change->op.type;
        target_type = out->type;
        target = tag;
    }
    if (out->type != VT_NONE)
        out->expire_at_ms = target_type == VT_STRING ? string_expiry(&h, target)
                                                     : expiry_of(&h, target_type, target);
    out->present = out->type != VT_NONE && (out->expire_at_ms == 0 || out->expire_at_ms > now_ms);
    for (unsigned type = 0; out->present && type < SIM_TYPES; type++) {
        for (unsigned sub = 0; sim->types[type] == out->type && sub < SIM_SUBS; sub++)
            show_elem(&h, type, sub, out);
    }
}

bool sim_shown_equal(const struct sim_shown *a, const struct sim_shown *b)
{
    if (a->present != b->present)
        return false;
    if (!a->present)
        return true;
    if (a->type != b->type || a->expire_at_ms != b->expire_at_ms)
        return false;
    if (a->type == VT_STRING)
        return strcmp(a->text, b->text) == 0;
    for (unsigned t = 0; t < SIM_TYPES; t++) {
        for (unsigned s = 0; s < SIM_SUBS; s++) {
            if (a->elem_present[t][s] != b->elem_present[t][s] ||
                (a->elem_present[t][s] && strcmp(a->elem_text[t][s], b->elem_text[t][s]) != 0))
                return false;
        }
    }
    return true;
}

void sim_shown_print(const char *name, const struct sim_shown *shown)
{
    printf("%-8s present=%d type=%u at=%llu text=\"%s\"", name, shown->present, shown->type,
           (unsigned long long)shown->expire_at_ms, shown->text);
    for (unsigned t = 0; t < SIM_TYPES; t++) {
        for (unsigned s = 0; s < SIM_SUBS; s++)
            printf(" %s", shown->elem_present[t][s] ? shown->elem_text[t][s] : "-");
    }
    printf("\n");
}
