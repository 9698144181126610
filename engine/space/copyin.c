/* Rows of a copy; copyin.h tells the plan. */
#include "engine/space/copyin.h"

#include "engine/base/check.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"

#include "engine/space/group_impl.h"
#include "engine/space/ks_state.h"

static int check(struct bytes key, struct bytes row, struct rowkey *out)
{
    if (rowkey_parse(key, out) != 0 || out->slot != key_slot(out->key))
        return -ERR_CORRUPT;
    return group_check_row(out->kind, out->sub, row);
}

/* The key with our hash. */
static struct ks_key key_of(const struct keyspace *ks, const struct rowkey *rk)
{
    return ks_key_of(rk->key, ks->options.seed);
}

uint8_t ks_group_cold_type(struct bytes row, const struct row_view *view)
{
    const uint8_t type = row_table_type(view);

    if (type == VT_NONE)
        return KS_GHOST;
    if (type == VT_CHUNKED)
        return row_is_chunked(row) ? VT_CHUNKED : VT_STRING;
    return type == VT_STRING ? type : KS_MAYBE;
}

MUST_USE static int put_expiry(struct keyspace *ks, const struct ks_key *key, uint64_t at_ms,
                               struct store_batch *batch)
{
    static const uint8_t mark[1] = {0x01};
    const size_t len = rowkey_store_expiry(ks->name, at_ms, key->slot, key->hash, key->name);

    return store_batch_put(batch, bytes_of(ks->name, len), bytes_of(mark, 1));
}

int ks_copy_put(struct keyspace *ks, struct bytes row_key, struct bytes row,
                struct store_batch *batch)
{
    struct rowkey rk;
    struct row_view view;

    CHECK(ks->group != NULL && !ks_flush_busy(ks));
    int err = check(row_key, row, &rk);
    if (err != 0)
        return err;
    const struct ks_key key = key_of(ks, &rk);
    if (rk.kind != ROWKEY_KIND_KEY) {
        const size_t len =
            rowkey_store_elem(ks->name, key.slot, key.hash, key.name, rk.kind, rk.sub);
        return store_batch_put(batch, bytes_of(ks->name, len), row);
    }
    err = row_view(row, 0, &view);
    if (err != 0)
        return err;
    const size_t len = rowkey_store_key(ks->name, key.slot, key.hash, key.name);
    err = store_batch_put(batch, bytes_of(ks->name, len), row);
    if (err == 0 && view.expire_at_ms != 0)
        err = put_expiry(ks, &key, view.expire_at_ms, batch);
    if (err != 0)
        return err;
    ks_keys_note(ks, &key, ks_group_cold_type(row, &view), view.expire_at_ms != 0);
    return 0;
}

void ks_copy_batch(struct keyspace *ks, struct store_batch *batch)
{
    ks_keys_put(ks, batch);
}

void ks_copy_done(struct keyspace *ks, bool written)
{
    ks_keys_done(ks, written);
}

void ks_copy_key(struct keyspace *ks, struct bytes row_key, struct bytes row)
{
    struct keytab_ref ref;
    struct rowkey rk;
    struct row_view view;

    CHECK(rowkey_parse(row_key, &rk) == 0);
    const struct ks_key key = key_of(ks, &rk);
    ks_group_note_row(ks, &key, row);
    if (rk.kind != ROWKEY_KIND_KEY)
        return;
    CHECK(row_view(row, 0, &view) == 0);
    const uint8_t type = ks_group_cold_type(row, &view);
    const bool ttl = view.expire_at_ms != 0;
    const enum keytab_kind kind = keytab_find(ks->tab, key.slot, key.hash, key.name, &ref);
    CHECK(kind != KEYTAB_HOT);
    if (kind == KEYTAB_COLD)
        group_set_cold(ks, &ref, key.hash, type, ttl);
    else
        group_insert_cold(ks, &key, type, ttl);
}
