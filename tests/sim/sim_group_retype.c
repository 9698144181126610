/*
 * Keys that are lists and other types by turns, and elements that move from one list to another: in
 * each batch the ops that the commands make of a member (server/cmd_list.c, cmd_sort.c, cmd_dump.c,
 * keycopy.c, with replication/mut_group.c).
 *
 *     LMOVE, BLMOVE, RPOPLPUSH   a push there, a removal here; DEL here behind the last one
 *     SORT STORE, RESTORE        DEL of what is there, pushes, EXPIRE
 *     COPY, RENAME               of a string SET; else DEL of what is there, all elements, EXPIRE;
 *                                RENAME with DEL of the other key
 *     SET, SUNIONSTORE, SADD, .. as of any key (sim_group_ops.c)
 *
 * What takes the place of a key that is there says so with DEL; where none was, the first elements
 * say with OP_COVER that they have seen none, with a DEL if one had expired or had been counted.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/num.h"

#include "tests/sim/sim_group.h"

#define VALUES_MAX 4 /* Of a list that is copied: a longer one is left. */

struct retype {
    struct gs *gs;
    struct gs_member *m;
    struct sim_batch *made;
    struct gs_list_batch *list;
    unsigned key;
    unsigned other;
};

static void open(const struct retype *r, unsigned key, struct gs_list_edit *out)
{
    gs_list_open(r->gs, r->m, r->made->tag, r->list, key, out);
}

static bool is_list(const struct gs_list_edit *e)
{
    return e->view.present && e->view.type == VT_LIST;
}

/* Whether the key needs a DEL before it becomes a collection. */
static bool needs_del(const struct gs_list_edit *e)
{
    return e->view.present || e->view.expired || sim_has_counters(gs_key_row(e->m, e->key));
}

/*
 * The key becomes a list, of which nothing is there. Its object may remember the positions of the
 * one before, or know of none.
 */
static void become_list(const struct retype *r, struct gs_list_edit *e)
{
    const struct list_meta meta = e->meta;
    const bool was_there = e->view.present;

    r->gs->totals.retyped += was_there && e->view.type != VT_LIST;
    if (needs_del(e))
        gs_list_del(e);
    gs_list_begin_anew(e);
    if (gs_chance(r->gs, 50))
        e->meta = meta;
    if (was_there)
        e->flags = 0;
}

/* LMOVE and the like. */
static void move(const struct retype *r)
{
    struct gs_list_edit from, to;

    open(r, r->key, &from);
    open(r, r->other, &to);
    if (!is_list(&from) || from.shown.count == 0 || (to.view.present && !is_list(&to)) ||
        gs_list_is_full(&to))
        return;
    const bool front = gs_chance(r->gs, 50);
    const unsigned at = front ? 0 : from.shown.count - 1;
    if (!to.view.present)
        become_list(r, &to);
    gs_list_push(&to, gs_chance(r->gs, 50), from.shown.elems[at].value);
    gs_list_drop(&from, from.shown.elems[at].position);
    if (from.shown.count == 1)
        gs_list_del(&from);
    r->gs->totals.moved++;
}

/* SORT with STORE, RESTORE with REPLACE: whatever is there. */
static void replace(const struct retype *r)
{
    struct gs_list_edit e;

    open(r, r->key, &e);
    if (gs_list_is_full(&e))
        return;
    become_list(r, &e);
    gs_list_push_some(&e);
    if (r->gs->expiry && gs_chance(r->gs, 30))
        gs_list_expire(&e, gs_deadline(r->gs, r->m), r->made->tag);
}

static void copy_list(const struct retype *r, const struct gs_list_edit *from,
                      struct gs_list_edit *to)
{
    become_list(r, to);
    for (unsigned i = 0; i < from->shown.count; i++)
        gs_list_push(to, false, from->shown.elems[i].value);
    if (from->view.expire_at_ms != 0)
        gs_list_expire(to, from->view.expire_at_ms, r->made->tag);
}

static void copy_text(struct sim_change *change, const char *text)
{
    change->value_len = strlen(text);
    memcpy(change->text, text, change->value_len + 1);
    memcpy(change->value, text, change->value_len);
}

/* Of a member of a sorted set. */
static void copy_score(struct sim_change *change, const char *text)
{
    long double score;

    CHECK(num_parse_ldouble(bytes_cstr(text), &score));
    copy_text(change, text);
    row_score_store(change->value, (double)score);
    change->value_len = ROW_SCORE_BYTES;
}

static void copy_string(const struct retype *r, const struct sim_shown *from,
                        const struct gs_list_edit *to)
{
    struct sim_change *change = sim_change_add(r->made, r->other, OP_SET);

    copy_text(change, from->text);
    change->op.expire_at_ms = from->expire_at_ms;
    if (!to->view.present)
        change->op.flags = OP_COVER;
}

static void copy_elems(const struct retype *r, const struct sim_shown *from, unsigned type,
                       const struct gs_list_edit *to)
{
    struct sim_change *change;

    if (needs_del(to))
        (void)sim_change_add(r->made, r->other, OP_DEL);
    for (unsigned sub = 0; sub < SIM_SUBS; sub++) {
        if (!from->elem_present[type][sub])
            continue;
        change = sim_change_add(r->made, r->other, OP_ELEM_SET);
        sim_change_elem(&r->gs->history, change, type, sub);
        if (!to->view.present)
            change->op.flags = OP_COVER;
        if (from->type == VT_ZSET)
            copy_score(change, from->elem_text[type][sub]);
        else
            copy_text(change, from->elem_text[type][sub]);
    }
    if (from->expire_at_ms == 0)
        return;
    change = sim_change_add(r->made, r->other, OP_EXPIRE);
    change->op.expire_at_ms = from->expire_at_ms;
    change->op.target_type = from->type;
    change->op.target = r->made->tag;
}

static bool has_elems(const struct sim_shown *shown, unsigned type)
{
    for (unsigned sub = 0; sub < SIM_SUBS; sub++) {
        if (shown->elem_present[type][sub])
            return true;
    }
    return false;
}

/* COPY with REPLACE; RENAME. */
static void copy(const struct retype *r, bool renames)
{
    struct gs_list_edit from, to;
    struct sim_shown shown;

    open(r, r->key, &from);
    open(r, r->other, &to);
    gs_show(r->gs, r->m, r->key, gs_now_ms(r->gs, r->m), &shown);
    const unsigned type = shown.type == r->gs->history.types[1] ? 1 : 0;
    if (!shown.present || (shown.type > VT_LIST && !has_elems(&shown, type)))
        return; /* A collection without elements: all of them were removed at the same time. */
    if (is_list(&from)) {
        if (from.shown.count == 0 || from.shown.count > VALUES_MAX || gs_list_is_full(&to))
            return;
        copy_list(r, &from, &to);
    } else {
        r->gs->totals.retyped += is_list(&to);
        if (shown.type == VT_STRING)
            copy_string(r, &shown, &to);
        else
            copy_elems(r, &shown, type, &to);
    }
    if (renames)
        gs_list_del(&from);
}

static void change_one(const struct retype *r)
{
    struct gs_list_edit e;

    open(r, r->key, &e);
    if (e.view.present ? is_list(&e) : gs_chance(r->gs, 60)) {
        if (!e.view.present) {
            become_list(r, &e);
            gs_list_push_some(&e);
        } else {
            gs_list_change(&e);
        }
        return;
    }
    gs_change_key(r->gs, r->m, r->made, r->key);
}

/* SET, DEL, SUNIONSTORE and others of whatever type; SADD and the like do nothing to a list. */
static void overwrite(const struct retype *r)
{
    struct gs_list_edit e;

    open(r, r->key, &e);
    gs_change_key(r->gs, r->m, r->made, r->key);
    if (is_list(&e) && r->made->changes_count != 0) {
        const uint8_t kind = r->made->changes[r->made->changes_count - 1].op.kind;

        r->gs->totals.retyped += kind == OP_SET || kind == OP_ELEM_SET;
    }
}

void gs_retype_change(struct gs *gs, struct gs_member *m, struct sim_batch *made,
                      struct gs_list_batch *list)
{
    const unsigned which = gs_pick(gs, GS_LISTS_MAX);
    const unsigned what = gs_pick(gs, 100);
    const struct retype r = {.gs = gs,
                             .m = m,
                             .made = made,
                             .list = list,
                             .key = GS_LIST_KEY + which,
                             .other = GS_LIST_KEY + 1 - which};

    if (what < 40)
        change_one(&r);
    else if (what < 60)
        move(&r);
    else if (what < 75)
        copy(&r, gs_chance(gs, 50));
    else if (what < 85)
        replace(&r);
    else
        overwrite(&r);
}
