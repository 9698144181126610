/*
 * The local write path; mutate.h tells how it is used.
 *
 * Folding. All ops of a batch have one tag, and a row must not see two changes with the same tag.
 * So a second change of a row within a batch (an EXEC, or MSET with a key twice) voids the op of
 * the first one:
 *
 *     SET, DEL      void every op of the batch that names the key
 *     element ops   void the op of the same element
 *     INCR          voids an earlier INCR, whose sum it contains; after a SET of the batch it is
 *                   a SET to the new value
 *     EXPIRE        voids an earlier EXPIRE; after a SET of the batch likewise
 *     CHUNK, BITS   mut_string.c
 *
 * What was named is remembered by hashes in a small table that is used from the second op on, so
 * that a batch of one op pays nothing.
 */
#include "replication/mutate.h"

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/flush.h"
#include "engine/space/strval.h"
#include "engine/value/listpos.h"
#include "engine/value/op.h"

#include "replication/mutate_impl.h"

#define BATCH_BYTES_MAX OPLOG_RECORD_BYTES_MAX_DEFAULT
/* Memory kept between batches. */
#define BATCH_KEEP_BYTES (256u << 10)
#define REFS_KEEP        16384u
#define REFS_CAP_MIN     32u
#define NAMES_CAP_MIN    64u

void mut_create(const struct mut_options *options, struct mut **out)
{
    struct mut *m = mem_zalloc(sizeof(*m));

    m->options = *options;
    m->vv = options->vv;
    m->seq = options->seq_seen;
    for (uint8_t i = 0; i < m->vv.count; i++)
        hlc_observe(&m->hlc, m->vv.hlc[i]);
    buf_init(&m->batch, BATCH_BYTES_MAX);
    buf_init(&m->row, BATCH_BYTES_MAX);
    m->refs_cap = REFS_CAP_MIN;
    m->refs = mem_alloc(m->refs_cap * sizeof(*m->refs));
    m->names_cap = NAMES_CAP_MIN;
    m->names = mem_zalloc_array(m->names_cap, sizeof(*m->names));
    if (options->group) {
        CHECK(options->origin != 0 || vv_empty(&options->vv));
        m->seqs = options->seqs;
        m->flush = options->flush;
        mut_group_create(m);
        ks_flush_seqs(options->ks, &m->seqs);
    }
    *out = m;
}

void mut_destroy(struct mut *m)
{
    if (m == NULL)
        return;
    CHECK(m->depth == 0);
    buf_deinit(&m->batch);
    buf_deinit(&m->row);
    mut_group_destroy(m);
    mem_free(m->refs);
    mem_free(m->names);
    mem_free(m);
}

void mut_set_origin(struct mut *m, uint8_t origin)
{
    CHECK(m->group != NULL && m->options.origin == 0 && vv_empty(&m->vv) && m->depth == 0);
    m->options.origin = origin;
    ks_set_origin(m->options.ks, origin);
}

void mut_set_flush(struct mut *m, uint32_t flush)
{
    CHECK(m->group != NULL && m->depth == 0 && flush >= m->flush);
    m->flush = flush;
}

void mut_adopt(struct mut *m, const struct vv *vv, const struct vv *seqs)
{
    CHECK(m->group != NULL && m->depth == 0 && vv_leq(&m->vv, vv));
    vv_copy(&m->vv, vv);
    vv_copy(&m->seqs, seqs);
    m->seq = vv_get(seqs, m->options.origin);
    for (uint8_t i = 0; i < vv->count; i++)
        hlc_observe(&m->hlc, vv->hlc[i]);
    ks_flush_seqs(m->options.ks, seqs);
    ks_flush_point(m->options.ks, oplog_applied_lsn(m->options.log), vv);
}

void mut_start_clock(struct mut *m, uint64_t lease, uint64_t chance)
{
    CHECK(m->group != NULL && m->depth == 0);
    hlc_begin(&m->hlc, lease, chance);
}

void mut_observe(struct mut *m, uint64_t hlc)
{
    hlc_observe(&m->hlc, hlc);
}

uint64_t mut_hlc(const struct mut *m)
{
    return m->hlc.last;
}

const struct vv *mut_vv(const struct mut *m)
{
    return &m->vv;
}

uint64_t mut_changes(const struct mut *m)
{
    return m->changes;
}

int mut_check(struct mut *m, size_t len)
{
    return unlikely(len > MUT_BATCH_BYTES_MAX) ? -ERR_LIMIT : mut_check_remote(m, len);
}

int mut_check_remote(struct mut *m, size_t len)
{
    if (unlikely(oplog_congested(m->options.log)))
        return -ERR_BUSY;
    return oplog_can_append(m->options.log, len);
}

int mut_room(struct mut *m, size_t len)
{
    if (len > MUT_BATCH_BYTES_MAX || m->batch.len + len > MUT_BATCH_BYTES_MAX)
        return -ERR_LIMIT;
    return oplog_can_append(m->options.log, m->batch.len + len);
}

/* --- the batch --- */

void mut_begin(struct mut *m, uint64_t now_ms)
{
    if (m->depth++ == 0)
        m->now_ms = unlikely(m->group != NULL) ? mut_now_ms(m, now_ms) : now_ms;
}

uint64_t mut_now_ms(const struct mut *m, uint64_t wall_ms)
{
    return m->group == NULL ? wall_ms : u64_max(wall_ms, hlc_ms(m->hlc.last));
}

/* First change of the batch: gives it its tag. */
static void open_batch(struct mut *m)
{
    CHECK(m->depth != 0);
    m->tag = tag_of(hlc_tick(&m->hlc, m->now_ms), m->options.origin);
    m->lsn = oplog_next_lsn(m->options.log);
    m->nops = 0;
    m->indexed = 0;
    m->names_count = 0;
    m->batch_number++;
    CHECK(buf_reserve(&m->batch, BATCH_HEADER_BYTES_MAX) == 0);
    if (unlikely(m->group != NULL)) {
        buf_commit(&m->batch, mut_group_open(m, buf_end(&m->batch)));
        return;
    }
    buf_commit(&m->batch, batch_header_store(buf_end(&m->batch), m->tag, m->seq + 1, 0, NULL));
}

/* After a batch that was long: one command of 100,000 elements left 8 MB of tables. */
static void give_back(struct mut *m)
{
    buf_deinit(&m->batch);
    if (m->refs_cap <= REFS_KEEP)
        return;
    mem_free(m->refs);
    mem_free(m->names);
    m->refs_cap = REFS_CAP_MIN;
    m->refs = mem_alloc(m->refs_cap * sizeof(*m->refs));
    m->names_cap = NAMES_CAP_MIN;
    m->names = mem_zalloc_array(m->names_cap, sizeof(*m->names));
}

uint64_t mut_end(struct mut *m)
{
    CHECK(m->depth != 0);
    if (--m->depth != 0 || m->batch.len == 0)
        return 0;
    if (m->nops == 0) {
        /* Opened by a change that was then refused. */
        buf_clear(&m->batch);
        return 0;
    }
    batch_header_set_nops(m->batch.ptr, m->nops);
    m->seq++;
    CHECK(vv_raise(&m->vv, m->tag) == 0);
    /* mut_check said yes in this turn: the log then takes a longer record, too. */
    const uint64_t lsn =
        oplog_append(m->options.log, buf_bytes(&m->batch), m->options.origin, m->seq);
    CHECK(lsn == m->lsn);
    if (unlikely(m->group != NULL))
        mut_group_logged(m);
    if (m->batch.cap > BATCH_KEEP_BYTES)
        give_back(m);
    else
        buf_clear(&m->batch);
    return lsn;
}

void mut_forget(struct mut *m)
{
    CHECK(m->depth != 0 && m->group == NULL);
    /* The next change opens one, at the same position. */
    buf_clear(&m->batch);
    m->nops = 0;
}

/* --- folding --- */

/* The three aspects of a key have names of their own. */
uint64_t mut_name_of_value(const struct ks_key *key)
{
    return key->hash * 2 + 1;
}

uint64_t mut_name_of_expiry(const struct ks_key *key)
{
    return ~key->hash * 2 + 1;
}

uint64_t mut_name_of_elem(const struct ks_key *key, struct bytes sub)
{
    return hash64(sub.ptr, sub.len, key->hash) & ~1ull;
}

static struct name *name_slot(const struct mut *m, uint64_t hash)
{
    uint32_t i = (uint32_t)(hash >> 20) & (m->names_cap - 1);

    while (m->names[i].batch == m->batch_number && m->names[i].hash != hash)
        i = (i + 1) & (m->names_cap - 1);
    return &m->names[i];
}

static void names_grow(struct mut *m)
{
    struct name *old = m->names;
    const uint32_t cap = m->names_cap;

    m->names_cap = cap * 2;
    m->names = mem_zalloc_array(m->names_cap, sizeof(*m->names));
    for (uint32_t i = 0; i < cap; i++) {
        if (old[i].batch == m->batch_number)
            *name_slot(m, old[i].hash) = old[i];
    }
    mem_free(old);
}

/* Returns the index + 1 of the op that had the name before; 0: none. */
static uint32_t name_set(struct mut *m, uint64_t hash, uint32_t ref)
{
    if (m->names_count >= m->names_cap / 2)
        names_grow(m);
    struct name *n = name_slot(m, hash);
    const uint32_t before = n->batch == m->batch_number ? n->ref : 0;
    m->names_count += n->batch != m->batch_number;
    *n = (struct name){.hash = hash, .ref = ref, .batch = m->batch_number};
    return before;
}

/* The op of the batch that named `hash` last, or NULL. */
struct ref *mut_ref_find(const struct mut *m, uint64_t hash)
{
    const struct name *n = name_slot(m, hash);

    if (n->batch != m->batch_number)
        return NULL;
    struct ref *r = &m->refs[n->ref - 1];
    return r->kind == OP_VOID ? NULL : r;
}

void mut_ref_void(struct mut *m, struct ref *r)
{
    if (r->kind == OP_VOID)
        return;
    op_void(m->batch.ptr + r->at);
    r->kind = OP_VOID;
}

/* Tells the index of the ops that it does not know yet: called from the second op on. */
static void index_refs(struct mut *m)
{
    for (; m->indexed < m->nops; m->indexed++) {
        struct ref *r = &m->refs[m->indexed];
        r->prev = name_set(m, r->key, m->indexed + 1);
        if (r->name != r->key)
            r->prev_name = name_set(m, r->name, m->indexed + 1);
    }
}

struct ref *mut_ref_last(const struct mut *m, uint64_t key)
{
    const struct name *n = name_slot(m, key);

    return n->batch != m->batch_number || n->ref == 0 ? NULL : &m->refs[n->ref - 1];
}

struct ref *mut_ref_prev(const struct mut *m, const struct ref *r)
{
    return r->prev == 0 ? NULL : &m->refs[r->prev - 1];
}

struct ref *mut_ref_prev_name(const struct mut *m, const struct ref *r)
{
    return r->prev_name == 0 ? NULL : &m->refs[r->prev_name - 1];
}

void mut_void_key(struct mut *m, uint64_t key)
{
    struct ref *const last = mut_ref_last(m, key);

    for (struct ref *r = last; r != NULL; r = mut_ref_prev(m, r))
        mut_ref_void(m, r);
    if (last != NULL)
        last->prev = 0; /* None of them is to be walked again. */
}

/* --- ops --- */

/* Starts a change: opens the batch if need be, and has the index ready if there are ops before. */
void mut_begin_op(struct mut *m)
{
    if (m->batch.len == 0)
        open_batch(m);
    if (unlikely(m->nops != 0))
        index_refs(m);
}

/* `key`: hash that all ops on the key share; it is the name of a whole-key op. */
void mut_append(struct mut *m, const struct op *op, uint64_t key, uint64_t name)
{
    if (m->nops == m->refs_cap) {
        m->refs_cap *= 2;
        m->refs = mem_realloc(m->refs, m->refs_cap * sizeof(*m->refs));
    }
    m->refs[m->nops] =
        (struct ref){.key = key, .name = name, .at = (uint32_t)m->batch.len, .kind = op->kind};
    CHECK(buf_reserve(&m->batch, op_size(op)) == 0);
    buf_commit(&m->batch, op_store(buf_end(&m->batch), op, m->tag.hlc));
    m->nops++;
    m->changes++;
}

void mut_changed(const struct mut *m, const struct ks_key *key)
{
    if (m->options.on_change != NULL)
        m->options.on_change(m->options.ctx, key);
}

uint64_t mut_group_of(const struct ks_key *key)
{
    return key->hash * 4 + 2;
}

/* --- keys --- */

void mut_set(struct mut *m, const struct ks_key *key, struct bytes value, uint64_t expire_at_ms)
{
    const struct op op = {
        .kind = OP_SET, .key = key->name, .value = value, .expire_at_ms = expire_at_ms};

    if (unlikely(m->group != NULL)) {
        mut_group_set(m, key, value, expire_at_ms);
        return;
    }
    mut_begin_op(m);
    if (unlikely(m->nops != 0))
        mut_void_key(m, mut_group_of(key));
    mut_append(m, &op, mut_group_of(key), mut_name_of_value(key));
    ks_apply_set(m->options.ks, key, m->tag, m->lsn, value, expire_at_ms);
    mut_changed(m, key);
}

static void remove_key(struct mut *m, const struct ks_key *key, uint8_t kind)
{
    const struct op op = {.kind = kind, .key = key->name};

    mut_begin_op(m);
    if (unlikely(m->nops != 0))
        mut_void_key(m, mut_group_of(key));
    mut_append(m, &op, mut_group_of(key), mut_name_of_value(key));
    ks_apply_del(m->options.ks, key, m->tag, m->lsn);
    mut_changed(m, key);
}

void mut_del(struct mut *m, const struct ks_key *key)
{
    if (unlikely(m->group != NULL)) {
        mut_group_del(m, key);
        return;
    }
    remove_key(m, key, OP_DEL);
}

bool mut_reclaim(struct mut *m, const struct ks_key *key)
{
    if (unlikely(m->group != NULL))
        return mut_group_expired(m, key);
    remove_key(m, key, OP_RECLAIM);
    return true;
}

/* The key row after a change of a string, logged as a SET because the batch has one already. */
static void log_as_set(struct mut *m, const struct ks_key *key, struct bytes row)
{
    struct row_view view;
    char text[ROW_TEXT_BYTES];

    CHECK(row_view(row, m->now_ms, &view) == 0);
    const struct op op = {.kind = OP_SET,
                          .key = key->name,
                          .value = row_text(&view, text),
                          .expire_at_ms = view.expire_at_ms};
    mut_void_key(m, mut_group_of(key));
    mut_append(m, &op, mut_group_of(key), mut_name_of_value(key));
}

static bool set_in_batch(const struct mut *m, const struct ks_key *key)
{
    if (m->nops == 0)
        return false;
    const struct ref *r = mut_ref_find(m, mut_name_of_value(key));
    return r != NULL && r->kind == OP_SET;
}

void mut_expire(struct mut *m, const struct ks_key *key, uint64_t expire_at_ms)
{
    struct row_view view;

    if (unlikely(m->group != NULL)) {
        mut_group_expire(m, key, expire_at_ms);
        return;
    }
    struct obj *obj = ks_get(m->options.ks, key, m->now_ms);
    CHECK(obj != NULL);
    if (obj_is_chunked(obj)) {
        mut_string_expire(m, key, obj_coll(obj), expire_at_ms);
        return;
    }
    mut_begin_op(m);
    buf_clear(&m->row);
    const bool coll = (obj->h.flags & BLK_COLL) != 0;
    if (!coll)
        CHECK(row_set_expiry_alone(obj_row(obj), expire_at_ms, &m->row) == 0);
    if (!coll && set_in_batch(m, key)) {
        log_as_set(m, key, buf_bytes(&m->row));
    } else {
        struct op op = {.kind = OP_EXPIRE, .key = key->name, .expire_at_ms = expire_at_ms};
        if (coll) {
            op.target_type = obj->h.type;
            op.target = obj_coll(obj)->tag;
        } else {
            CHECK(row_view(obj_row(obj), m->now_ms, &view) == 0);
            op.target_type = view.target_type;
            op.target = view.target;
        }
        struct ref *r = m->nops == 0 ? NULL : mut_ref_find(m, mut_name_of_expiry(key));
        if (r != NULL)
            mut_ref_void(m, r);
        mut_append(m, &op, mut_group_of(key), mut_name_of_expiry(key));
    }
    ks_apply_expire(m->options.ks, key, m->lsn, buf_bytes(&m->row), expire_at_ms);
    mut_changed(m, key);
}

/*
 * The living object at the key, or NULL. What has expired is still there until it is reclaimed, and
 * must not show through what takes its place, here or in the replay of the log: it is deleted.
 */
static struct obj *find_or_bury(struct mut *m, const struct ks_key *key)
{
    struct obj *obj = NULL;
    bool expired;

    if (ks_find(m->options.ks, key, m->now_ms, &obj, &expired) == KS_HOT)
        return obj;
    if (expired)
        remove_key(m, key, OP_DEL);
    return NULL;
}

/* The row of a living string, empty if there is none. False: it is too long for a number. */
static bool string_row(struct mut *m, const struct ks_key *key, struct bytes *out)
{
    struct obj *obj = find_or_bury(m, key);

    *out = obj == NULL ? bytes_of(NULL, 0) : obj_row(obj);
    return obj == NULL || !obj_is_chunked(obj);
}

/* Logs and applies an increment whose new row is in m->row. */
static void finish_incr(struct mut *m, const struct ks_key *key, const struct row_incr *incr)
{
    struct row_view view;
    const struct op op = {.kind = OP_INCR,
                          .key = key->name,
                          .start = incr->start,
                          .isum = incr->isum,
                          .fsum = incr->fsum,
                          .flags = incr->fresh ? OP_COVER : 0};
    struct ref *r = m->nops == 0 ? NULL : mut_ref_find(m, mut_name_of_value(key));

    if (r != NULL && r->kind == OP_INCR)
        mut_ref_void(m, r);
    mut_append(m, &op, mut_group_of(key), mut_name_of_value(key));
    CHECK(row_view(buf_bytes(&m->row), m->now_ms, &view) == 0);
    ks_apply_row(m->options.ks, key, m->lsn, buf_bytes(&m->row), view.expire_at_ms);
    mut_changed(m, key);
}

/*
 * The increment of a string that this batch has set: a SET to the sum. A run of increments with
 * the tag of its own base could not be told from one that the base has seen.
 */
static void set_to_sum(struct mut *m, const struct ks_key *key, const char *text, size_t len)
{
    struct obj *obj = ks_get(m->options.ks, key, m->now_ms);

    CHECK(obj != NULL);
    mut_set(m, key, bytes_of(text, len), ks_expire_at(obj));
}

int mut_incr(struct mut *m, const struct ks_key *key, int64_t delta, int64_t *out)
{
    struct row_incr incr;
    struct bytes row;

    if (unlikely(m->group != NULL))
        return mut_group_incr(m, key, delta, out);
    if (!string_row(m, key, &row))
        return -ERR_FORMAT;
    mut_begin_op(m);
    buf_clear(&m->row);
    const int err = row_incr_int(row, m->now_ms, delta, m->tag, &m->row, &incr);
    if (err != 0)
        return err;
    *out = incr.visible;
    if (set_in_batch(m, key)) {
        char text[NUM_I64_BYTES];
        set_to_sum(m, key, text, num_print_i64(text, incr.visible));
    } else {
        finish_incr(m, key, &incr);
    }
    return 0;
}

int mut_incr_float(struct mut *m, const struct ks_key *key, long double delta, long double *out)
{
    struct row_incr incr;
    struct bytes row;

    if (unlikely(m->group != NULL))
        return mut_group_incr_float(m, key, delta, out);
    if (!string_row(m, key, &row))
        return -ERR_FORMAT;
    mut_begin_op(m);
    buf_clear(&m->row);
    const int err = row_incr_float(row, m->now_ms, delta, m->tag, &m->row, &incr);
    if (err != 0)
        return err;
    *out = incr.visible_float;
    if (set_in_batch(m, key)) {
        char text[ROW_TEXT_BYTES];
        set_to_sum(m, key, text, num_print_ldouble(text, incr.visible_float));
    } else {
        finish_incr(m, key, &incr);
    }
    return 0;
}

/* --- elements --- */

struct coll *mut_coll(struct mut *m, const struct ks_key *key, uint8_t type)
{
    if (unlikely(m->group != NULL))
        return mut_group_coll(m, key, type);
    struct obj *obj = find_or_bury(m, key);

    if (obj != NULL)
        return obj->h.type == type ? obj_coll(obj) : NULL;
    mut_begin_op(m);
    return ks_apply_coll(m->options.ks, key, type, m->tag, m->lsn);
}

bool mut_void_elem(struct mut *m, const struct ks_key *key, struct bytes sub)
{
    if (likely(m->nops == 0))
        return false;
    struct ref *r = mut_ref_find(m, mut_name_of_elem(key, sub));
    if (r == NULL)
        return false;
    const bool set = r->kind == OP_ELEM_SET;
    mut_ref_void(m, r);
    return set;
}

void mut_append_elem(struct mut *m, const struct ks_key *key, struct op *op, uint64_t count)
{
    op->key = key->name;
    op->has_count = true;
    op->count = count;
    mut_append(m, op, mut_group_of(key), mut_name_of_elem(key, op->sub));
}

bool mut_elem_set(struct mut *m, struct coll *coll, struct bytes sub, struct bytes value)
{
    const struct ks_key key = ks_key_of_coll(coll);
    struct op op = {.kind = OP_ELEM_SET, .type = coll->type, .sub = sub, .value = value};

    if (unlikely(m->group != NULL))
        return mut_group_elem_set(m, coll, sub, value);
    /* Only another member's concurrent removal would make a difference. */
    if (coll->type == VT_SET && coll_find(coll, sub) != NULL)
        return false;
    mut_begin_op(m);
    (void)mut_void_elem(m, &key, sub);
    buf_clear(&m->row);
    CHECK(buf_reserve(&m->row, row_value_size(value.len, false)) == 0);
    buf_commit(&m->row, row_value_store(m->row.ptr, m->tag, value, 0));
    const bool created =
        ks_apply_elem(m->options.ks, coll, sub, m->tag, m->lsn, buf_bytes(&m->row));
    mut_append_elem(m, &key, &op, coll->count);
    mut_changed(m, &key);
    return created;
}

bool mut_drop_if_empty(struct mut *m, struct coll *coll, const struct ks_key *key)
{
    if (coll->count != 0)
        return true;
    ks_apply_del(m->options.ks, key, m->tag, m->lsn);
    return false;
}

bool mut_elem_del(struct mut *m, struct coll *coll, struct bytes sub)
{
    const struct ks_key key = ks_key_of_coll(coll);
    struct op op = {.kind = OP_ELEM_DEL, .type = coll->type, .sub = sub};

    if (unlikely(m->group != NULL))
        return mut_group_elem_del(m, coll, sub);
    mut_begin_op(m);
    (void)mut_void_elem(m, &key, sub);
    mut_append_elem(m, &key, &op, coll->count - 1);
    mut_changed(m, &key);
    ks_apply_elem_del(m->options.ks, coll, sub, m->tag, m->lsn);
    return mut_drop_if_empty(m, coll, &key);
}

static void finish_elem_incr(struct mut *m, struct coll *coll, struct bytes sub,
                             const struct row_incr *incr)
{
    const struct ks_key key = ks_key_of_coll(coll);
    struct op op = {.kind = OP_ELEM_INCR,
                    .type = coll->type,
                    .sub = sub,
                    .start = incr->start,
                    .isum = incr->isum,
                    .fsum = incr->fsum,
                    .flags = incr->fresh ? OP_COVER : 0};

    (void)mut_void_elem(m, &key, sub);
    (void)ks_apply_elem(m->options.ks, coll, sub, m->tag, m->lsn, buf_bytes(&m->row));
    mut_append_elem(m, &key, &op, coll->count);
    mut_changed(m, &key);
}

/* The element was set by this batch: set_to_sum tells why that matters. */
static bool elem_set_in_batch(const struct mut *m, const struct coll *coll, struct bytes sub)
{
    if (m->nops == 0)
        return false;
    const struct ks_key key = ks_key_of_coll(coll);
    const struct ref *r = mut_ref_find(m, mut_name_of_elem(&key, sub));
    return r != NULL && r->kind == OP_ELEM_SET;
}

static struct bytes elem_row_of(const struct coll *coll, struct bytes sub)
{
    const struct elem *elem = coll_find(coll, sub);

    return elem == NULL ? bytes_of(NULL, 0) : elem_row(elem);
}

int mut_elem_incr(struct mut *m, struct coll *coll, struct bytes sub, int64_t delta, int64_t *out)
{
    struct row_incr incr;

    if (unlikely(m->group != NULL))
        return mut_group_elem_incr(m, coll, sub, delta, out);
    mut_begin_op(m);
    buf_clear(&m->row);
    const int err = row_incr_int(elem_row_of(coll, sub), m->now_ms, delta, m->tag, &m->row, &incr);
    if (err != 0)
        return err;
    *out = incr.visible;
    if (elem_set_in_batch(m, coll, sub)) {
        char text[NUM_I64_BYTES];
        const size_t len = num_print_i64(text, incr.visible);
        (void)mut_elem_set(m, coll, sub, bytes_of(text, len));
    } else {
        finish_elem_incr(m, coll, sub, &incr);
    }
    return 0;
}

int mut_elem_incr_float(struct mut *m, struct coll *coll, struct bytes sub, long double delta,
                        long double *out)
{
    struct row_incr incr;

    if (unlikely(m->group != NULL))
        return mut_group_elem_incr_float(m, coll, sub, delta, out);
    mut_begin_op(m);
    buf_clear(&m->row);
    const int err =
        coll->type == VT_ZSET
            ? row_incr_score(elem_row_of(coll, sub), (double)delta, m->tag, &m->row, &incr)
            : row_incr_float(elem_row_of(coll, sub), m->now_ms, delta, m->tag, &m->row, &incr);
    if (err != 0)
        return err;
    *out = incr.visible_float;
    if (!elem_set_in_batch(m, coll, sub)) {
        finish_elem_incr(m, coll, sub, &incr);
    } else if (coll->type == VT_ZSET) {
        uint8_t score[ROW_SCORE_BYTES];
        row_score_store(score, (double)incr.visible_float);
        (void)mut_elem_set(m, coll, sub, bytes_of(score, sizeof(score)));
    } else {
        char text[ROW_TEXT_BYTES];
        const size_t len = num_print_ldouble(text, incr.visible_float);
        (void)mut_elem_set(m, coll, sub, bytes_of(text, len));
    }
    return 0;
}
