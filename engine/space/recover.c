/* Start of a keyspace; recover.h tells the plan. */
#include "engine/space/recover.h"

#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/flush.h"
#include "engine/space/ks_state.h"

static void say(char *why, size_t why_len, const char *what, int err)
{
    (void)snprintf(why, why_len, "%s: %s", what, err_str(err));
}

/* --- the key table --- */

/* Adds the key at the cursor, and moves on past its element rows. */
static int take_key(struct keyspace *ks, struct store_iter *it, struct buf *after)
{
    struct rowkey rk;
    struct row_view view;
    struct bytes row;

    int err = rowkey_parse(store_iter_key(it), &rk);
    if (err != 0)
        return err;
    if (rk.kind != ROWKEY_KIND_KEY) {
        /* Garbage that waits to be swept. Its key row may be gone: over it in one step. */
        const struct bytes prefix =
            bytes_of(store_iter_key(it).ptr, ROWKEY_HEAD_BYTES + rk.key.len);
        buf_clear(after);
        err = buf_reserve(after, prefix.len + 1);
        if (err != 0)
            return err;
        const size_t len = rowkey_store_after(buf_end(after), prefix);
        store_iter_seek(it, bytes_of(buf_end(after), len));
        return 0;
    }
    if (store_iter_row(it, &row) != STORE_FOUND)
        return -ERR_CORRUPT;
    err = row_view(row, 0, &view);
    if (err != 0)
        return err;
    if (view.type != VT_NONE)
        keytab_insert_cold(ks->tab, rk.slot, rk.hash, row_table_type(&view),
                           view.expire_at_ms != 0);
    store_iter_next(it);
    return 0;
}

static int load_sweeps(struct keyspace *ks)
{
    static const uint8_t first[2] = {ROWKEY_SPECIAL, ROWKEY_SWEEP};
    static const uint8_t beyond[2] = {ROWKEY_SPECIAL, ROWKEY_SWEEP + 1};
    const struct store_iter_options options = {.lower = bytes_of(first, 2),
                                               .upper = bytes_of(beyond, 2)};
    struct store_iter *it;
    struct rowkey rk;
    struct bytes row;

    int err = store_iter_open(ks->options.store, &options, &it);
    if (err != 0)
        return err;
    store_iter_seek(it, bytes_of(NULL, 0));
    for (; store_iter_valid(it) && err == 0; store_iter_next(it)) {
        err = rowkey_parse_sweep(store_iter_key(it), &rk);
        if (err != 0)
            break;
        if (store_iter_row(it, &row) != STORE_FOUND || row.len != 1 + TAG_BYTES) {
            err = -ERR_CORRUPT;
            break;
        }
        const struct ks_key key = {.name = rk.key, .hash = rk.hash, .slot = rk.slot};
        ks_sweep_load(ks, &key, tag_load(row.ptr + 1));
    }
    if (err == 0)
        err = store_iter_status(it);
    store_iter_close(it);
    return err;
}

int ks_recover_table(struct keyspace *ks, char *why, size_t why_len)
{
    static const uint8_t beyond[1] = {0x80};
    const struct store_iter_options options = {.upper = bytes_of(beyond, 1),
                                               .readahead_bytes = 2u << 20};
    struct store_iter *it = NULL;
    struct buf after;

    ks->recovering = true;
    int err = load_sweeps(ks);
    if (err == 0)
        err = store_iter_open(ks->options.store, &options, &it);
    if (err != 0) {
        say(why, why_len, "cannot read the store", err);
        return err;
    }
    buf_init(&after, ROWKEY_BYTES_MAX);
    store_iter_seek(it, bytes_of(NULL, 0));
    while (store_iter_valid(it) && err == 0)
        err = take_key(ks, it, &after);
    if (err == 0)
        err = store_iter_status(it);
    if (err != 0)
        say(why, why_len, "a key row of the store is damaged; see tierra-inspect verify", err);
    buf_deinit(&after);
    store_iter_close(it);
    return err;
}

int ks_recover_done(struct keyspace *ks, uint64_t lsn, const struct vv *vv)
{
    const int err = ks->recovered_lists ? ks_recover_flush(ks, lsn, vv) : 0;

    ks->recovering = false;
    return err;
}

/* --- rows --- */

static int value_error(const struct store_value *value)
{
    if (value->status == STORE_FOUND || value->status == STORE_ABSENT)
        return 0;
    return value->err != 0 ? value->err : -ERR_CORRUPT;
}

int ks_recover_key(struct keyspace *ks, const struct ks_key *key)
{
    struct keytab_ref ref;
    struct store_value value;
    struct row_view view;

    if (keytab_find(ks->tab, key->slot, key->hash, key->name, &ref) != KEYTAB_COLD)
        return 0;
    const size_t len = rowkey_store_key(ks->name, key->slot, key->hash, key->name);
    store_get(ks->options.store, bytes_of(ks->name, len), STORE_READ_NO_FILL, &value);
    int err = value_error(&value);
    if (err == 0)
        err = ks_key_row_check(value.row, &view);
    if (err == 0 && view.type == VT_NONE)
        keytab_remove(ks->tab, &ref);
    else if (err == 0)
        (void)ks_install(ks, key, &ref, value.row, &view);
    store_value_release(&value);
    return err;
}

int ks_recover_elem(struct keyspace *ks, struct coll *coll, struct bytes sub)
{
    struct store_value value;
    struct row_view view;
    const struct ks_key key = ks_key_of_coll(coll);

    /* Also of a collection that begins here: the store may have more of it than was replayed. */
    if (elemtab_find(&coll->tab, sub) != NULL)
        return 0;
    const size_t len =
        rowkey_store_elem(ks->name, key.slot, key.hash, key.name, coll_row_kind(coll->type), sub);
    store_get(ks->options.store, bytes_of(ks->name, len), STORE_READ_NO_FILL, &value);
    int err = value_error(&value);
    if (err == 0)
        err = row_view(value.row, 0, &view);
    if (err == 0)
        coll_install(ks, coll, sub,
                     view.present && !ks_sweep_hides(ks, &key, view.tag) ? value.row
                                                                         : bytes_of(NULL, 0));
    store_value_release(&value);
    return err;
}

void ks_recover_put(struct keyspace *ks, struct coll *coll, struct bytes sub, struct tag tag,
                    uint64_t lsn, struct bytes row, uint64_t count)
{
    const struct tag tag_before = coll->tag;
    const uint64_t lsn_before = coll->lsn;
    const uint64_t count_before = coll->count;

    if (!bytes_empty(row)) {
        (void)ks_apply_elem(ks, coll, sub, tag, lsn, row);
        /* The store may have it, also if it does not have the key: a delete must reach it. */
        coll_find(coll, sub)->h.flags |= BLK_STORED;
    } else {
        coll_bury(ks, coll, sub, lsn);
    }
    if (lsn >= lsn_before) {
        coll->count = count;
        return;
    }
    /* The key row was written after this change: its count is right, and later. */
    coll->tag = tag_before;
    coll->lsn = lsn_before;
    coll->count = count_before;
}

int ks_recover_flush(struct keyspace *ks, uint64_t lsn, const struct vv *vv)
{
    ks_flush_point(ks, lsn, vv);
    const int err = ks_flush_now(ks);
    if (err == 0)
        ks->recovered_lists = false;
    return err;
}
