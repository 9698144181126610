/* Strings in chunks across the tiers; strval.h tells how they stand in the keyspace. */
#include "engine/space/strval.h"

#include "engine/base/check.h"
#include "engine/base/err.h"

#include "engine/space/ks_state.h"
#include "engine/space/recover.h"
#include "engine/space/resident.h"

/* More chunks than these are read by one scan, not one by one. */
#define SINGLE_READS_MAX 8

bool strval_knows(const struct coll *coll, uint32_t index)
{
    /* Beyond the end nothing was ever written. */
    return coll->complete || (uint64_t)index * ROW_CHUNK_BYTES >= coll->count ||
           chunks_known(&coll->chunks, index);
}

void strval_copy(const struct coll *coll, uint64_t offset, uint8_t *dst, uint64_t len)
{
    while (len != 0) {
        const struct bytes run = chunks_run(&coll->chunks, offset, len);

        if (run.ptr != NULL)
            memcpy(dst, run.ptr, run.len);
        else
            memset(dst, 0, run.len);
        dst += run.len;
        offset += run.len;
        len -= run.len;
    }
}

/* --- residency --- */

static int need_chunks(struct keyspace *ks, const struct ks_key *key, struct coll *coll,
                       uint32_t first, uint32_t last, struct ks_wait *wait)
{
    uint8_t span[2 * ROW_CHUNK_SUB_BYTES];
    uint32_t unknown = 0;
    int waiting = 0;

    for (uint32_t i = first; i <= last && unknown <= SINGLE_READS_MAX; i++)
        unknown += !strval_knows(coll, i);
    if (unknown > SINGLE_READS_MAX) {
        if ((uint64_t)(last - first) * ROW_CHUNK_BYTES > ks->scan_bytes_max)
            return -ERR_LIMIT;
        be32_store(span, first);
        be32_store(span + ROW_CHUNK_SUB_BYTES, last);
        return ks_need_scan(ks, key, bytes_of(span, sizeof(span)), coll, wait);
    }
    for (uint32_t i = first; unknown != 0 && i <= last; i++) {
        if (strval_knows(coll, i))
            continue;
        unknown--;
        be32_store(span, i);
        waiting |= ks_need_chunk(ks, key, bytes_of(span, ROW_CHUNK_SUB_BYTES), coll, wait);
    }
    return waiting;
}

int ks_need_bytes(struct keyspace *ks, const struct ks_key *key, uint64_t first, uint64_t end,
                  struct ks_wait *wait)
{
    struct keytab_ref ref;

    const int waiting = ks_need_key(ks, key, wait);
    if (waiting != 0)
        return waiting;
    if (keytab_find(ks->tab, key->slot, key->hash, key->name, &ref) != KEYTAB_HOT ||
        (ref.obj->h.flags & BLK_DEAD) != 0 || !obj_is_chunked(ref.obj))
        return 0;
    struct coll *coll = obj_coll(ref.obj);
    /* The last chunk is there behind the end of the string, too. */
    end = u64_min(end, (uint64_t)chunks_count(coll->count) * ROW_CHUNK_BYTES);
    if (first >= end)
        return 0;
    return need_chunks(ks, key, coll, (uint32_t)(first / ROW_CHUNK_BYTES),
                       (uint32_t)((end - 1) / ROW_CHUNK_BYTES), wait);
}

int strval_install(struct coll *coll, struct bytes sub, struct bytes row)
{
    uint8_t image[ROW_CHUNK_BYTES];
    size_t len;
    struct tag tag;

    if (sub.len != ROW_CHUNK_SUB_BYTES)
        return -ERR_CORRUPT;
    const int err = row_chunk_read(row, coll->generation, image, &len, &tag);
    if (err != 0)
        return err;
    chunks_install(&coll->chunks, be32_load(sub.ptr), bytes_of(image, len), tag);
    return 0;
}

/* Chunks of the span that the store does not have are zeros. */
void strval_span_done(struct coll *coll, struct bytes span)
{
    const uint32_t last = be32_load(span.ptr + ROW_CHUNK_SUB_BYTES);

    for (uint32_t i = be32_load(span.ptr); i <= last; i++)
        chunks_install(&coll->chunks, i, bytes_of(NULL, 0), (struct tag){0});
}

int ks_recover_bytes(struct keyspace *ks, struct coll *coll, uint64_t first, uint64_t end)
{
    struct store_value value;
    uint8_t sub[ROW_CHUNK_SUB_BYTES];
    const struct ks_key key = ks_key_of_coll(coll);
    int err = 0;

    for (uint64_t i = first / ROW_CHUNK_BYTES; err == 0 && i * ROW_CHUNK_BYTES < end; i++) {
        /* The length may be of a later record than the one that is replayed: look everywhere. */
        if (coll->complete || chunks_known(&coll->chunks, (uint32_t)i))
            continue;
        be32_store(sub, (uint32_t)i);
        const size_t len = rowkey_store_elem(ks->name, key.slot, key.hash, key.name,
                                             ROWKEY_KIND_CHUNK, bytes_of(sub, sizeof(sub)));
        store_get(ks->options.store, bytes_of(ks->name, len), STORE_READ_NO_FILL, &value);
        if (value.status == STORE_FOUND || value.status == STORE_ABSENT)
            err = strval_install(coll, bytes_of(sub, sizeof(sub)), value.row);
        else
            err = value.err != 0 ? value.err : -ERR_CORRUPT;
        store_value_release(&value);
    }
    coll_account(ks, coll);
    return err;
}

/* --- writing --- */

/* Memory, and what waits for the store. */
static void account(struct keyspace *ks, struct coll *coll)
{
    const uint64_t unsaved = (uint64_t)coll->chunks.dirty * (ROW_CHUNK_IMAGE_AT + ROW_CHUNK_BYTES);

    dirty_shrink(&ks->dirty, coll->unsaved);
    dirty_grow(&ks->dirty, unsaved);
    coll->unsaved = unsaved;
    coll_account(ks, coll);
}

void strval_deinit(struct keyspace *ks, struct coll *coll)
{
    dirty_shrink(&ks->dirty, coll->unsaved);
    chunks_deinit(&coll->chunks);
    mem_free(coll->folds);
    coll->folds = NULL;
}

struct coll *ks_apply_string(struct keyspace *ks, const struct ks_key *key, struct tag tag,
                             uint64_t lsn, uint64_t len, uint64_t expire_at_ms)
{
    struct ks_place at = ks_place_of(ks, key);
    struct coll *coll = coll_create(ks, key, VT_STRING);
    struct obj *obj = obj_new(key->name, VT_STRING, BLK_COLL, coll, 0);

    coll->obj = obj;
    coll->tag = tag;
    coll->generation = tag;
    coll->lsn = lsn;
    coll->complete = true;
    coll->count = len;
    coll->expire_at_ms = expire_at_ms;
    account(ks, coll);
    ks_obj_place(ks, key, &at, obj, tag);
    ks_obj_set_ttl(ks, obj, expire_at_ms != 0);
    coll->stored = ks->recovering || ks_sweep_pending(ks, key);
    dirty_mark(&ks->dirty, &obj->h, NULL, lsn);
    if (expire_at_ms != 0)
        ks_expire_note(ks, key, expire_at_ms);
    return coll;
}

void ks_apply_fill(struct keyspace *ks, struct coll *coll, struct tag tag, struct bytes bytes)
{
    CHECK(bytes.len == coll->count);
    chunks_set(&coll->chunks, bytes, tag);
    account(ks, coll);
}

void ks_apply_touch(struct keyspace *ks, struct coll *coll, struct tag tag, uint64_t lsn,
                    uint64_t len, uint64_t expire_at_ms)
{
    const bool expires = expire_at_ms != coll->expire_at_ms;

    coll->tag = tag;
    coll->lsn = lsn;
    coll->count = len;
    coll->expire_at_ms = expire_at_ms;
    ks_obj_set_ttl(ks, coll->obj, expire_at_ms != 0);
    dirty_mark(&ks->dirty, &coll->obj->h, NULL, lsn);
    if (expires && expire_at_ms != 0) {
        const struct ks_key key = ks_key_of_coll(coll);
        ks_expire_note(ks, &key, expire_at_ms);
    }
}

void ks_apply_patch(struct keyspace *ks, struct coll *coll, struct tag tag, uint64_t offset,
                    struct bytes bytes)
{
    const size_t within = offset % ROW_CHUNK_BYTES;

    if (bytes_empty(bytes))
        return;
    CHECK(within + bytes.len <= ROW_CHUNK_BYTES);
    memcpy(chunks_edit(&coll->chunks, (uint32_t)(offset / ROW_CHUNK_BYTES), tag) + within,
           bytes.ptr, bytes.len);
    account(ks, coll);
}

void ks_apply_bits(struct keyspace *ks, struct coll *coll, struct tag tag, uint64_t bit,
                   uint32_t count, uint64_t value)
{
    while (count != 0) {
        struct row_chunk_bits bits = {.first = (uint32_t)(bit % ROW_CHUNK_BITS)};

        bits.count = (uint32_t)u64_min(count, ROW_CHUNK_BITS - bits.first);
        count -= bits.count;
        bits.value = value >> count;
        row_chunk_put_bits(chunks_edit(&coll->chunks, (uint32_t)(bit / ROW_CHUNK_BITS), tag), bits);
        bit += bits.count;
    }
    account(ks, coll);
}

/* --- write-back --- */

struct put {
    struct keyspace *ks;
    struct ks_key key;
    const struct coll *coll;
    ks_put_fn *fn;
};

static void put_chunk(void *ctx, uint32_t index, const uint8_t *data, struct tag tag)
{
    const struct put *p = ctx;
    const uint64_t at = (uint64_t)index * ROW_CHUNK_BYTES;
    uint8_t row[ROW_CHUNK_IMAGE_AT + ROW_CHUNK_BYTES];
    uint8_t sub[ROW_CHUNK_SUB_BYTES];
    uint8_t *name = p->ks->name;

    CHECK(at < p->coll->count);
    const size_t len = (size_t)u64_min(ROW_CHUNK_BYTES, p->coll->count - at);
    be32_store(sub, index);
    const size_t name_len = rowkey_store_elem(name, p->key.slot, p->key.hash, p->key.name,
                                              ROWKEY_KIND_CHUNK, bytes_of(sub, sizeof(sub)));
    p->fn(p->ks, bytes_of(name, name_len),
          bytes_of(row, row_chunk_store(row, p->coll->generation, tag, bytes_of(data, len))));
}

void strval_put(struct keyspace *ks, struct coll *coll, ks_put_fn *fn)
{
    struct put p = {.ks = ks, .key = ks_key_of_coll(coll), .coll = coll, .fn = fn};

    coll->stored = true;
    chunks_flush_begin(&coll->chunks, put_chunk, &p);
    account(ks, coll);
    list_push_back(&ks->flush.lists, &coll->flush_link);
}

void strval_put_done(struct keyspace *ks, struct coll *coll, bool written)
{
    if (written)
        chunks_flush_done(&coll->chunks);
    else
        chunks_flush_failed(&coll->chunks);
    account(ks, coll);
}
