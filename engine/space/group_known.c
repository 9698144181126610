/*
 * Cold keys of a group that are written as a whole: SET, DEL, or another value in their place.
 *
 * The op of such a write carries what the key row knows (row_seen), and whether the key was there;
 * of its elements it says nothing, since a clear vector takes them all. So neither the chunks of a
 * string nor the elements of a collection are read, which may be more than memory takes:
 *
 *     need      reads the key row, and what follows it within a slice. A key that ends there
 *               becomes hot, and so does a plain string, whatever is left of others
 *     known     of a larger one the key row stands in the overlay from then on, as a full entry
 *               that is not dirty, while a command that has asked for it is under way
 *     raised    the write makes of it an object that is dead, with nothing, as if all had been
 *               loaded and freed (set_hot). What is left on flash is garbage under its clear
 *               vector, swept as any
 *
 * Whether the key exists is what the key table says; where that is not settled (KS_MAYBE), the read
 * is that of a probe (group_load.c).
 */
#include "engine/base/check.h"

#include "engine/space/flight.h"
#include "engine/space/group_impl.h"
#include "engine/space/resident.h"
#include "engine/value/rowkey.h"

struct overlay_entry *group_known(const struct keyspace *ks, const struct ks_key *key)
{
    const struct overlay *o = &ks->group->overlay;
    const struct overlay_key *k = overlay_key_find(o, key);
    struct overlay_entry *e =
        k == NULL ? NULL : overlay_find(o, k, ROWKEY_KIND_KEY, bytes_of(NULL, 0));

    return e != NULL && e->full ? e : NULL;
}

int ks_need_row(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait)
{
    struct keytab_ref ref;

    switch (keytab_find(ks->tab, key->slot, key->hash, key->name, &ref)) {
    case KEYTAB_NONE:
        return 0;
    case KEYTAB_HOT:
        /* It may have to outlast the reads of the others that the command names. */
        if (ref.obj->heat == 0)
            ref.obj->heat = 1;
        return 0;
    case KEYTAB_COLD:
        break;
    }
    if (group_known(ks, key) == NULL)
        return group_need(ks, key, FLIGHT_ROW, wait);
    return keytab_type(&ref) == KS_MAYBE ? group_need(ks, key, FLIGHT_PROBE, wait) : 0;
}

bool ks_group_cold_expired(const struct keyspace *ks, const struct ks_key *key, uint64_t now_ms)
{
    const struct overlay_entry *e = group_known(ks, key);
    struct row_view view;

    if (e == NULL)
        return false;
    group_view(overlay_row(e), &view);
    return view.expire_at_ms != 0 && view.expire_at_ms <= now_ms;
}

/* --- pins --- */

bool ks_group_pin(struct keyspace *ks, uint16_t slot, uint64_t hash)
{
    struct overlay_key *k =
        ks->group == NULL ? NULL : overlay_key_by_hash(&ks->group->overlay, slot, hash);

    if (k == NULL || k->pins == UINT32_MAX)
        return false;
    k->pins++;
    return true;
}

void ks_group_unpin(struct keyspace *ks, uint16_t slot, uint64_t hash)
{
    struct overlay *o = ks->group == NULL ? NULL : &ks->group->overlay;
    struct overlay_key *k = o == NULL ? NULL : overlay_key_by_hash(o, slot, hash);

    /* Another may have taken its place meanwhile. */
    if (k == NULL || k->pins == 0 || --k->pins != 0)
        return;
    struct overlay_entry *e = overlay_find(o, k, ROWKEY_KIND_KEY, bytes_of(NULL, 0));
    if (e == NULL || e->h.dirty != 0)
        return;
    overlay_remove(o, e);
    group_account(ks);
}

bool group_keeps_known(const struct overlay_entry *e)
{
    return e->key->pins != 0 && e->kind == ROWKEY_KIND_KEY && e->full && e->h.row_len != 0;
}
