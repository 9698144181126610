/*
 * Two full rows of members that have not seen the same, made one.
 *
 * Full rows have no contexts: what a SET or DEL has removed is not in them, and nothing in the row
 * says that it ever was. What each side has seen says it instead (the absence rule of sets without
 * tombstones): an item that only one side has, and that the other has seen, was removed there. One
 * that the other has not seen is new to it. This works part by part, since each part of a state is
 * a set of items with tags; what remains is joined as ever.
 *
 * Three parts need more than that:
 *
 *     floors, clear    have to stay until all members have seen what made them: they are joined,
 * and collected as ever. The one who collected them knew that both sides have seen it; so the rest
 * of the row is right without them, and with them exps             collecting gives a setting that
 * is alone the tag of its value (row_collect.c). A setting of the same length beside one with the
 * tag of their target is the same setting count            was counted at a position of one
 * member's log, and is left out
 *
 * Chunks of strings are not taken away while their generation lives, and those of a dead one do not
 * show: they are joined, but for rows that only one has and the other has seen whole.
 */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"

static bool has_sib(const struct row_state *s, struct tag tag)
{
    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (tag_eq(s->sibs[i].tag, tag))
            return true;
    }
    return false;
}

static bool has_run(const struct row_state *s, uint8_t origin)
{
    for (unsigned i = 0; i < s->runs_count; i++) {
        if (s->runs[i].origin == origin)
            return true;
    }
    return false;
}

static bool has_type(const struct row_state *s, const struct row_type *type)
{
    for (unsigned i = 0; i < s->types_count; i++) {
        if (s->types[i].type == type->type && tag_eq(s->types[i].tag, type->tag))
            return true;
    }
    return false;
}

static bool same_group(const struct row_exp *a, const struct row_exp *b)
{
    return a->type == b->type && tag_eq(a->target, b->target);
}

static bool has_targets_tag(const struct row_exp *exp)
{
    return tag_eq(exp->etag, exp->target);
}

/*
 * Whether a setting that the other side has seen is still in force there: the same one, or one that
 * was given the tag of its target since. Of the two the one with that tag stays, on either side.
 */
static bool has_exp(const struct row_state *other, const struct row_exp *exp, const struct vv *mine)
{
    for (unsigned i = 0; i < other->exps_count; i++) {
        const struct row_exp *o = &other->exps[i];

        if (!same_group(o, exp) || o->at_ms != exp->at_ms)
            continue;
        if (tag_eq(o->etag, exp->etag) || (has_targets_tag(exp) && vv_covers(mine, o->etag)))
            return true;
    }
    return false;
}

/* What one side keeps of its expiry settings; `out` gets them. */
static unsigned keep_exps(const struct row_state *s, const struct vv *seen,
                          const struct row_state *other, const struct vv *other_seen,
                          struct row_exp *out)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->exps_count; i++) {
        const struct row_exp *exp = &s->exps[i];

        if (!vv_covers(other_seen, exp->etag) || has_exp(other, exp, seen))
            out[kept++] = *exp;
    }
    return kept;
}

/* Takes away what the other side has seen and does not have. */
static void drop_removed(struct row_state *s, const struct row_state *other,
                         const struct vv *other_seen)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (!vv_covers(other_seen, s->sibs[i].tag) || has_sib(other, s->sibs[i].tag))
            s->sibs[kept++] = s->sibs[i];
    }
    s->sibs_count = kept;
    kept = 0;
    for (unsigned i = 0; i < s->runs_count; i++) {
        const struct row_run *run = &s->runs[i];

        if (!vv_covers(other_seen, tag_of(run->hlc, run->origin)) || has_run(other, run->origin))
            s->runs[kept++] = *run;
    }
    s->runs_count = kept;
    kept = 0;
    for (unsigned i = 0; i < s->types_count; i++) {
        if (!vv_covers(other_seen, s->types[i].tag) || has_type(other, &s->types[i]))
            s->types[kept++] = s->types[i];
    }
    s->types_count = kept;
}

struct work {
    struct row_state a;
    struct row_state b;
    struct row_exp exps[2][ROW_EXPS_MAX];
};

static int open_state(struct bytes row, struct row_state *out)
{
    const int err = row_decode(row, out);

    if (err != 0 || out->poison != 0)
        return err;
    row_state_settle(out);
    out->count = out->count_lsn = 0;
    return 0;
}

static int reconcile(struct work *w, const struct row_seen_by *a, const struct row_seen_by *b,
                     struct buf *out)
{
    int err = open_state(a->row, &w->a);

    if (err == 0)
        err = open_state(b->row, &w->b);
    if (err != 0)
        return err;
    const unsigned exps_a = keep_exps(&w->a, a->seen, &w->b, b->seen, w->exps[0]);
    const unsigned exps_b = keep_exps(&w->b, b->seen, &w->a, a->seen, w->exps[1]);

    /* What goes from `a` is not in `b`, and so does not matter for what goes from that. */
    drop_removed(&w->a, &w->b, b->seen);
    drop_removed(&w->b, &w->a, a->seen);
    memcpy(w->a.exps, w->exps[0], exps_a * sizeof(w->a.exps[0]));
    memcpy(w->b.exps, w->exps[1], exps_b * sizeof(w->b.exps[0]));
    w->a.exps_count = exps_a;
    w->b.exps_count = exps_b;
    err = row_state_join(&w->a, &w->b);
    if (err != 0)
        return err;
    row_state_settle(&w->a);
    return row_encode(&w->a, out);
}

static bool is_dead(struct bytes row)
{
    return row.len == 0 || (row.len == 1 && row.ptr[0] == ROW_DEAD);
}

/* A chunk that only one side has. */
static int take_chunk(struct bytes row, const struct vv *other_seen, struct buf *out)
{
    if (row_chunk_covered(row, other_seen))
        return buf_append_u8(out, ROW_DEAD);
    return buf_append_bytes(out, row);
}

int row_reconcile(const struct row_seen_by *a, const struct row_seen_by *b, struct buf *out)
{
    const size_t len = out->len;

    if (row_is_chunk(a->row) || row_is_chunk(b->row)) {
        if (is_dead(b->row))
            return take_chunk(a->row, b->seen, out);
        if (is_dead(a->row))
            return take_chunk(b->row, a->seen, out);
        return row_merge(a->row, b->row, out);
    }
    struct work *w = mem_alloc(sizeof(*w));
    const int err = reconcile(w, a, b, out);
    mem_free(w);
    if (err != 0)
        buf_truncate(out, len);
    return err;
}
