/*
 * What the ops of a batch say of a key row: for the write path of a member of a group, which makes
 * key rows again when an op was voided or patched (mut_group.c).
 *
 * A key row is what it was before the batch, joined with the operands of the key's living ops. At
 * most one of these gives the key its value, and one its expiry; both are found by their names. Ops
 * on chunks and removals of elements say nothing of it. Ops that set or increment elements do, and
 * there may be any number of them: their operands are kept joined, one row a key (struct says), so
 * that making a key row again costs the same however many ops there are.
 *
 *     set or increment     of an element says that the key is a collection of the type: all of
 *                          one type say the same, so the first is joined, the others are counted.
 *                          In a list it also says how far positions were used: each is joined
 *     taken back           by a removal in the same batch: counted down. With the last one of its
 *                          type, or any one of a list, the row is stale, and made anew of the
 *                          living ones when it is wanted next
 *     SET or DEL of the key voids them all, and what they said is forgotten
 *
 * A batch in which no key row is made again pays nothing: ops are looked at when the first one is,
 * each once (mut_group.said).
 */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/group.h"
#include "engine/value/rowkey.h"

#include "replication/mut_group_impl.h"

/* Ends the expansion of an op: what follows is of no interest. */
#define STOP 1

/* Of one key. */
struct says {
    uint32_t count[VT_END]; /* Living ops that set elements, by type. */
    uint32_t last;          /* Index + 1 of the last such op; m->group->said_before has others. */
    bool stale;
    struct buf row;
};

void mut_group_says_clear(struct mut_group *g)
{
    for (uint32_t i = 0; i < g->says_count; i++)
        buf_deinit(&g->says[i].row);
    mem_free(g->says);
    g->says = NULL;
    g->says_count = 0;
    g->says_cap = 0;
    buf_deinit(&g->said_before);
    g->said = 0;
}

/* What is known of the key; NULL: nothing. */
static struct says *says_find(const struct mut_group *g, const struct before *key)
{
    return key->says == 0 ? NULL : &g->says[key->says - 1];
}

static struct says *says_get(struct mut_group *g, struct before *key)
{
    if (key->says != 0)
        return says_find(g, key);
    if (g->says_count == g->says_cap) {
        g->says_cap = g->says_cap == 0 ? 1 : 2 * g->says_cap;
        g->says = mem_realloc(g->says, g->says_cap * sizeof(*g->says));
    }
    struct says *s = &g->says[g->says_count++];
    *s = (struct says){0};
    buf_init(&s->row, UINT32_MAX);
    key->says = g->says_count;
    return s;
}

static bool sets_elem(const struct ref *r)
{
    return r->kind == OP_ELEM_SET || r->kind == OP_ELEM_INCR;
}

/* --- operands --- */

static int take_key(void *ctx, uint8_t kind, struct bytes sub, struct bytes operand)
{
    struct buf *out = ctx;

    (void)sub;
    if (kind != ROWKEY_KIND_KEY)
        return 0;
    CHECK(buf_append_bytes(out, operand) == 0);
    return STOP;
}

/* What the op says of the key row, in g->operand; empty: nothing. */
static struct bytes operand_of(struct mut *m, const struct op *op)
{
    struct mut_group *g = m->group;

    buf_clear(&g->operand);
    const int err = op_expand(op, &g->batch, 0, take_key, &g->operand, &g->expanded);
    CHECK(err == 0 || err == STOP);
    return buf_bytes(&g->operand);
}

static void join_elem(struct mut *m, struct says *s, const struct op *op)
{
    struct mut_group *g = m->group;
    const struct bytes both[2] = {buf_bytes(&s->row), operand_of(m, op)};

    if (s->row.len == 0) {
        CHECK(buf_append_bytes(&s->row, both[1]) == 0);
        return;
    }
    buf_clear(&g->joined);
    CHECK(row_merge_partial(both, 2, &g->joined) == 0);
    buf_clear(&s->row);
    CHECK(buf_append_bytes(&s->row, buf_bytes(&g->joined)) == 0);
}

/* --- elements --- */

static void note(struct mut *m, struct says *s, const struct ref *r)
{
    struct op op;

    mut_group_op(m, r, &op);
    CHECK(op.type < VT_END);
    if (s->count[op.type]++ == 0 || op.type == VT_LIST)
        join_elem(m, s, &op);
}

static uint32_t *said_before(const struct mut_group *g, uint32_t index)
{
    return (uint32_t *)(void *)g->said_before.ptr + index;
}

/* Looks at the ops that came since the last time. */
static void note_new(struct mut *m)
{
    struct mut_group *g = m->group;
    const size_t len = m->nops * sizeof(uint32_t);

    CHECK(buf_reserve(&g->said_before, len - g->said_before.len) == 0);
    buf_commit(&g->said_before, len - g->said_before.len);
    for (; g->said < m->nops; g->said++) {
        const struct ref *r = &m->refs[g->said];
        if (!sets_elem(r))
            continue;
        struct says *s = says_get(g, mut_group_before_of(g, r->key));
        *said_before(g, g->said) = s->last;
        s->last = g->said + 1;
        note(m, s, r);
    }
}

/* All of it from the living ops, which are all that are walked the next time. */
static void note_again(struct mut *m, struct says *s)
{
    struct mut_group *g = m->group;
    uint32_t *link = &s->last;

    for (unsigned i = 0; i < VT_END; i++)
        s->count[i] = 0;
    buf_clear(&s->row);
    s->stale = false;
    while (*link != 0) {
        const uint32_t index = *link - 1;
        if (!sets_elem(&m->refs[index])) {
            *link = *said_before(g, index);
            continue;
        }
        note(m, s, &m->refs[index]);
        link = said_before(g, index);
    }
}

void mut_group_says_void(struct mut *m, const struct ref *r, bool taken_back)
{
    struct mut_group *g = m->group;
    struct op op;

    if ((uint32_t)(r - m->refs) >= g->said || !sets_elem(r))
        return;
    struct says *s = says_find(g, mut_group_before_of(g, r->key));
    CHECK(s != NULL);
    mut_group_op(m, r, &op);
    s->count[op.type]--;
    s->stale |= taken_back && (op.type == VT_LIST || s->count[op.type] == 0);
}

void mut_group_says_forget(struct mut_group *g, const struct before *key)
{
    struct says *s = says_find(g, key);

    if (s == NULL)
        return;
    buf_clear(&s->row);
    for (unsigned i = 0; i < VT_END; i++)
        s->count[i] = 0;
    s->last = 0;
    s->stale = false;
}

/* --- the key row --- */

/* `row` joined with what the op says, in `out`, which is not where `row` is. */
static struct bytes join_op(struct mut *m, struct buf *out, struct bytes row, const struct ref *r)
{
    struct op op;

    if (r == NULL)
        return row;
    mut_group_op(m, r, &op);
    const struct bytes operand = operand_of(m, &op);
    return operand.len == 0 ? row : mut_group_join(out, row, operand);
}

void mut_group_make_key_again(struct mut *m, const struct ks_key *key)
{
    struct mut_group *g = m->group;

    mut_begin_op(m); /* All ops are to be found by their names. */
    note_new(m);
    struct before *b = mut_group_key_before(m, key);
    struct says *s = says_find(g, b);
    struct bytes row = mut_group_row_before(g, b);

    if (s != NULL && s->stale)
        note_again(m, s);
    if (s != NULL && s->row.len != 0)
        row = mut_group_join(&g->key_row, row, buf_bytes(&s->row));
    row = join_op(m, &g->base, row, mut_ref_find(m, mut_name_of_value(key)));
    row = join_op(m, &g->joined, row, mut_ref_find(m, mut_name_of_expiry(key)));
    ks_group_set_key(m->options.ks, key, row, m->lsn);
}
