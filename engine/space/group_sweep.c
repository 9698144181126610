/*
 * Garbage of cold keys of a group, from what a flight has read of them: rows that nothing can show
 * any more are removed, others are made simpler, and the key row is when nothing below it is left.
 * group_gc.c says when, group_load.c reads.
 */
#include "engine/base/sum.h"

#include "engine/space/group_loaded.h"
#include "engine/value/op.h"
#include "engine/value/row_chunk.h"

/* Whether nothing of a row of the store can show, now or later. */
static bool is_garbage(const struct loaded *l, uint8_t kind, struct bytes row, uint16_t lost,
                       const struct vv *stable)
{
    if (row_covered(row, &l->clear))
        return true;
    for (unsigned type = VT_LIST; type <= VT_HASH; type++) {
        if ((lost & 1u << type) != 0 && op_row_kind((uint8_t)type) == kind)
            return row_covered(row, stable);
    }
    return false;
}

static void put_full(struct loaded *l, uint8_t kind, struct bytes sub, struct bytes row)
{
    struct ks_group *g = l->ks->group;
    struct overlay_key *k = overlay_key_get(&g->overlay, &l->key);
    struct overlay_entry *e = overlay_put(&g->overlay, k, kind, sub, row, true);

    k->fresh = false;
    dirty_mark(&l->ks->dirty, &e->h, NULL, group_lsn(l->ks));
}

/* Nothing of the row shows: what is left of it waits until every member has it. */
static bool row_waits(struct bytes row)
{
    struct row_view view;

    return row.len != 0 && row.ptr[0] == ROW_GENERAL && row_view(row, 0, &view) == 0 &&
           view.type == VT_NONE;
}

/* One look at the rows of a key. */
struct sweep {
    struct loaded *l;
    struct row_horizons h;
    struct row_generations generations;
    bool generations_known;
    uint16_t lost;
    struct buf out;
    bool any; /* See group_pass. */
    bool waits;
};

static void put_collected(struct sweep *s, uint8_t kind, struct bytes sub, struct bytes row)
{
    struct ks_group_metrics *m = &s->l->ks->group->metrics;

    if (group_row_dead(row)) {
        put_full(s->l, kind, sub, bytes_of(NULL, 0));
        m->rows_swept++;
    } else {
        put_full(s->l, kind, sub, row);
        m->rows_collected++;
    }
}

/* Whether the row of a chunk has something that must be gone before the clear vector goes. */
static bool is_cleared(struct sweep *s, struct bytes row)
{
    struct vv none;

    if (vv_empty(&s->l->clear))
        return false;
    vv_init(&none);
    buf_clear(&s->out);
    return row_chunk_collect(row, &none, &s->generations, &s->out) != ROW_UNCHANGED;
}

static void sweep_chunk(struct sweep *s, uint8_t kind, struct bytes sub, struct bytes row)
{
    if (!s->generations_known) {
        s->any = true;
        return;
    }
    s->any |= is_cleared(s, row);
    buf_clear(&s->out);
    s->any |= (s->lost & 1u << VT_STRING) != 0;
    const int did = row_chunk_collect(row, s->h.stable, &s->generations, &s->out);
    if (did == ROW_CHANGED) {
        row = buf_bytes(&s->out);
        put_collected(s, kind, sub, row);
    }
    s->waits |= did >= 0 && row_is_chunk(row) && row_chunk_waits(row, &s->generations);
}

static void sweep_elem(struct sweep *s, uint8_t kind, struct bytes sub, struct bytes row)
{
    uint16_t none;

    if (is_garbage(s->l, kind, row, s->lost, s->h.stable)) {
        put_collected(s, kind, sub, bytes_of(NULL, 0));
        s->any = true;
        return;
    }
    /* Also a part of a row that the clear vector covers must go before the vector does. */
    struct bytes full = group_loaded_elem(s->l, row, NULL);
    buf_clear(&s->out);
    if (row_collect(full, &s->h, &s->out, &none) == ROW_CHANGED)
        full = buf_bytes(&s->out);
    s->any |= row_waits(full);
    if (bytes_eq(full, row))
        return;
    put_full(s->l, kind, sub, group_row_dead(full) ? bytes_of(NULL, 0) : full);
    s->l->ks->group->metrics.rows_collected++;
    s->any = true;
}

/* Removes element rows that are garbage, makes others simpler. */
static void sweep_rows(struct sweep *s, struct loaded *l, const struct row_horizons *horizons,
                       uint16_t lost)
{
    struct bytes in = l->rows, sub, row;
    uint8_t kind;

    *s = (struct sweep){.l = l, .h = *horizons, .lost = lost};
    s->h.clearing = row_clearing(buf_bytes(&l->key_row), s->h.stable);
    s->generations_known = row_generations(buf_bytes(&l->key_row), &s->generations) == 0;
    if ((lost & 1u << VT_STRING) != 0)
        s->generations.count = 0; /* The string has expired for good. */
    buf_init(&s->out, UINT32_MAX);
    while (group_loaded_next(&in, &kind, &sub, &row)) {
        /* What waits for the store is a part of it. */
        if (group_loaded_over(l, kind, sub) != NULL)
            s->any = true;
        else if (row_is_chunk(row))
            sweep_chunk(s, kind, sub, row);
        else
            sweep_elem(s, kind, sub, row);
    }
    buf_deinit(&s->out);
}

/* Whether rows of elements wait for the store: then it is too early. */
static bool elems_wait(const struct loaded *l)
{
    if (l->over == NULL)
        return false;
    LIST_FOR_EACH(link, &l->over->entries) {
        if (LIST_ITEM(link, struct overlay_entry, link)->kind != ROWKEY_KIND_KEY)
            return true;
    }
    return false;
}

/*
 * All rows were looked at. A second look, when what the first one removes has gone, ends it.
 * `rest`: see group_gc_rest; 0: nothing is left in the rows.
 */
static void collect_key_row(struct loaded *l, const struct keytab_ref *ref,
                            const struct row_horizons *h, uint32_t rest)
{
    struct keyspace *ks = l->ks;
    const struct bytes row = buf_bytes(&l->key_row);
    struct row_view view;
    struct buf out;
    uint16_t lost;

    buf_init(&out, UINT32_MAX);
    const int err = row_collect(row, h, &out, &lost);
    if (err == ROW_CHANGED) {
        const struct bytes full =
            group_row_dead(buf_bytes(&out)) ? bytes_of(NULL, 0) : buf_bytes(&out);
        put_full(l, ROWKEY_KIND_KEY, bytes_of(NULL, 0), full);
        group_view(full, &view);
        if (view.type == VT_NONE)
            group_set_cold(ks, ref, l->key.hash, KS_GHOST, false);
        ks->group->metrics.rows_collected++;
    } else if (h->swept && (row.len == 0 || row.ptr[0] != ROW_GENERAL)) {
        if (rest == 0)
            group_gc_done(ks, &l->key);
        else if (l->view.expire_at_ms == 0)
            group_gc_rest(ks, &l->key, rest);
    }
    buf_deinit(&out);
}

/* The types that have lost for good; -1: the key row cannot be read. */
static int lost_types(const struct loaded *l, const struct row_horizons *h)
{
    struct buf out;
    uint16_t lost = 0;

    buf_init(&out, UINT32_MAX);
    const int err = row_collect(buf_bytes(&l->key_row), h, &out, &lost);
    buf_deinit(&out);
    return err < 0 ? -1 : lost;
}

void group_loaded_collect(struct loaded *l, const struct keytab_ref *ref)
{
    struct row_horizons h = *group_gc_horizons(l->ks);
    const int lost = lost_types(l, &h);
    struct sweep s;

    if (elems_wait(l) || lost < 0)
        return;
    sweep_rows(&s, l, &h, (uint16_t)lost);
    h.swept = !s.any;
    h.swept_types = (uint16_t)(s.any ? 0 : lost);
    collect_key_row(l, ref, &h, s.waits ? 1 : 0);
    group_account(l->ks);
}

static void pass_begin(struct group_pass *pass, const struct loaded *l)
{
    const struct bytes row = buf_bytes(&l->key_row);

    pass->key_sum = sum64(row.ptr, row.len);
    /* What is applied while it goes on has seen the vector, or else it may not go at the end. */
    pass->clearing = row_clearing(row, group_gc_horizons(l->ks)->stable);
    pass->lost = UINT16_MAX;
    pass->slices = 0;
    pass->any = false;
    pass->waits = false;
}

void group_loaded_collect_part(struct loaded *l, const struct keytab_ref *ref,
                               const struct flight *f)
{
    struct row_horizons h = *group_gc_horizons(l->ks);
    struct group_pass *pass = group_gc_pass(l->ks, &l->key);
    const struct bytes row = buf_bytes(&l->key_row);
    const int lost = lost_types(l, &h);
    struct sweep s;

    /* It may have been hot meanwhile: then a pass begins anew. */
    if (pass == NULL || lost < 0 || (f->resumed && pass->resume.len == 0))
        return;
    if (!f->resumed)
        pass_begin(pass, l);
    sweep_rows(&s, l, &h, (uint16_t)lost);
    group_account(l->ks);
    pass->slices++;
    pass->lost &= (uint16_t)lost;
    pass->any |= s.any || pass->key_sum != sum64(row.ptr, row.len);
    pass->waits |= s.waits;
    buf_clear(&pass->resume);
    if (!f->end) {
        if (buf_append_bytes(&pass->resume, buf_bytes(&f->resume)) == 0)
            group_gc_again(l->ks, &l->key);
        return;
    }
    h.swept = !pass->any && !pass->clearing && !elems_wait(l);
    h.swept_types = h.swept ? pass->lost : 0;
    collect_key_row(l, ref, &h, pass->waits ? pass->slices : 0);
    group_account(l->ks);
}
