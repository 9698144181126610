/*
 * Local writes of a member of a group.
 *
 * A write is an op and nothing else: what it does to rows here is what op_expand says, as at every
 * peer, joined to the full rows that are in DRAM. So the batch under way is always (rows before the
 * batch) joined with (its living ops). When a later op of the batch takes the place of an earlier
 * one, which is voided, the rows that it touched are made again from there: both ops would have the
 * same tag, and the join could not tell them apart.
 *
 *     SET, DEL      void all ops of the key: made from the key row as it was before the batch; no
 *                   element is left, nor what voided removals of elements had seen of counters
 *     element ops   void the op of the same element: made from its row as it was before the batch,
 *                   or nothing, if the key was written as a whole since
 *     INCR, EXPIRE  void their like: the key row is made from what it was and the living ops of the
 *                   key (mut_group_says.c). The same when a batch takes back an element that it has
 *                   added, since the element had asserted the type of the key
 *
 * Rows as they were are kept in a small table, by the names that the ops have (mutate.c).
 *
 * What an op must know of the state that it changes comes from the rows before the batch, too:
 * `seen`, how far the counters had come, and OP_COVER, that the key was absent.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/flush.h"
#include "engine/space/group.h"
#include "engine/space/strval.h"
#include "engine/value/rowkey.h"

#include "replication/mut_group_impl.h"

#define BEFORE_CAP_MIN 64u
#define KEEP_BYTES     (256u << 10)

void mut_group_create(struct mut *m)
{
    struct mut_group *g = mem_zalloc(sizeof(*g));

    m->group = g;
    buf_init(&g->rows, SIZE_MAX); /* At most what is resident: a part of maxmemory. */
    buf_init(&g->seen, UINT32_MAX);
    buf_init(&g->expanded, UINT32_MAX);
    buf_init(&g->joined, UINT32_MAX);
    buf_init(&g->base, UINT32_MAX);
    buf_init(&g->operand, UINT32_MAX);
    buf_init(&g->text, UINT32_MAX);
    buf_init(&g->name, UINT32_MAX);
    buf_init(&g->key_row, UINT32_MAX);
    buf_init(&g->said_before, UINT32_MAX);
    g->before_cap = BEFORE_CAP_MIN;
    g->before = mem_zalloc_array(g->before_cap, sizeof(*g->before));
}

void mut_group_destroy(struct mut *m)
{
    struct mut_group *g = m->group;

    if (g == NULL)
        return;
    buf_deinit(&g->rows);
    buf_deinit(&g->name);
    buf_deinit(&g->seen);
    buf_deinit(&g->expanded);
    buf_deinit(&g->joined);
    buf_deinit(&g->base);
    buf_deinit(&g->operand);
    buf_deinit(&g->text);
    buf_deinit(&g->key_row);
    mut_group_says_clear(g);
    mem_free(g->before);
    mem_free(g);
}

size_t mut_group_open(struct mut *m, uint8_t *dst)
{
    struct mut_group *g = m->group;
    struct batch *b = &g->batch;
    const uint8_t own = m->options.origin;

    g->number++;
    g->before_count = 0;
    g->order = 0;
    buf_clear(&g->rows);
    b->origin = own;
    b->hlc = m->tag.hlc;
    b->seq = m->seq + 1;
    vv_init(&b->ctx);
    for (unsigned i = 0; i < m->vv.count; i++) {
        if (m->vv.origin[i] != own)
            CHECK(vv_raise(&b->ctx, tag_of(m->vv.hlc[i], m->vv.origin[i])) == 0);
    }
    b->has_ctx = !vv_empty(&b->ctx);
    b->flush = m->flush;
    const size_t len =
        batch_header_store_flush(dst, m->tag, m->seq + 1, 0, m->flush, b->has_ctx ? &b->ctx : NULL);
    CHECK(vv_raise(&b->ctx, tag_of(m->tag.hlc - 1, own)) == 0);
    return len;
}

/* What a large batch leaves. */
static void give_back(struct buf *buf)
{
    if (buf->cap > KEEP_BYTES)
        buf_deinit(buf);
}

void mut_group_logged(struct mut *m)
{
    const struct mut_options *o = &m->options;

    if (unlikely(m->group->said != 0))
        mut_group_says_clear(m->group);
    CHECK(vv_raise(&m->seqs, tag_of(m->seq, o->origin)) == 0);
    ks_flush_seqs(o->ks, &m->seqs);
    if (o->on_logged != NULL)
        o->on_logged(o->ctx, m->lsn, &m->group->batch, buf_bytes(&m->batch));
    give_back(&m->group->rows);
    give_back(&m->group->text);
}

/* --- rows before the batch --- */

static struct before *place(const struct mut_group *g, uint64_t name)
{
    uint32_t i = (uint32_t)(name >> 20) & (g->before_cap - 1);

    while (g->before[i].batch == g->number && g->before[i].name != name)
        i = (i + 1) & (g->before_cap - 1);
    return &g->before[i];
}

static void grow(struct mut_group *g)
{
    struct before *old = g->before;
    const uint32_t cap = g->before_cap;

    g->before_cap = cap * 2;
    g->before = mem_zalloc_array(g->before_cap, sizeof(*g->before));
    for (uint32_t i = 0; i < cap; i++) {
        if (old[i].batch == g->number)
            *place(g, old[i].name) = old[i];
    }
    mem_free(old);
}

/* `row` is what it is now; kept if it is the first time that the batch touches it. */
static struct before *keep(struct mut_group *g, uint64_t name, struct bytes row, bool *out_first)
{
    struct before *b = place(g, name);

    *out_first = b->batch != g->number;
    if (!*out_first)
        return b;
    if (g->before_count + 1 > g->before_cap / 2) {
        grow(g);
        b = place(g, name);
    }
    g->before_count++;
    *b = (struct before){.name = name,
                         .batch = g->number,
                         .order = ++g->order,
                         .at = g->rows.len,
                         .len = (uint32_t)row.len & (UINT32_MAX >> 1)};
    CHECK(buf_append_bytes(&g->rows, row) == 0);
    return b;
}

struct before *mut_group_before_of(const struct mut_group *g, uint64_t name)
{
    struct before *b = place(g, name);

    CHECK(b->batch == g->number);
    return b;
}

struct bytes mut_group_row_before(const struct mut_group *g, const struct before *b)
{
    /* With no row kept yet the buffer has no memory to point into. */
    return b->len == 0 ? bytes_of(NULL, 0) : bytes_of(g->rows.ptr + b->at, b->len);
}

/* The key as it was before the batch. Valid until the next row is kept. */
struct before *mut_group_key_before(struct mut *m, const struct ks_key *key)
{
    bool first;
    struct before *b =
        keep(m->group, mut_group_of(key), ks_group_key_row(m->options.ks, key), &first);

    if (first)
        b->absent = ks_is_absent(m->options.ks, key, m->now_ms);
    return b;
}

/* The element's row before the batch, or since its key was written as a whole. */
struct bytes mut_group_elem_before(struct mut *m, const struct ks_key *key, const struct coll *coll,
                                   struct bytes sub)
{
    struct mut_group *g = m->group;
    bool first;

    (void)mut_group_key_before(m, key);
    const struct before *b =
        keep(g, mut_name_of_elem(key, sub), ks_group_elem_row(coll, sub), &first);
    const struct before *k = place(g, mut_group_of(key));
    return k->absent || b->order < k->wiped ? bytes_of(NULL, 0) : mut_group_row_before(g, b);
}

struct bytes mut_group_seen(struct mut_group *g, struct bytes row)
{
    buf_clear(&g->seen);
    CHECK(row_seen(row, &g->seen) == 0);
    return buf_bytes(&g->seen);
}

/* --- joining --- */

struct bytes mut_group_join(struct buf *out, struct bytes row, struct bytes operand)
{
    buf_clear(out);
    /* Rows that are hot are sound, and a group has few origins. */
    CHECK(row_merge_fold(row, &operand, 1, out) == 0);
    return buf_bytes(out);
}

struct make {
    struct mut_group *g;
    const struct ks_key *key;
    struct keyspace *ks;
    struct bytes base;
    uint64_t lsn;
    bool whole; /* Of a SET or DEL. */
    bool key_done;
};

/* The key row from `base`; the operands of elements (of a long SET) go where they belong. */
static int make_whole(void *ctx, uint8_t kind, struct bytes sub, struct bytes operand)
{
    struct make *k = ctx;

    if (kind == ROWKEY_KIND_KEY) {
        ks_group_set_key(k->ks, k->key, mut_group_join(&k->g->joined, k->base, operand), k->lsn);
        return 0;
    }
    struct coll *coll = ks_peek_coll(k->ks, k->key);
    CHECK(coll != NULL);
    ks_group_set_elem(k->ks, coll, sub, mut_group_join(&k->g->joined, bytes_of(NULL, 0), operand),
                      k->lsn);
    return 0;
}

/* The key row of an element op, or of INCR or EXPIRE, joined to `base`; the element's is kept. */
static int make_part(void *ctx, uint8_t kind, struct bytes sub, struct bytes operand)
{
    struct make *k = ctx;

    (void)sub;
    if (kind == ROWKEY_KIND_KEY) {
        k->key_done = true;
        buf_clear(&k->g->base);
        CHECK(row_merge_fold(k->base, &operand, 1, &k->g->base) == 0);
        return 0;
    }
    buf_clear(&k->g->operand);
    return buf_append_bytes(&k->g->operand, operand);
}

static struct make make_of(struct mut *m, const struct ks_key *key, struct bytes base)
{
    return (struct make){
        .g = m->group, .key = key, .ks = m->options.ks, .base = base, .lsn = m->lsn};
}

/* The op in the batch that a ref stands for; its slices borrow from the batch. */
void mut_group_op(const struct mut *m, const struct ref *r, struct op *out)
{
    struct batch b = m->group->batch;

    b.nops = 2; /* More than is read: the end is not looked at. */
    b.nops_read = 0;
    b.ops = bytes_from(buf_bytes(&m->batch), r->at);
    CHECK(batch_next(&b, out) == BATCH_OP);
}

struct bytes mut_group_operand(struct mut *m, const struct ks_key *key, const struct op *op)
{
    struct mut_group *g = m->group;
    struct make k = make_of(m, key, bytes_of(NULL, 0));

    buf_clear(&g->operand);
    CHECK(op_expand(op, &g->batch, 0, make_part, &k, &g->expanded) == 0 && !k.key_done);
    return buf_bytes(&g->operand);
}

/* Joins an op's operand to the key row as it is. */
void mut_group_make_key(struct mut *m, const struct ks_key *key, const struct op *op)
{
    struct mut_group *g = m->group;
    struct make k = make_of(m, key, ks_group_key_row(m->options.ks, key));

    CHECK(op_expand(op, &g->batch, 0, make_part, &k, &g->expanded) == 0);
    if (k.key_done)
        ks_group_set_key(m->options.ks, key, buf_bytes(&g->base), m->lsn);
}

bool mut_group_void(struct mut *m, uint64_t name, uint8_t kind)
{
    struct ref *r = m->nops == 0 ? NULL : mut_ref_find(m, name);

    if (r == NULL || r->kind != kind)
        return false;
    mut_ref_void(m, r);
    return true;
}

/* --- keys --- */

/*
 * The key is written as a whole. Removals of elements in this batch are never shipped then: the
 * floors that they have made here no other member will have.
 */
static void void_all(struct mut *m, const struct ks_key *key)
{
    const uint64_t group = mut_group_of(key);

    for (struct ref *r = mut_ref_last(m, group); r != NULL; r = mut_ref_prev(m, r)) {
        struct op op;
        if (r->kind != OP_ELEM_DEL)
            continue;
        mut_group_op(m, r, &op);
        ks_group_drop_elem(m->options.ks, key, op.type, op.sub, m->lsn);
    }
    mut_group_says_forget(m->group, mut_group_before_of(m->group, group));
    mut_void_key(m, group);
}

/*
 * A long SET that takes the place of a longer one of the same batch has its tag, and so its
 * generation: what that had behind the end would show when the string is made longer again.
 */
static void drop_behind(struct mut *m, const struct ks_key *key, uint32_t chunks)
{
    struct coll *coll = ks_peek_coll(m->options.ks, key);
    uint8_t sub[ROW_CHUNK_SUB_BYTES];

    if (likely(coll == NULL || coll->type != VT_STRING))
        return;
    for (uint32_t i = chunks; (i = chunks_next(&coll->chunks, i)) != CHUNKS_NO_INDEX; i++) {
        be32_store(sub, i);
        ks_group_set_elem(m->options.ks, coll, bytes_of(sub, sizeof(sub)), bytes_of(NULL, 0),
                          m->lsn);
    }
}

/* SET and DEL, logged as `op`, which gets what it has seen. */
static void write_whole(struct mut *m, const struct ks_key *key, struct op *op)
{
    struct mut_group *g = m->group;

    mut_begin_op(m);
    struct before *b = mut_group_key_before(m, key);
    op->key = key->name;
    op->seen = mut_group_seen(g, mut_group_row_before(g, b));
    if (op->kind == OP_SET && b->absent)
        op->flags |= OP_COVER;
    if (m->nops != 0)
        void_all(m, key);
    mut_append(m, op, mut_group_of(key), mut_name_of_value(key));
    struct make k = make_of(m, key, mut_group_row_before(g, b));
    CHECK(op_expand(op, &g->batch, 0, make_whole, &k, &g->expanded) == 0);
    if (m->nops > 1 && op->value.len > ROW_INLINE_BYTES_MAX)
        drop_behind(m, key, chunks_count(op->value.len));
    b->wiped = ++g->order;
    mut_changed(m, key);
}

void mut_group_set(struct mut *m, const struct ks_key *key, struct bytes value,
                   uint64_t expire_at_ms)
{
    struct op op = {.kind = OP_SET, .value = value, .expire_at_ms = expire_at_ms};

    if (value.len > ROW_INLINE_BYTES_MAX)
        op.flags = OP_SHARED_TIME;
    write_whole(m, key, &op);
}

void mut_group_del(struct mut *m, const struct ks_key *key)
{
    struct op op = {.kind = OP_DEL};

    write_whole(m, key, &op);
}

bool mut_group_expired(struct mut *m, const struct ks_key *key)
{
    return ks_group_collect_key(m->options.ks, key);
}

/* The value that the batch has given the string, changed, as a SET. */
static void set_again(struct mut *m, const struct ks_key *key, struct bytes text,
                      uint64_t expire_at_ms)
{
    struct mut_group *g = m->group;

    buf_clear(&g->text);
    CHECK(buf_append_bytes(&g->text, text) == 0);
    mut_group_set(m, key, buf_bytes(&g->text), expire_at_ms);
}

uint8_t mut_group_kind_of_value(struct mut *m, const struct ks_key *key)
{
    const struct ref *r = m->nops == 0 ? NULL : mut_ref_find(m, mut_name_of_value(key));

    return r == NULL ? (uint8_t)OP_VOID : r->kind;
}

/* All of a string, if there is one, into g->text. */
void mut_group_text(struct mut *m, const struct obj *obj)
{
    struct buf *out = &m->group->text;
    struct row_view view;
    char text[ROW_TEXT_BYTES];

    buf_clear(out);
    if (obj == NULL)
        return;
    if (obj_is_chunked(obj)) {
        const uint64_t len = strval_len(obj);
        CHECK(buf_reserve(out, len) == 0);
        strval_copy(obj_coll(obj), 0, buf_end(out), len);
        buf_commit(out, len);
        return;
    }
    CHECK(row_view(obj_row(obj), m->now_ms, &view) == 0);
    CHECK(buf_append_bytes(out, row_text(&view, text)) == 0);
}

/* Logs `op` in place of the batch's EXPIRE of the key. */
static void log_expire(struct mut *m, const struct ks_key *key, const struct op *op)
{
    mut_begin_op(m);
    (void)mut_group_key_before(m, key);
    const bool again = mut_group_void(m, mut_name_of_expiry(key), OP_EXPIRE);
    mut_append(m, op, mut_group_of(key), mut_name_of_expiry(key));
    if (again)
        mut_group_make_key_again(m, key);
    else
        mut_group_make_key(m, key, op);
    mut_changed(m, key);
}

void mut_group_expire_string(struct mut *m, const struct ks_key *key, struct tag generation,
                             uint64_t expire_at_ms)
{
    const struct op op = {.kind = OP_EXPIRE,
                          .key = key->name,
                          .expire_at_ms = expire_at_ms,
                          .target_type = VT_CHUNKED,
                          .target = generation};

    log_expire(m, key, &op);
}

void mut_group_expire(struct mut *m, const struct ks_key *key, uint64_t expire_at_ms)
{
    struct obj *obj = ks_get(m->options.ks, key, m->now_ms);
    struct row_view view;

    CHECK(obj != NULL);
    mut_begin_op(m);
    (void)mut_group_key_before(m, key);
    const bool set = mut_group_kind_of_value(m, key) == OP_SET;
    if (set && obj_is_chunked(obj)) {
        const struct ref *r = mut_ref_find(m, mut_name_of_value(key));
        op_patch_expiry(m->batch.ptr + r->at, expire_at_ms);
        mut_group_make_key_again(m, key);
        mut_changed(m, key);
        return;
    }
    if (obj_is_chunked(obj)) {
        const struct tag generation = obj_coll(obj)->generation;
        if (mut_group_own_generation(m, key, obj_coll(obj))) {
            mut_group_expire_string(m, key, generation, expire_at_ms);
            return;
        }
    }
    if (set) {
        /* No copy: the text is made from the object. */
        mut_group_text(m, obj);
        mut_group_set(m, key, buf_bytes(&m->group->text), expire_at_ms);
        return;
    }
    CHECK(row_view(obj_row(obj), m->now_ms, &view) == 0);
    const struct op op = {.kind = OP_EXPIRE,
                          .key = key->name,
                          .expire_at_ms = expire_at_ms,
                          .target_type = view.target_type,
                          .target = view.target};
    log_expire(m, key, &op);
}

/* The row that an increment builds on. False: it is no number's. */
static bool number_row(struct mut *m, const struct ks_key *key, struct bytes *out)
{
    struct obj *obj = NULL;
    bool expired;
    struct row_view view;

    if (ks_find(m->options.ks, key, m->now_ms, &obj, &expired) == KS_HOT &&
        (obj->h.flags & BLK_COLL) != 0)
        return false;
    *out = ks_group_key_row(m->options.ks, key);
    if (row_view(*out, m->now_ms, &view) == 0 && view.type > VT_STRING)
        *out = bytes_of(NULL, 0); /* A collection that is not there any more. */
    return true;
}

/*
 * The batch has set an expiry: takes that op out, to be logged again behind the increment that it
 * is an expiry of. A peer drops an expiry of what is not there.
 */
static bool take_expire(struct mut *m, const struct ks_key *key, struct op *out)
{
    struct ref *r = mut_ref_find(m, mut_name_of_expiry(key));

    if (r == NULL || r->kind != OP_EXPIRE)
        return false;
    mut_group_op(m, r, out);
    out->key = key->name;
    mut_ref_void(m, r);
    return true;
}

static void finish_incr(struct mut *m, const struct ks_key *key, const struct row_incr *incr,
                        struct bytes text)
{
    struct mut_group *g = m->group;
    struct before *b = mut_group_key_before(m, key);
    struct row_view view;
    const uint8_t kind = mut_group_kind_of_value(m, key);
    const bool coll =
        row_view(mut_group_row_before(g, b), m->now_ms, &view) == 0 && view.type > VT_STRING;

    /* One tag cannot name a value, or the end of one, and an increment of it. */
    if (kind == OP_SET || kind == OP_DEL || (b->absent && coll)) {
        const struct obj *obj = ks_peek(m->options.ks, key, m->now_ms);
        set_again(m, key, text, obj == NULL ? 0 : ks_expire_at(obj));
        return;
    }
    struct op op = {.kind = OP_INCR,
                    .key = key->name,
                    .start = incr->start,
                    .isum = incr->isum,
                    .fsum = incr->fsum};
    if (b->absent) {
        op.flags = OP_COVER;
        op.seen = mut_group_seen(g, mut_group_row_before(g, b));
    }
    struct op expire;
    const bool again = mut_group_void(m, mut_name_of_value(key), OP_INCR);
    const bool expires = again && take_expire(m, key, &expire);
    mut_append(m, &op, mut_group_of(key), mut_name_of_value(key));
    if (expires)
        mut_append(m, &expire, mut_group_of(key), mut_name_of_expiry(key));
    if (again)
        mut_group_make_key_again(m, key);
    else
        mut_group_make_key(m, key, &op);
    mut_changed(m, key);
}

int mut_group_incr(struct mut *m, const struct ks_key *key, int64_t delta, int64_t *out)
{
    char text[NUM_I64_BYTES];
    struct row_incr incr;
    struct bytes row;

    if (!number_row(m, key, &row))
        return -ERR_FORMAT;
    mut_begin_op(m);
    buf_clear(&m->row);
    const int err = row_incr_int(row, m->now_ms, delta, m->tag, &m->row, &incr);
    if (err != 0)
        return err;
    *out = incr.visible;
    finish_incr(m, key, &incr, bytes_of(text, num_print_i64(text, incr.visible)));
    return 0;
}

int mut_group_incr_float(struct mut *m, const struct ks_key *key, long double delta,
                         long double *out)
{
    char text[ROW_TEXT_BYTES];
    struct row_incr incr;
    struct bytes row;

    if (!number_row(m, key, &row))
        return -ERR_FORMAT;
    mut_begin_op(m);
    buf_clear(&m->row);
    const int err = row_incr_float(row, m->now_ms, delta, m->tag, &m->row, &incr);
    if (err != 0)
        return err;
    *out = incr.visible_float;
    finish_incr(m, key, &incr, bytes_of(text, num_print_ldouble(text, incr.visible_float)));
    return 0;
}

/* --- elements --- */

struct coll *mut_group_coll(struct mut *m, const struct ks_key *key, uint8_t type)
{
    struct obj *obj = NULL;
    bool expired = false;
    const enum ks_where where = ks_find(m->options.ks, key, m->now_ms, &obj, &expired);

    if (where == KS_HOT)
        return obj->h.type == type ? obj_coll(obj) : NULL;
    CHECK(where == KS_ABSENT);
    /* What has expired must not show through, and counters that were seen not count again; of a
     * cold key nothing but its key row is here. */
    if (expired || ks_group_is_cold(m->options.ks, key) ||
        !bytes_empty(mut_group_seen(m->group, ks_group_key_row(m->options.ks, key))))
        mut_group_del(m, key);
    mut_begin_op(m);
    return ks_group_coll(m->options.ks, key, type, m->now_ms, m->lsn);
}

/* Its key, with a name that outlives it: until the next call for another key. */
static struct ks_key key_kept(struct mut_group *g, const struct coll *coll)
{
    struct ks_key key = ks_key_of_coll(coll);

    buf_clear(&g->name);
    CHECK(buf_append_bytes(&g->name, key.name) == 0);
    key.name = buf_bytes(&g->name);
    return key;
}

/* Logs an element op and applies it. Of an OP_ELEM_DEL the collection may be gone then. */
static void write_elem(struct mut *m, struct coll *coll, struct op *op)
{
    struct mut_group *g = m->group;
    const struct ks_key key = key_kept(g, coll);
    const struct bytes before = mut_group_elem_before(m, &key, coll, op->sub);
    const uint64_t name = mut_name_of_elem(&key, op->sub);
    struct ref *r = m->nops == 0 ? NULL : mut_ref_find(m, name);
    const bool again = r != NULL;
    const bool takes_back = again && op->kind == OP_ELEM_DEL && r->kind != OP_ELEM_DEL;

    op->type = coll->type;
    op->key = key.name;
    if (op->kind != OP_ELEM_DEL && place(g, mut_group_of(&key))->absent)
        op->flags = OP_COVER;
    if (op->kind != OP_ELEM_INCR)
        op->seen = mut_group_seen(g, before);
    if (again) {
        mut_group_says_void(m, r, takes_back);
        mut_ref_void(m, r);
    }
    mut_append(m, op, mut_group_of(&key), name);
    struct make k = make_of(m, &key, ks_group_key_row(m->options.ks, &key));
    CHECK(op_expand(op, &g->batch, 0, make_part, &k, &g->expanded) == 0);
    if (k.key_done)
        ks_group_set_key(m->options.ks, &key, buf_bytes(&g->base), m->lsn);
    const struct bytes base = again ? before : ks_group_elem_row(coll, op->sub);
    ks_group_set_elem(m->options.ks, coll, op->sub,
                      mut_group_join(&g->joined, base, buf_bytes(&g->operand)), m->lsn);
    if (takes_back)
        mut_group_make_key_again(m, &key);
    mut_changed(m, &key);
}

bool mut_group_elem_set(struct mut *m, struct coll *coll, struct bytes sub, struct bytes value)
{
    struct op op = {.kind = OP_ELEM_SET, .sub = sub, .value = value};
    const uint64_t count = coll->count;

    mut_begin_op(m);
    write_elem(m, coll, &op);
    return coll->count != count;
}

/*
 * The last element goes, and the key with it: what nobody has added since is to be gone everywhere,
 * so that an empty collection does not stand before a string set at the same time.
 */
static bool drop_if_empty(struct mut *m, const struct ks_key *key)
{
    struct mut_group *g = m->group;
    const struct obj *obj = ks_get(m->options.ks, key, m->now_ms);

    /* Without an object it went with what had made it in this batch. */
    if (obj != NULL && (obj->h.flags & BLK_COLL) != 0 && obj_coll(obj)->count != 0)
        return true;
    struct before *b = mut_group_key_before(m, key);
    if (mut_group_kind_of_value(m, key) != OP_DEL) {
        const struct op op = {.kind = OP_DEL,
                              .key = key->name,
                              .seen = mut_group_seen(g, mut_group_row_before(g, b))};
        mut_begin_op(m);
        mut_append(m, &op, mut_group_of(key), mut_name_of_value(key));
    }
    /* What the batch makes anew has its tag, too: an expiry from before would find it. */
    (void)mut_group_void(m, mut_name_of_expiry(key), OP_EXPIRE);
    mut_group_make_key_again(m, key);
    place(g, mut_group_of(key))->wiped = ++g->order;
    return false;
}

bool mut_group_elem_del(struct mut *m, struct coll *coll, struct bytes sub)
{
    struct op op = {.kind = OP_ELEM_DEL, .sub = sub};
    const struct ks_key key = key_kept(m->group, coll);

    mut_begin_op(m);
    write_elem(m, coll, &op);
    return drop_if_empty(m, &key);
}

static void finish_elem_incr(struct mut *m, struct coll *coll, struct bytes sub,
                             const struct row_incr *incr, struct bytes value)
{
    const struct ks_key key = ks_key_of_coll(coll);
    const struct ref *r = m->nops == 0 ? NULL : mut_ref_find(m, mut_name_of_elem(&key, sub));
    struct op op = {.kind = OP_ELEM_INCR,
                    .sub = sub,
                    .start = incr->start,
                    .isum = incr->isum,
                    .fsum = incr->fsum};

    if (r != NULL && r->kind != OP_ELEM_INCR) {
        (void)mut_group_elem_set(m, coll, sub, value);
        return;
    }
    write_elem(m, coll, &op);
}

int mut_group_elem_incr(struct mut *m, struct coll *coll, struct bytes sub, int64_t delta,
                        int64_t *out)
{
    char text[NUM_I64_BYTES];
    struct row_incr incr;

    mut_begin_op(m);
    buf_clear(&m->row);
    const int err =
        row_incr_int(ks_group_elem_row(coll, sub), m->now_ms, delta, m->tag, &m->row, &incr);
    if (err != 0)
        return err;
    *out = incr.visible;
    finish_elem_incr(m, coll, sub, &incr, bytes_of(text, num_print_i64(text, incr.visible)));
    return 0;
}

int mut_group_elem_incr_float(struct mut *m, struct coll *coll, struct bytes sub, long double delta,
                              long double *out)
{
    char text[ROW_TEXT_BYTES];
    uint8_t score[ROW_SCORE_BYTES];
    struct row_incr incr;
    const struct bytes row = ks_group_elem_row(coll, sub);

    mut_begin_op(m);
    buf_clear(&m->row);
    const int err = coll->type == VT_ZSET
                        ? row_incr_score(row, (double)delta, m->tag, &m->row, &incr)
                        : row_incr_float(row, m->now_ms, delta, m->tag, &m->row, &incr);
    if (err != 0)
        return err;
    *out = incr.visible_float;
    row_score_store(score, (double)incr.visible_float);
    const struct bytes value = coll->type == VT_ZSET
                                   ? bytes_of(score, sizeof(score))
                                   : bytes_of(text, num_print_ldouble(text, incr.visible_float));
    finish_elem_incr(m, coll, sub, &incr, value);
    return 0;
}
