/*
 * A key that is a list: its changes, what of it a client sees, and what the history says.
 *
 * The members make positions as a shard does (engine/value/listpos.h), from what their key row
 * remembers. The simulator numbers them: the element at the n-th position is the n-th row behind
 * the key row, at every member, so that all that happens to rows happens to these, too. Of a
 * position it is checked where it is made that nobody has it, and that it lies behind, before or
 * between the elements that it should, as far as they are seen there; since the order of positions
 * is one of bytes, it lies so everywhere. Values are never written twice: what is shown twice would
 * be one element too many.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/num.h"

#include "tests/sim/sim_group.h"

#define VALUE_BYTES 12

/* A change that is being made. */
struct edit {
    struct gs *gs;
    struct gs_member *m;
    struct tag tag;
    struct gs_list_batch *batch;
    struct gs_list_shown shown; /* With what the change has pushed by now. */
    struct list_meta meta;      /* What the list remembers of positions, */
    struct list_meta older;     /* and the key row, where a list is made from nothing. */
    uint8_t flags;              /* Of its pushes. */
};

static struct bytes position_bytes(const struct gs *gs, unsigned position)
{
    return listpos_bytes(&gs->positions[position].at);
}

unsigned gs_list_find(const struct gs *gs, struct bytes position)
{
    for (unsigned i = 0; i < gs->positions_count; i++) {
        if (bytes_eq(position_bytes(gs, i), position))
            return i;
    }
    return GS_POSITIONS_MAX;
}

/* --- showing --- */

static void shown_add(const struct gs *gs, struct gs_list_shown *shown, unsigned position,
                      unsigned value)
{
    const struct bytes here = position_bytes(gs, position);
    unsigned at = shown->count++;

    CHECK(at < GS_POSITIONS_MAX);
    for (; at != 0; at--) {
        if (bytes_cmp(position_bytes(gs, shown->elems[at - 1].position), here) < 0)
            break;
        shown->elems[at] = shown->elems[at - 1];
    }
    shown->elems[at].position = position;
    shown->elems[at].value = value;
}

static unsigned value_of(const struct row_view *view)
{
    char tmp[ROW_TEXT_BYTES];
    struct bytes text = row_text(view, tmp);
    uint64_t number = 0;

    CHECK(text.len > 1 && text.ptr[0] == 'e' && num_parse_u64(bytes_from(text, 1), &number));
    return (unsigned)number;
}

static void show(const struct gs *gs, struct gs_member *m, const struct row_view *key,
                 struct gs_list_shown *out)
{
    struct row_view view;

    memset(out, 0, sizeof(*out));
    out->present = key->present;
    out->expire_at_ms = key->expire_at_ms;
    for (unsigned i = 0; key->present && i < gs->positions_count; i++) {
        CHECK(row_view(gs_list_row(m, i), 0, &view) == 0);
        if (view.present)
            shown_add(gs, out, i, value_of(&view));
    }
}

void gs_list_show(const struct gs *gs, struct gs_member *m, uint64_t now_ms,
                  struct gs_list_shown *out)
{
    struct row_view key;

    CHECK(row_view(gs_key_row(m, GS_LIST_KEY), now_ms, &key) == 0);
    show(gs, m, &key, out);
}

/* --- changes --- */

static struct gs_list_change *add(struct edit *e, uint8_t kind)
{
    struct gs_list_change *change = &e->batch->changes[e->batch->count];

    CHECK(e->batch->count < GS_LIST_CHANGES_MAX);
    *change = (struct gs_list_change){.kind = kind,
                                      .value = e->gs->history.batches_count * GS_LIST_CHANGES_MAX +
                                               e->batch->count};
    e->batch->count++;
    return change;
}

static bool is_full(const struct edit *e)
{
    return e->gs->positions_count == GS_POSITIONS_MAX || e->batch->count == GS_LIST_CHANGES_MAX;
}

/* The number of a new position. One whose batch was lost in a crash may be made once more. */
static unsigned number_of(struct edit *e, const struct listpos *pos)
{
    struct gs *gs = e->gs;
    unsigned number = gs_list_find(gs, listpos_bytes(pos));

    if (number == GS_POSITIONS_MAX) {
        number = gs->positions_count++;
        gs->positions[number].at = *pos;
    } else if (!gs->lost[gs->positions[number].made]) {
        gs_fail(gs, "member %u: a position of the list is used twice", e->m->index);
    }
    gs->positions[number].made = gs->history.batches_count;
    return number;
}

static void put(struct edit *e, const struct listpos *pos)
{
    const unsigned number = number_of(e, pos);
    struct gs_list_change *change = add(e, OP_ELEM_SET);
    struct list_meta one;

    change->position = number;
    change->flags = e->flags;
    e->gs->totals.pushed++;
    CHECK(listpos_meta(listpos_bytes(pos), &one) && list_meta_join(&e->meta, &one) == 0);
    CHECK(list_meta_join(&e->meta, &e->older) == 0);
    for (unsigned i = 0; i < e->shown.count; i++) {
        if (e->shown.elems[i].position == number)
            return; /* Told of already. */
    }
    shown_add(e->gs, &e->shown, number, change->value);
}

/* LPUSH, RPUSH of one element. */
static void push(struct edit *e, bool front)
{
    const struct bytes none = bytes_of(NULL, 0);
    struct listpos pos;

    if (is_full(e))
        return;
    if (front)
        listpos_front(none, &e->meta, e->tag, &pos);
    else
        listpos_back(none, &e->meta, e->tag, &pos);
    for (unsigned i = 0; i < e->shown.count; i++) {
        const int cmp =
            bytes_cmp(listpos_bytes(&pos), position_bytes(e->gs, e->shown.elems[i].position));

        if (front ? cmp > 0 : cmp < 0)
            gs_fail(e->gs, "member %u: what was pushed is not at the end", e->m->index);
    }
    put(e, &pos);
}

static void push_some(struct edit *e)
{
    const bool front = gs_chance(e->gs, 40);

    for (unsigned n = 1 + gs_pick(e->gs, 3); n != 0; n--)
        push(e, front);
}

/* LINSERT, of one or two; the second beside the first or somewhere else. */
static void insert(struct edit *e)
{
    struct listpos pos;

    for (unsigned n = 1 + gs_pick(e->gs, 2); n != 0 && e->shown.count >= 2 && !is_full(e); n--) {
        const unsigned at = 1 + gs_pick(e->gs, e->shown.count - 1);
        const struct bytes before = position_bytes(e->gs, e->shown.elems[at - 1].position);
        const struct bytes after = position_bytes(e->gs, e->shown.elems[at].position);

        if (listpos_between(before, after, e->tag, e->batch->count, &pos) != 0)
            return; /* The server writes such a list anew. */
        if (bytes_cmp(before, listpos_bytes(&pos)) >= 0 ||
            bytes_cmp(listpos_bytes(&pos), after) >= 0)
            gs_fail(e->gs, "member %u: what was inserted is not there", e->m->index);
        put(e, &pos);
    }
}

/* LSET. */
static void set(struct edit *e)
{
    struct gs_list_change *change;

    if (e->shown.count == 0)
        return;
    change = add(e, OP_ELEM_SET);
    change->position = e->shown.elems[gs_pick(e->gs, e->shown.count)].position;
}

/* LPOP, RPOP, LREM; what LTRIM does at one end. Without elements the key goes, too. */
static void drop(struct edit *e, unsigned from, unsigned count)
{
    if (count == e->shown.count) {
        (void)add(e, OP_DEL);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        add(e, OP_ELEM_DEL)->position = e->shown.elems[from + i].position;
    e->gs->totals.popped += count;
}

static void drop_some(struct edit *e)
{
    const unsigned have = e->shown.count;
    const unsigned count = u32_min(1 + gs_pick(e->gs, 3), have);

    if (have == 0)
        return;
    switch (gs_pick(e->gs, 4)) {
    case 0:
        drop(e, 0, count);
        break;
    case 1:
        drop(e, have - count, count);
        break;
    case 2:
        drop(e, gs_pick(e->gs, have), 1);
        break;
    default: /* LTRIM at both ends. */
        if (have <= 2 * count)
            break;
        drop(e, 0, count);
        drop(e, have - count, count);
        break;
    }
}

/* LMOVE, RPOPLPUSH within the list. */
static void move(struct edit *e)
{
    if (e->shown.count < 2 || is_full(e))
        return;
    drop(e, e->shown.count - 1, 1);
    e->shown.count--;
    push(e, true);
}

static void expire(struct edit *e, const struct row_view *key)
{
    struct gs_list_change *change;

    if (!key->present || !e->gs->expiry)
        return;
    change = add(e, OP_EXPIRE);
    change->expire_at_ms = gs_chance(e->gs, 25) ? 0 : gs_deadline(e->gs, e->m);
    change->target_type = key->target_type;
    change->target = key->target;
}

/* The first push of a list that was not there knows of no other. */
static void begin_anew(struct edit *e)
{
    e->older = e->meta;
    list_meta_init(&e->meta);
    e->shown.count = 0;
    e->flags = OP_COVER;
}

/* DEL; with new elements behind it: RESTORE, COPY, RENAME, SORT with STORE. */
static void remove_key(struct edit *e, const struct row_view *key, bool replaced)
{
    if (key->type != VT_NONE)
        (void)add(e, OP_DEL);
    if (!replaced)
        return;
    begin_anew(e);
    push_some(e);
}

/* What the elements that are there tell of their positions: as if no key row remembered more. */
static void forget_runs(struct edit *e)
{
    struct list_meta one;

    list_meta_init(&e->meta);
    for (unsigned i = 0; i < e->shown.count; i++)
        CHECK(listpos_meta(position_bytes(e->gs, e->shown.elems[i].position), &one) &&
              list_meta_join(&e->meta, &one) == 0);
}

void gs_list_change(struct gs *gs, struct gs_member *m, struct tag tag, struct gs_list_batch *batch)
{
    struct edit e = {.gs = gs, .m = m, .tag = tag, .batch = batch};
    const unsigned kind = gs_pick(gs, 100);
    struct row_view key;

    CHECK(row_view(gs_key_row(m, GS_LIST_KEY), gs_now_ms(gs, m), &key) == 0);
    CHECK(row_list_meta(gs_key_row(m, GS_LIST_KEY), &e.meta) == 0);
    show(gs, m, &key, &e.shown);
    if (!key.present)
        begin_anew(&e);
    if (gs->fault == GS_FORGET_RUNS)
        forget_runs(&e);
    if (kind < 32 || !key.present)
        push_some(&e);
    else if (kind < 42)
        insert(&e);
    else if (kind < 52)
        set(&e);
    else if (kind < 78)
        drop_some(&e);
    else if (kind < 82)
        move(&e);
    else if (kind < 90)
        expire(&e, &key);
    else
        remove_key(&e, &key, kind >= 95);
}

void gs_list_encode(const struct gs *gs, const struct gs_list_batch *list, struct sim_batch *batch)
{
    for (unsigned i = 0; i < list->count; i++) {
        const struct gs_list_change *change = &list->changes[i];
        struct op op = {.kind = change->kind,
                        .type = VT_LIST,
                        .flags = change->flags,
                        .key = BYTES_LIT("k3"),
                        .expire_at_ms = change->expire_at_ms,
                        .target_type = change->target_type,
                        .target = change->target};
        char value[VALUE_BYTES];

        if (op.kind == OP_ELEM_SET || op.kind == OP_ELEM_DEL)
            op.sub = position_bytes(gs, change->position);
        if (op.kind == OP_ELEM_SET) {
            (void)snprintf(value, sizeof(value), "e%u", change->value);
            op.value = bytes_cstr(value);
        }
        CHECK(buf_reserve(&batch->bytes, op_size(&op)) == 0);
        buf_commit(&batch->bytes, op_store(buf_end(&batch->bytes), &op, batch->tag.hlc));
    }
}

/* --- the oracle --- */

struct event {
    const struct sim_batch *batch;
    const struct gs_list_change *change;
};

struct history {
    unsigned count;
    struct event events[SIM_BATCHES_MAX * GS_LIST_CHANGES_MAX];
};

static void history_of(const struct gs *gs, struct history *out)
{
    out->count = 0;
    for (unsigned i = 0; i < gs->history.batches_count; i++) {
        for (unsigned j = 0; j < gs->list_batches[i].count; j++)
            out->events[out->count++] =
                (struct event){&gs->history.batches[i], &gs->list_batches[i].changes[j]};
    }
}

static bool saw(const struct event *later, struct tag earlier)
{
    return vv_covers(&later->batch->ctx, earlier);
}

/* The list as it was at `tag` has been removed or replaced. */
static bool key_gone(const struct history *h, struct tag tag)
{
    for (unsigned i = 0; i < h->count; i++) {
        const struct gs_list_change *change = h->events[i].change;

        if ((change->kind == OP_DEL || (change->flags & OP_COVER) != 0) && saw(&h->events[i], tag))
            return true;
    }
    return false;
}

/* Removed, set anew, or gone with the list. */
static bool elem_gone(const struct history *h, const struct event *e)
{
    for (unsigned i = 0; i < h->count; i++) {
        const struct gs_list_change *change = h->events[i].change;

        if ((change->kind == OP_ELEM_SET || change->kind == OP_ELEM_DEL) &&
            change->position == e->change->position && saw(&h->events[i], e->batch->tag))
            return true;
    }
    return key_gone(h, e->batch->tag);
}

static bool expiry_seen(const struct history *h, struct tag tag)
{
    for (unsigned i = 0; i < h->count; i++) {
        if (h->events[i].change->kind == OP_EXPIRE && saw(&h->events[i], tag))
            return true;
    }
    return false;
}

/* The longest setting that no later one has seen. */
static uint64_t expiry_of(const struct history *h)
{
    uint64_t at_ms = 0;

    for (unsigned i = 0; i < h->count; i++) {
        const struct event *e = &h->events[i];

        if (e->change->kind != OP_EXPIRE || key_gone(h, e->change->target) ||
            expiry_seen(h, e->batch->tag))
            continue;
        at_ms = u64_max(at_ms, e->change->expire_at_ms == 0 ? UINT64_MAX : e->change->expire_at_ms);
    }
    return at_ms == UINT64_MAX ? 0 : at_ms;
}

void gs_list_oracle(const struct gs *gs, uint64_t now_ms, struct gs_list_shown *out)
{
    static struct history h;
    const struct event *best[GS_POSITIONS_MAX] = {NULL};
    bool any = false;

    memset(out, 0, sizeof(*out));
    history_of(gs, &h);
    for (unsigned i = 0; i < h.count; i++) {
        const struct event *e = &h.events[i];
        const struct event **at = &best[e->change->position];

        if (e->change->kind != OP_ELEM_SET)
            continue;
        any |= !key_gone(&h, e->batch->tag);
        if (!elem_gone(&h, e) && (*at == NULL || tag_cmp(e->batch->tag, (*at)->batch->tag) > 0))
            *at = e;
    }
    if (!any)
        return;
    out->expire_at_ms = expiry_of(&h);
    out->present = out->expire_at_ms == 0 || out->expire_at_ms > now_ms;
    for (unsigned i = 0; out->present && i < GS_POSITIONS_MAX; i++) {
        if (best[i] != NULL)
            shown_add(gs, out, i, best[i]->change->value);
    }
}
