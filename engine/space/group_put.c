/* Write-back of the overlay: rows and operands of cold keys of a group (flush.h has the rules). */
#include "engine/base/check.h"

#include "engine/space/expire.h"
#include "engine/space/flight.h"
#include "engine/space/flush.h"
#include "engine/space/group_impl.h"
#include "engine/value/rowkey.h"

/*
 * The expiry index gets the times of a key row. Of an operand it gets all: an EXPIRE alone does not
 * show what it is of, and nobody may read the row before the time has come.
 */
static void put_times(struct keyspace *ks, const struct ks_key *key, struct bytes row, bool full)
{
    uint64_t at_ms[ROW_TIMES_MAX];
    struct row_view view;

    group_view(row, &view);
    if (view.expire_at_ms != 0)
        ks_expire_put(ks, key, view.expire_at_ms);
    const unsigned count = full ? 0 : row_times(row, at_ms);
    for (unsigned i = 0; i < count; i++) {
        if (at_ms[i] != view.expire_at_ms)
            ks_expire_put(ks, key, at_ms[i]);
    }
}

void ks_group_put(struct keyspace *ks, struct row_head *row)
{
    struct overlay_entry *e = container_of(row, struct overlay_entry, h);
    struct ks_flush *f = &ks->flush;
    struct keytab_ref ref;
    const struct ks_key key = {
        .name = overlay_key_name(e->key), .hash = e->key->hash, .slot = e->key->slot};
    const struct bytes data = overlay_row(e);
    const bool is_key = e->kind == ROWKEY_KIND_KEY;
    const size_t len =
        is_key ? rowkey_store_key(ks->name, key.slot, key.hash, key.name)
               : rowkey_store_elem(ks->name, key.slot, key.hash, key.name, e->kind, overlay_sub(e));
    const struct bytes name = bytes_of(ks->name, len);

    e->key->fresh = false;
    if (!e->full)
        CHECK(store_batch_merge(&f->batch, name, data) == 0);
    else if (data.len == 0)
        CHECK(store_batch_delete(&f->batch, name) == 0);
    else
        CHECK(store_batch_put(&f->batch, name, data) == 0);
    ks->metrics.flushed_bytes += name.len + data.len;
    if (is_key)
        put_times(ks, &key, data, e->full);
    /* What this entry has made of the key, as far as it is known. A hot key speaks for itself. */
    group_gc_note(ks, &key, data);
    switch (keytab_find(ks->tab, key.slot, key.hash, key.name, &ref)) {
    case KEYTAB_COLD:
        if (is_key && e->full && data.len == 0) {
            ks_keys_note(ks, &key, VT_NONE, false);
            break;
        }
        ks_keys_note(ks, &key, keytab_type(&ref), keytab_has_ttl(&ref));
        break;
    case KEYTAB_NONE:
        ks_keys_note(ks, &key, VT_NONE, false);
        break;
    case KEYTAB_HOT:
        break;
    }
}

void ks_group_written(struct keyspace *ks, struct row_head *row)
{
    struct overlay_entry *e = container_of(row, struct overlay_entry, h);
    const struct ks_key key = {
        .name = overlay_key_name(e->key), .hash = e->key->hash, .slot = e->key->slot};

    /* A read under way may have missed it. */
    ks_flights_stale(ks, &key);
    struct keytab_ref ref;
    /* Its key row has gone, and nothing else of it waits: that was all. */
    if (e->kind == ROWKEY_KIND_KEY && e->full && e->h.row_len == 0 &&
        list_first(&e->key->entries) == &e->link && e->link.next == &e->key->entries.head &&
        keytab_find(ks->tab, key.slot, key.hash, key.name, &ref) == KEYTAB_COLD &&
        keytab_type(&ref) == KS_GHOST) {
        group_uncount_cold(ks, &ref);
        keytab_remove(ks->tab, &ref);
    }
    if (group_keeps_known(e))
        return;
    overlay_remove(&ks->group->overlay, e);
    group_account(ks);
}
