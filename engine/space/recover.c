/* Start of a keyspace; recover.h tells the plan. */
#include "engine/space/recover.h"

#include "engine/base/err.h"

#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/ks_state.h"

/* No loop waits. */
#define DEMOTE_SLICE_NS 1000000000

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
    if (coll_remembers(coll, sub))
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

void ks_recover_put(struct keyspace *ks, struct coll *coll, const struct ks_elem *elem,
                    uint64_t count)
{
    const struct tag tag_before = coll->tag;
    const uint64_t lsn_before = coll->lsn;
    const uint64_t count_before = coll->count;

    if (!bytes_empty(elem->row)) {
        (void)ks_apply_elem(ks, coll, elem->sub, elem->tag, elem->lsn, elem->row);
        /* The store may have it, also if it does not have the key: a delete must reach it. */
        coll_find(coll, elem->sub)->h.flags |= BLK_STORED;
    } else {
        coll_bury(ks, coll, elem->sub, elem->lsn);
    }
    if (elem->lsn >= lsn_before) {
        coll->count = count;
        return;
    }
    /* The key row was written after this change: its count is right, and later. */
    coll->tag = tag_before;
    coll->lsn = lsn_before;
    coll->count = count_before;
}

uint64_t ks_recover_held(const struct keyspace *ks)
{
    /* The ring doubles: up to two places for each that is used. */
    return ks_bytes(ks) + 2 * sizeof(struct dirty_entry) * (uint64_t)dirty_waiting(&ks->dirty);
}

void ks_recover_demote(struct keyspace *ks)
{
    const uint64_t keep = ks->bytes / 2;

    /* A look takes back second touches only, so that there may be a second one. */
    while (ks->bytes > keep && ks_demote_some(ks, ks->bytes - keep, DEMOTE_SLICE_NS)) {
    }
}

int ks_recover_flush(struct keyspace *ks, uint64_t lsn, const struct vv *vv)
{
    ks_flush_point(ks, lsn, vv);
    const int err = ks_flush_now(ks);
    if (err == 0)
        ks->recovered_lists = false;
    return err;
}
