/* Looking ahead; ahead.h tells why. */
#include "engine/space/ahead.h"

#include "engine/space/ks_state.h"

/* Of an object; the processor itself goes on with what is longer. */
#define OBJ_AHEAD_BYTES_MAX 512

/* An element to look for. */
struct elem_ahead {
    const struct elemtab *tab;
    uint64_t hash;
};

static bool same_key(const struct ks_ahead *a, const struct ks_ahead *b)
{
    return a->key.hash == b->key.hash && a->key.slot == b->key.slot;
}

/* The table of the collection that is most likely the key's; NULL: not to be looked into. */
static const struct elemtab *tab_of(const struct obj *obj)
{
    if (obj == NULL || (obj->h.flags & BLK_COLL) == 0)
        return NULL;
    const struct coll *coll = obj_coll(obj);
    return coll->type == VT_LIST ? NULL : &coll->tab;
}

/*
 * The lines of an object behind those that keytab_ahead asked for: a read copies the value from
 * there, a write copies it to there.
 */
static void rest_of(const struct obj *obj)
{
    if (obj == NULL || (obj->h.flags & BLK_COLL) != 0)
        return;
    const size_t end = size_min(obj_bytes(obj), OBJ_AHEAD_BYTES_MAX);
    for (size_t at = KEYTAB_AHEAD_BYTES; at < end; at += 64)
        __builtin_prefetch((const uint8_t *)obj + at);
}

void ks_ahead(const struct keyspace *ks, const struct ks_ahead *a, uint32_t n)
{
    struct keytab_ahead keys[KS_AHEAD_MAX];
    struct elem_ahead elems[KS_AHEAD_MAX];
    uint32_t elems_count = 0;
    uint32_t k = 0;

    CHECK(n <= KS_AHEAD_MAX);
    for (uint32_t i = 0; i < n; i++) {
        /* Many commands on one key are common. */
        if (i == 0 || !same_key(&a[i], &a[i - 1]))
            keys[k++] = (struct keytab_ahead){.hash = a[i].key.hash, .slot = a[i].key.slot};
    }
    keytab_ahead(ks->tab, keys, k);
    for (uint32_t i = 0; i < k; i++)
        rest_of(keys[i].obj);

    k = 0;
    for (uint32_t i = 0; i < n; i++) {
        k += i != 0 && !same_key(&a[i], &a[i - 1]);
        const struct elemtab *tab = a[i].has_sub ? tab_of(keys[k].obj) : NULL;
        if (tab != NULL)
            elems[elems_count++] =
                (struct elem_ahead){.tab = tab, .hash = elemtab_hash(tab, a[i].sub)};
    }
    for (unsigned stage = 0; stage < ELEMTAB_PREFETCH_STAGES; stage++) {
        for (uint32_t i = 0; i < elems_count; i++)
            elemtab_prefetch(elems[i].tab, elems[i].hash, stage);
    }
}
