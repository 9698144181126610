/*
 * Walking the key table leaf by leaf, from a cursor.
 */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/keytab_impl.h"

#define CURSOR_SHIFT (64 - KEYTAB_CURSOR_HASH_BITS)

/* A cursor as slot and hash. False: behind the last slot. */
static bool cursor_split(uint64_t cursor, uint16_t *slot, uint64_t *hash)
{
    if (cursor >> KEYTAB_CURSOR_HASH_BITS >= KEY_SLOTS)
        return false;
    *slot = (uint16_t)(cursor >> KEYTAB_CURSOR_HASH_BITS);
    *hash = cursor << CURSOR_SHIFT;
    return true;
}

/*
 * The first leaf with anything at or after slot and hash, which become its slot and what is left of
 * them: the hash where it, or the rest of it, begins. 0: there is none. `*after` is the cursor of
 * what follows its range, 0 at the end of the table.
 */
static uint64_t leaf_at(const struct keytab *t, uint16_t *slot, uint64_t *hash, uint64_t *after)
{
    uint32_t s = *slot;
    uint64_t h = *hash;

    for (; s < KEY_SLOTS; s++, h = 0) {
        if (t->root[s].ref == 0)
            continue;
        uint64_t end = h;
        const uint64_t ref = trie_next(&t->root[s].ref, &end);
        if (ref == 0)
            continue;
        const struct trie_leaf *leaf = trie_ptr(ref);
        *slot = (uint16_t)s;
        *hash = h > (uint64_t)leaf->prefix << 32 ? h : (uint64_t)leaf->prefix << 32;
        if (end != 0)
            *after = keytab_cursor((uint16_t)s, end);
        else
            *after = s + 1 < KEY_SLOTS ? keytab_cursor((uint16_t)(s + 1), 0) : 0;
        return ref;
    }
    return 0;
}

/* The cursor of the next leaf that has any entries. */
static uint64_t skip_empty(const struct keytab *t, uint64_t cursor)
{
    uint16_t slot;
    uint64_t hash;
    uint64_t after;

    if (cursor == 0 || !cursor_split(cursor, &slot, &hash))
        return 0;
    return leaf_at(t, &slot, &hash, &after) == 0 ? 0 : keytab_cursor(slot, hash);
}

static struct keytab_entry entry_of(const struct leaf_view *v, uint64_t ref, uint16_t slot,
                                    uint32_t i)
{
    const uint64_t payload = leaf_load(v->payload, i);
    struct keytab_entry entry = {
        .kind = KEYTAB_COLD,
        .slot = slot,
        .ref = {.leaf = trie_ptr(ref),
                .index = i,
                .slot = slot,
                .leaf_class = (uint8_t)trie_class(ref)},
    };

    if ((payload & LEAF_HOT) != 0) {
        entry.kind = KEYTAB_HOT;
        entry.ref.obj = leaf_ptr(payload);
    } else {
        entry.hash = leaf_cold_hash(v->fp[i], payload);
    }
    return entry;
}

static uint64_t hash_at(const struct keytab *t, const struct leaf_view *v, uint32_t i)
{
    return trie_entry_hash(&keytab_ops, t, v->fp[i], leaf_load(v->payload, i));
}

uint64_t keytab_walk(struct keytab *t, uint64_t cursor, keytab_walk_fn fn, void *ctx)
{
    uint16_t slot;
    uint64_t hash;
    uint64_t after;

    CHECK(!t->walking);
    if (!cursor_split(cursor, &slot, &hash))
        return 0;
    const uint64_t ref = leaf_at(t, &slot, &hash, &after);
    if (ref == 0)
        return 0;
    struct trie_leaf *leaf = trie_ptr(ref);
    const struct leaf_view v = leaf_view(leaf, trie_class(ref), keytab_ops.caps);
    const bool whole = hash == (uint64_t)leaf->prefix << 32;
    const uint32_t count = t->root[slot].count;
    leaf_prefetch(&v);
    t->walking = true;
    /* Downwards, as a removal brings the last entry to the place of the removed one. */
    for (uint32_t i = v.count; i-- > 0;) {
        if (!whole && hash_at(t, &v, i) < hash)
            continue;
        const struct keytab_entry entry = entry_of(&v, ref, slot, i);
        fn(ctx, &entry);
    }
    t->walking = false;
    if (t->root[slot].count != count) {
        const struct trie trie = keytab_trie(t, slot);
        trie_settle(&trie, leaf, trie_class(ref));
    }
    return skip_empty(t, after);
}

/* --- in order --- */

/* The entries of a leaf that a scan may show: its position and its index. */
struct scan_entry {
    uint64_t hash;
    uint32_t index;
};

static void sort_entries(struct scan_entry *entries, size_t count)
{
    static const size_t gaps[] = {3548, 1577, 701, 301, 132, 57, 23, 10, 4, 1};

    for (size_t g = 0; g < ARRAY_COUNT(gaps); g++) {
        for (size_t i = gaps[g]; i < count; i++) {
            const struct scan_entry entry = entries[i];
            size_t at = i;
            for (; at >= gaps[g] && entries[at - gaps[g]].hash > entry.hash; at -= gaps[g])
                entries[at] = entries[at - gaps[g]];
            entries[at] = entry;
        }
    }
}

static size_t gather(const struct keytab *t, const struct leaf_view *v, uint64_t from,
                     struct scan_entry *out)
{
    size_t count = 0;

    leaf_prefetch(v);
    for (uint32_t i = 0; i < v->count; i++) {
        const uint64_t hash = hash_at(t, v, i) >> CURSOR_SHIFT << CURSOR_SHIFT;
        if (hash >= from)
            out[count++] = (struct scan_entry){.hash = hash, .index = i};
    }
    sort_entries(out, count);
    return count;
}

/* What a scan wants. */
struct scan {
    const struct keytab *t;
    keytab_walk_fn fn;
    void *ctx;
    size_t left; /* Entries to show; more is allowed. */
};

/* Shows what is left of a leaf from `from` on; returns where it stopped, 0 if nowhere. */
static uint64_t scan_leaf(struct scan *s, uint64_t ref, uint16_t slot, uint64_t from)
{
    struct scan_entry some[LEAF_ENTRIES_MAX];
    const struct leaf_view v = leaf_view(trie_ptr(ref), trie_class(ref), keytab_ops.caps);
    struct scan_entry *entries =
        v.count <= LEAF_ENTRIES_MAX ? some : mem_alloc(v.count * sizeof(struct scan_entry));
    const size_t total = gather(s->t, &v, from, entries);
    uint64_t stopped = 0;

    for (size_t i = 0; i < total; i++) {
        if (s->left == 0 && entries[i].hash != entries[i - 1].hash) {
            stopped = entries[i].hash;
            break;
        }
        struct keytab_entry entry = entry_of(&v, ref, slot, entries[i].index);
        if (entry.kind == KEYTAB_HOT)
            entry.hash = hash_at(s->t, &v, entries[i].index);
        s->fn(s->ctx, &entry);
        s->left -= s->left != 0;
    }
    if (entries != some)
        mem_free(entries);
    return stopped;
}

uint64_t keytab_scan(const struct keytab *t, uint64_t cursor, size_t count, keytab_walk_fn fn,
                     void *ctx)
{
    struct scan s = {.t = t, .fn = fn, .ctx = ctx, .left = size_max(count, 1)};

    do {
        uint16_t slot;
        uint64_t hash;
        uint64_t after;
        if (!cursor_split(cursor, &slot, &hash))
            return 0;
        const uint64_t ref = leaf_at(t, &slot, &hash, &after);
        if (ref == 0)
            return 0;
        const uint64_t stopped = scan_leaf(&s, ref, slot, hash);
        cursor = stopped != 0 ? keytab_cursor(slot, stopped) : after;
    } while (s.left != 0 && cursor != 0);
    return skip_empty(t, cursor);
}
