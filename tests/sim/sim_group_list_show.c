/*
 * Keys that may be lists: what of them a client sees, and what the history says, by definition.
 *
 * Whether such a key is there, of which type, and until when, is said by the oracle of the value
 * code, which is told of changes of lists as of those of any collection; of which elements a list
 * has, by the one here.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/num.h"

#include "tests/sim/sim_group.h"

/* --- at a member --- */

static struct bytes position_bytes(const struct gs *gs, unsigned key, unsigned position)
{
    return listpos_bytes(&gs->lists[key - GS_LIST_KEY].positions[position].at);
}

void gs_list_shown_add(const struct gs *gs, unsigned key, struct gs_list_shown *shown,
                       unsigned position, unsigned value)
{
    const struct bytes here = position_bytes(gs, key, position);
    unsigned at = shown->count++;

    CHECK(at < GS_POSITIONS_MAX);
    for (; at != 0; at--) {
        if (bytes_cmp(position_bytes(gs, key, shown->elems[at - 1].position), here) < 0)
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

void gs_list_elems(const struct gs *gs, struct gs_member *m, unsigned key,
                   struct gs_list_shown *out)
{
    struct row_view view;

    out->count = 0;
    for (unsigned i = 0; i < gs->lists[key - GS_LIST_KEY].count; i++) {
        CHECK(row_view(gs_list_row(m, key, i), 0, &view) == 0);
        if (view.present)
            gs_list_shown_add(gs, key, out, i, value_of(&view));
    }
}

void gs_list_show(const struct gs *gs, struct gs_member *m, unsigned key, uint64_t now_ms,
                  struct sim_shown *out, struct gs_list_shown *out_elems)
{
    gs_show(gs, m, key, now_ms, out);
    out_elems->count = 0;
    if (out->present && out->type == VT_LIST)
        gs_list_elems(gs, m, key, out_elems);
}

/* --- the oracle --- */

static struct sim_change *add(struct sim_batch *batch, unsigned key, uint8_t kind)
{
    CHECK(batch->changes_count < SIM_CHANGES_MAX);
    return sim_change_add(batch, key, kind);
}

/* A list is there, as far as this batch says: what its pushes say of the key. */
static void tell_of_pushes(const struct gs_list_batch *list, unsigned key, struct sim_batch *out)
{
    struct sim_change *told = NULL;

    for (unsigned i = 0; i < list->count; i++) {
        const struct gs_list_change *change = &list->changes[i];

        if (change->key != key || change->kind != OP_ELEM_SET)
            continue;
        if (told == NULL) {
            told = add(out, key, OP_ELEM_SET);
            told->op.type = VT_LIST;
            told->type_index = SIM_TYPES; /* No element of the other types. */
        }
        told->op.flags |= change->flags;
    }
}

/* What the batch does to the key, but for elements of lists. */
static void tell_of(const struct sim_batch *made, const struct gs_list_batch *list, unsigned key,
                    struct sim_batch *out)
{
    out->tag = made->tag;
    vv_copy(&out->ctx, &made->ctx);
    out->changes_count = 0;
    for (unsigned i = 0; i < made->changes_count; i++) {
        if (made->changes[i].key_index == key)
            out->changes[out->changes_count++] = made->changes[i];
    }
    tell_of_pushes(list, key, out);
    for (unsigned i = 0; i < list->count; i++) {
        const struct gs_list_change *change = &list->changes[i];
        struct sim_change *told;

        if (change->key != key || (change->kind != OP_DEL && change->kind != OP_EXPIRE))
            continue;
        told = add(out, key, change->kind);
        told->op.expire_at_ms = change->expire_at_ms;
        told->op.target_type = change->target_type;
        told->op.target = change->target;
    }
}

/* The key as it was at `tag` has been removed or replaced. */
static bool key_gone(const struct sim *told, struct tag tag)
{
    for (unsigned i = 0; i < told->batches_count; i++) {
        const struct sim_batch *batch = &told->batches[i];

        for (unsigned j = 0; vv_covers(&batch->ctx, tag) && j < batch->changes_count; j++) {
            const struct op *op = &batch->changes[j].op;

            if (op->kind == OP_DEL || op->kind == OP_SET || (op->flags & OP_COVER) != 0)
                return true;
        }
    }
    return false;
}

/* Removed or set anew. */
static bool elem_gone(const struct gs *gs, const struct gs_list_change *what, struct tag tag)
{
    for (unsigned i = 0; i < gs->history.batches_count; i++) {
        const struct gs_list_batch *list = &gs->list_batches[i];

        for (unsigned j = 0; vv_covers(&gs->history.batches[i].ctx, tag) && j < list->count; j++) {
            const struct gs_list_change *change = &list->changes[j];

            if ((change->kind == OP_ELEM_SET || change->kind == OP_ELEM_DEL) &&
                change->key == what->key && change->position == what->position)
                return true;
        }
    }
    return false;
}

/* Of each position the greatest tag that nothing has seen. */
static void oracle_elems(const struct gs *gs, const struct sim *told, unsigned key,
                         struct gs_list_shown *out)
{
    struct {
        struct tag tag;
        unsigned value;
    } best[GS_POSITIONS_MAX] = {{.tag = tag_of(0, 0)}};

    for (unsigned i = 0; i < gs->history.batches_count; i++) {
        const struct tag tag = gs->history.batches[i].tag;

        for (unsigned j = 0; j < gs->list_batches[i].count; j++) {
            const struct gs_list_change *change = &gs->list_batches[i].changes[j];

            if (change->key != key || change->kind != OP_ELEM_SET ||
                tag_cmp(tag, best[change->position].tag) <= 0 || key_gone(told, tag) ||
                elem_gone(gs, change, tag))
                continue;
            best[change->position].tag = tag;
            best[change->position].value = change->value;
        }
    }
    for (unsigned i = 0; i < GS_POSITIONS_MAX; i++) {
        if (!tag_is_none(best[i].tag))
            gs_list_shown_add(gs, key, out, i, best[i].value);
    }
}

void gs_list_oracle(const struct gs *gs, unsigned key, uint64_t now_ms, struct sim_shown *out,
                    struct gs_list_shown *out_elems)
{
    static struct sim told;

    told.batches_count = gs->history.batches_count;
    memcpy(told.types, gs->history.types, sizeof(told.types));
    for (unsigned i = 0; i < told.batches_count; i++)
        tell_of(&gs->history.batches[i], &gs->list_batches[i], key, &told.batches[i]);
    oracle_show(&told, key, now_ms, out);
    out_elems->count = 0;
    if (out->present && out->type == VT_LIST)
        oracle_elems(gs, &told, key, out_elems);
}
