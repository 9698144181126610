/*
 * Keys that are lists: their changes.
 *
 * The members make positions as a shard does (engine/value/listpos.h), from what their key row
 * remembers. The simulator numbers those of each key: the element at the n-th position is the n-th
 * row behind the key row, at every member, so that all that happens to rows happens to these, too.
 * Of a position it is checked where it is made that nobody has it, and that it lies behind, before
 * or between the elements that it should, as far as they are seen there; since the order of
 * positions is one of bytes, it lies so everywhere. Values are never written twice: what is shown
 * twice would be one element too many.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/num.h"

#include "tests/sim/sim_group.h"

#define VALUE_BYTES 12

static struct gs_list *list_of(struct gs *gs, unsigned key)
{
    return &gs->lists[key - GS_LIST_KEY];
}

static struct bytes position_bytes(const struct gs *gs, unsigned key, unsigned position)
{
    return listpos_bytes(&gs->lists[key - GS_LIST_KEY].positions[position].at);
}

static struct bytes shown_bytes(const struct gs_list_edit *e, unsigned at)
{
    return position_bytes(e->gs, e->key, e->shown.elems[at].position);
}

unsigned gs_list_find(const struct gs *gs, unsigned key, struct bytes position)
{
    for (unsigned i = 0; i < gs->lists[key - GS_LIST_KEY].count; i++) {
        if (bytes_eq(position_bytes(gs, key, i), position))
            return i;
    }
    return GS_POSITIONS_MAX;
}

/* --- changes --- */

static struct gs_list_change *add(struct gs_list_edit *e, uint8_t kind)
{
    struct gs_list_change *change = &e->batch->changes[e->batch->count];

    CHECK(e->batch->count < GS_LIST_CHANGES_MAX);
    *change = (struct gs_list_change){.kind = kind, .key = e->key};
    e->batch->count++;
    return change;
}

/* A value that the next change alone has. */
static unsigned new_value(const struct gs_list_edit *e)
{
    CHECK(e->batch->count < GS_LIST_VALUES_MAX);
    return e->gs->history.batches_count * GS_LIST_VALUES_MAX + e->batch->count;
}

bool gs_list_is_full(const struct gs_list_edit *e)
{
    return list_of(e->gs, e->key)->count == e->gs->positions_max ||
           e->batch->count == GS_LIST_CHANGES_MAX;
}

/* The number of a new position. One whose batch was lost in a crash may be made once more. */
static unsigned number_of(struct gs_list_edit *e, const struct listpos *pos)
{
    struct gs *gs = e->gs;
    struct gs_list *list = list_of(gs, e->key);
    unsigned number = gs_list_find(gs, e->key, listpos_bytes(pos));

    if (number == GS_POSITIONS_MAX) {
        number = list->count++;
        list->positions[number].at = *pos;
    } else if (!gs->lost[list->positions[number].made]) {
        gs_fail(gs, "member %u: a position of the list is used twice", e->m->index);
    }
    list->positions[number].made = gs->history.batches_count;
    return number;
}

static void put(struct gs_list_edit *e, const struct listpos *pos, unsigned value)
{
    const unsigned number = number_of(e, pos);
    struct gs_list_change *change = add(e, OP_ELEM_SET);
    struct list_meta one;

    change->position = number;
    change->value = value;
    change->flags = e->flags;
    e->gs->totals.pushed++;
    CHECK(listpos_meta(listpos_bytes(pos), &one) && list_meta_join(&e->meta, &one) == 0);
    CHECK(list_meta_join(&e->meta, &e->older) == 0);
    for (unsigned i = 0; i < e->shown.count; i++) {
        if (e->shown.elems[i].position == number)
            return; /* Told of already. */
    }
    gs_list_shown_add(e->gs, e->key, &e->shown, number, change->value);
}

void gs_list_push(struct gs_list_edit *e, bool front, unsigned value)
{
    const struct bytes none = bytes_of(NULL, 0);
    struct listpos pos;

    if (gs_list_is_full(e))
        return;
    if (front)
        listpos_front(none, &e->meta, e->tag, &pos);
    else
        listpos_back(none, &e->meta, e->tag, &pos);
    for (unsigned i = 0; i < e->shown.count; i++) {
        const int cmp = bytes_cmp(listpos_bytes(&pos), shown_bytes(e, i));

        if (front ? cmp > 0 : cmp < 0)
            gs_fail(e->gs, "member %u: what was pushed is not at the end", e->m->index);
    }
    put(e, &pos, value);
}

/* LPUSH, RPUSH. */
void gs_list_push_some(struct gs_list_edit *e)
{
    const bool front = gs_chance(e->gs, 40);

    for (unsigned n = 1 + gs_pick(e->gs, 3); n != 0; n--)
        gs_list_push(e, front, new_value(e));
}

/* LINSERT, of one or two; the second beside the first or somewhere else. */
static void insert(struct gs_list_edit *e)
{
    struct listpos pos;

    for (unsigned n = 1 + gs_pick(e->gs, 2); n != 0 && e->shown.count >= 2 && !gs_list_is_full(e);
         n--) {
        const unsigned at = 1 + gs_pick(e->gs, e->shown.count - 1);
        const struct bytes before = shown_bytes(e, at - 1);
        const struct bytes after = shown_bytes(e, at);

        if (listpos_between(before, after, e->tag, e->batch->count, &pos) != 0)
            return; /* The server writes such a list anew. */
        if (bytes_cmp(before, listpos_bytes(&pos)) >= 0 ||
            bytes_cmp(listpos_bytes(&pos), after) >= 0)
            gs_fail(e->gs, "member %u: what was inserted is not there", e->m->index);
        put(e, &pos, new_value(e));
    }
}

/* LSET. */
static void set(struct gs_list_edit *e)
{
    struct gs_list_change *change;

    if (e->shown.count == 0)
        return;
    const unsigned value = new_value(e);
    change = add(e, OP_ELEM_SET);
    change->position = e->shown.elems[gs_pick(e->gs, e->shown.count)].position;
    change->value = value;
}

void gs_list_drop(struct gs_list_edit *e, unsigned position)
{
    add(e, OP_ELEM_DEL)->position = position;
    e->gs->totals.popped++;
}

void gs_list_del(struct gs_list_edit *e)
{
    (void)add(e, OP_DEL);
}

/* LPOP, RPOP, LREM; what LTRIM does at one end. Without elements the key goes, too. */
static void drop(struct gs_list_edit *e, unsigned from, unsigned count)
{
    if (count == e->shown.count) {
        gs_list_del(e);
        return;
    }
    for (unsigned i = 0; i < count; i++)
        gs_list_drop(e, e->shown.elems[from + i].position);
}

static void drop_some(struct gs_list_edit *e)
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
static void move(struct gs_list_edit *e)
{
    if (e->shown.count < 2 || gs_list_is_full(e))
        return;
    drop(e, e->shown.count - 1, 1);
    e->shown.count--;
    gs_list_push(e, true, new_value(e));
}

void gs_list_expire(struct gs_list_edit *e, uint64_t at_ms, struct tag target)
{
    struct gs_list_change *change = add(e, OP_EXPIRE);

    change->expire_at_ms = at_ms;
    change->target_type = VT_LIST;
    change->target = target;
}

static void expire(struct gs_list_edit *e)
{
    if (!e->view.present || !e->gs->expiry)
        return;
    gs_list_expire(e, gs_chance(e->gs, 25) ? 0 : gs_deadline(e->gs, e->m), e->view.target);
}

void gs_list_begin_anew(struct gs_list_edit *e)
{
    e->older = e->meta;
    list_meta_init(&e->meta);
    e->shown.count = 0;
    e->flags = OP_COVER;
}

/* DEL; with new elements behind it: RESTORE, COPY, RENAME, SORT with STORE. */
static void remove_key(struct gs_list_edit *e, bool replaced)
{
    if (e->view.type != VT_NONE)
        gs_list_del(e);
    if (!replaced)
        return;
    gs_list_begin_anew(e);
    gs_list_push_some(e);
}

/* What the elements that are there tell of their positions: as if no key row remembered more. */
static void forget_runs(struct gs_list_edit *e)
{
    struct list_meta one;

    list_meta_init(&e->meta);
    for (unsigned i = 0; i < e->shown.count; i++)
        CHECK(listpos_meta(shown_bytes(e, i), &one) && list_meta_join(&e->meta, &one) == 0);
}

void gs_list_open(struct gs *gs, struct gs_member *m, struct tag tag, struct gs_list_batch *batch,
                  unsigned key, struct gs_list_edit *out)
{
    const struct bytes row = gs_key_row(m, key);

    *out = (struct gs_list_edit){.gs = gs, .m = m, .tag = tag, .batch = batch, .key = key};
    CHECK(row_view(row, gs_now_ms(gs, m), &out->view) == 0);
    CHECK(row_list_meta(row, &out->meta) == 0);
    if (out->view.present && out->view.type == VT_LIST)
        gs_list_elems(gs, m, key, &out->shown);
}

void gs_list_change(struct gs_list_edit *e)
{
    const unsigned kind = gs_pick(e->gs, 100);

    if (!e->view.present)
        gs_list_begin_anew(e);
    if (e->gs->fault == GS_FORGET_RUNS)
        forget_runs(e);
    if (kind < 32 || !e->view.present)
        gs_list_push_some(e);
    else if (kind < 42)
        insert(e);
    else if (kind < 52)
        set(e);
    else if (kind < 78)
        drop_some(e);
    else if (kind < 82)
        move(e);
    else if (kind < 90)
        expire(e);
    else
        remove_key(e, kind >= 95);
}

/* --- their ops --- */

static bool pushes(const struct gs_list_batch *list, unsigned key)
{
    for (unsigned i = 0; i < list->count; i++) {
        if (list->changes[i].key == key && list->changes[i].kind == OP_ELEM_SET)
            return true;
    }
    return false;
}

/* Breaks a rule on purpose: the change is made, and not told. */
static bool is_left_out(const struct gs *gs, const struct gs_list_batch *list,
                        const struct gs_list_change *change)
{
    if (!gs->retypes)
        return false;
    if (gs->fault == GS_HALF_MOVE)
        return change->kind == OP_ELEM_DEL &&
               pushes(list, change->key == GS_LIST_KEY ? GS_LIST_KEY + 1 : GS_LIST_KEY);
    return gs->fault == GS_LEAVE_OLD && change->kind == OP_DEL && pushes(list, change->key);
}

static void store(const struct op *op, struct sim_batch *batch)
{
    CHECK(buf_reserve(&batch->bytes, op_size(op)) == 0);
    buf_commit(&batch->bytes, op_store(buf_end(&batch->bytes), op, batch->tag.hlc));
}

static void encode_one(const struct gs *gs, struct gs_member *m,
                       const struct gs_list_change *change, struct sim_batch *batch)
{
    struct op op = {.kind = change->kind,
                    .type = VT_LIST,
                    .flags = change->flags,
                    .expire_at_ms = change->expire_at_ms,
                    .target_type = change->target_type,
                    .target = change->target};
    char key[4];
    char value[VALUE_BYTES];
    struct buf seen;

    buf_init(&seen, SIZE_MAX);
    (void)snprintf(key, sizeof(key), "k%u", change->key);
    op.key = bytes_cstr(key);
    if (op.kind == OP_ELEM_SET || op.kind == OP_ELEM_DEL)
        op.sub = position_bytes(gs, change->key, change->position);
    if (op.kind == OP_ELEM_SET) {
        (void)snprintf(value, sizeof(value), "e%u", change->value);
        op.value = bytes_cstr(value);
    }
    if (op.kind == OP_DEL) {
        CHECK(row_seen(gs_key_row(m, change->key), &seen) == 0);
        op.seen = buf_bytes(&seen);
    }
    store(&op, batch);
    buf_deinit(&seen);
}

unsigned gs_list_encode(const struct gs *gs, struct gs_member *m, const struct gs_list_batch *list,
                        struct sim_batch *batch)
{
    unsigned nops = 0;

    for (unsigned i = 0; i < list->count; i++) {
        if (is_left_out(gs, list, &list->changes[i]))
            continue;
        encode_one(gs, m, &list->changes[i], batch);
        nops++;
    }
    return nops;
}
