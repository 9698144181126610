/* Demotion; demote.h tells the order. */
#include "engine/space/demote.h"

#include "engine/base/clock.h"
#include "engine/base/crc16.h"
#include "engine/base/mem.h"

#include "engine/space/flush.h"
#include "engine/space/ks_state.h"

/* The part of DRAM that the ring of probation may take. */
#define KS_PROBATION_SHARE 256
/* Leaves of the key table between two looks at the clock. */
#define LEAVES_PER_LOOK 4
/* A full turn of the hand that frees nothing ends the slice: what is left is dirty or in use. */
#define IDLE_LEAVES_MAX 512
/* Large collections have a good part of DRAM: this share, with so much for an element. */
#define LARGE_SHARE      4
#define LARGE_ELEM_BYTES 64
/* A sorted set of more members than this does not leave as a whole. */
#define ZSET_WHOLE_SIZE 8192
/* Parts of a turn of the hand, in which the turn of the large collections is counted. */
#define TURN_BITS   32
#define CURSOR_BITS (KEYTAB_CURSOR_HASH_BITS + 14)
STATIC_ASSERT(KEY_SLOTS == 1 << 14);

void ks_set_pressure(struct keyspace *ks, bool pressure)
{
    ks->pressure = pressure;
}

void ks_set_scan_bytes_max(struct keyspace *ks, uint64_t bytes)
{
    ks->scan_bytes_max = bytes;
}

uint64_t ks_scan_bytes_max(const struct keyspace *ks)
{
    return ks->scan_bytes_max;
}

uint64_t ks_hot_bytes(const struct keyspace *ks)
{
    return ks->bytes;
}

void ks_sizes(const struct keyspace *ks, struct ks_sizes *out)
{
    *out = (struct ks_sizes){.keytab_bytes = keytab_bytes(ks->tab),
                             .hot_bytes = ks_hot_bytes(ks),
                             .probation = ks->probation->count,
                             .tombstones = ks->tombstones,
                             .dirty_rows = dirty_waiting(&ks->dirty) + ks->dirty.flight_count,
                             .reads = ks->flights_count,
                             .sweeps = ks_sweep_count(ks)};
}

/* --- probation --- */

/* The oldest key leaves: cold again, unless it was touched. */
static void probation_pop(struct keyspace *ks)
{
    struct ks_probation *p = ks->probation;
    struct keytab_ref ref;
    const struct ks_probationer k = p->key[p->first];

    p->first = (p->first + 1) & (p->max - 1);
    p->count--;
    if (!keytab_find_hot(ks->tab, k.slot, k.hash, &ref) || (ref.obj->h.flags & BLK_PROBATION) == 0)
        return;
    ref.obj->h.flags &= (uint8_t)~BLK_PROBATION;
    /* The first touch is that of the command which asked for it. */
    if (!ks->pressure || ref.obj->heat > 1 || ref.obj->pins != 0)
        return;
    if ((ref.obj->h.flags & BLK_COLL) == 0)
        (void)ks_demote(ks, &ref, true);
}

void ks_probation_add(struct keyspace *ks, const struct ks_key *key)
{
    struct ks_probation *p = ks->probation;
    struct keytab_ref ref;

    if (!keytab_find_hot(ks->tab, key->slot, key->hash, &ref))
        return;
    ref.obj->h.flags |= BLK_PROBATION;
    if (p->count == p->max)
        probation_pop(ks);
    p->key[(p->first + p->count++) & (p->max - 1)] =
        (struct ks_probationer){.hash = key->hash, .slot = key->slot};
}

void ks_probation_init(struct keyspace *ks)
{
    const uint64_t max =
        ks->options.dram_bytes / KS_PROBATION_SHARE / sizeof(struct ks_probationer);
    struct ks_probation *p = mem_zalloc(sizeof(*p));

    p->max = KS_PROBATION_MAX;
    while (ks->options.dram_bytes != 0 && p->max > KS_PROBATION_MIN && p->max > max)
        p->max /= 2;
    p->key = mem_zalloc_array(p->max, sizeof(*p->key));
    ks->probation = p;
}

void ks_probation_deinit(struct keyspace *ks)
{
    if (ks->probation != NULL)
        mem_free(ks->probation->key);
    mem_free(ks->probation);
    ks->probation = NULL;
}

/* --- the clock --- */

struct hand {
    struct keyspace *ks;
    uint32_t met; /* Hot keys, but for large collections; in one step of the hand. */
};

void ks_demote_age(struct keyspace *ks)
{
    ks->clock_may_age = true;
}

/*
 * Whether the turn of the hand that begins now takes touches away. Where large collections wait for
 * the write-back the hand comes round a few keys many times a second, mostly in vain, and would
 * take keys that are read every other moment.
 */
static bool turn_ages(struct keyspace *ks)
{
    const bool writing = dirty_any(&ks->dirty) || ks_flush_busy(ks);
    const bool large = ks->large_size * LARGE_ELEM_BYTES > ks->bytes / LARGE_SHARE;
    const bool ages = ks->clock_may_age || !writing || !large;

    ks->clock_may_age = false;
    return ages;
}

/*
 * A large hash may be pinned by one command after the other, all the time: of hashes and sets only
 * the pins of the holder (wait.c) keep the elements as well.
 */
static bool keeps_all(const struct obj *obj)
{
    const struct coll *coll = obj_coll(obj);
    const bool parts = coll->type == VT_HASH || coll->type == VT_SET;

    return parts ? coll->held : obj->pins != 0;
}

static bool is_large(const struct obj *obj)
{
    return (obj->h.flags & BLK_COLL) != 0 && obj_coll(obj)->large_size != 0;
}

/* All elements but those that are in use leave on their own; a list keeps its ends, for example. */
static bool goes_in_parts(const struct obj *obj)
{
    const struct coll *coll = obj_coll(obj);

    return (coll->type == VT_HASH || coll->type == VT_SET) && !coll->grouped;
}

/*
 * A sorted set leaves as a whole, as it keeps the members of ranges that were read: but not one
 * that is so large, every member of which would be looked at first. Nobody uses it: it keeps no
 * range any more and shrinks until it is small enough.
 */
static bool shrinks_first(const struct obj *obj)
{
    struct coll *coll = obj_coll(obj);

    if (coll->type != VT_ZSET || coll->grouped || coll->large_size <= ZSET_WHOLE_SIZE)
        return false;
    coll_zset_uncover(coll);
    return true;
}

static void visit(void *ctx, const struct keytab_entry *entry)
{
    struct hand *h = ctx;
    struct obj *obj = entry->ref.obj;

    if (unlikely(h->ks->group != NULL) && entry->kind == KEYTAB_HOT &&
        (obj->h.flags & BLK_DEAD) != 0) {
        (void)ks_group_demote_dead(h->ks, &entry->ref);
        return;
    }
    if (entry->kind != KEYTAB_HOT || (obj->h.flags & (BLK_DEAD | BLK_PROBATION)) != 0)
        return;
    const bool large = is_large(obj);
    h->met += !large;
    if ((obj->h.flags & BLK_COLL) != 0 && !large && !keeps_all(obj))
        (void)coll_shed(h->ks, obj_coll(obj));
    if (obj->pins != 0)
        return;
    if (obj->heat != 0) {
        if (h->ks->clock_ages)
            obj->heat--;
        return;
    }
    if (obj->h.dirty == 0 && !(large && (goes_in_parts(obj) || shrinks_first(obj))))
        (void)ks_demote(h->ks, &entry->ref, false);
}

/* --- large collections --- */

/* The next one in turn; true if something went, or came nearer to it. */
static bool shed_large(struct keyspace *ks)
{
    struct list_link *link = list_pop_front(&ks->large);

    if (link == NULL)
        return false;
    struct coll *coll = LIST_ITEM(link, struct coll, large_link);
    list_push_back(&ks->large, link);
    if ((coll->obj->h.flags & (BLK_DEAD | BLK_PROBATION)) != 0 || keeps_all(coll->obj))
        return false;
    return coll_shed(ks, coll);
}

/* A step of the hand, or of the large collections, whichever is behind. True as shed_large. */
static bool look(struct hand *h)
{
    struct keyspace *ks = h->ks;
    const uint64_t before = ks->bytes, from = ks->clock_hand;

    if (ks->large_credit >> TURN_BITS != 0) {
        ks->large_credit -= UINT64_C(1) << TURN_BITS;
        return shed_large(ks);
    }
    h->met = 0;
    for (int i = 0; i < LEAVES_PER_LOOK; i++) {
        if (ks->clock_hand == 0)
            ks->clock_ages = turn_ages(ks);
        ks->clock_hand = keytab_walk(ks->tab, ks->clock_hand, visit, h);
    }
    const uint64_t turn = UINT64_C(1) << CURSOR_BITS;
    const uint64_t moved =
        ks->clock_hand > from ? ks->clock_hand - from : turn - (from - ks->clock_hand);
    const uint64_t steps = u64_min(ks->large_size / COLL_SHED_SIZE, UINT32_MAX);
    ks->large_credit += steps * (moved >> (CURSOR_BITS - TURN_BITS));
    const bool nearer = h->met == 0 && shed_large(ks);
    return nearer || ks->bytes < before;
}

bool ks_demote_some(struct keyspace *ks, uint64_t bytes, uint64_t slice_ns)
{
    const uint64_t start = ks->bytes;
    const uint64_t until_ns = clock_mono_ns() + slice_ns;
    struct hand h = {.ks = ks};
    struct ks_probation *p = ks->probation;
    uint32_t idle = 0;
    bool nearer = ks_reap_some(ks, 0);

    /* Probation may hold a tenth of what is resident. */
    while (p->count > keytab_count_hot(ks->tab) / 10 && start - ks->bytes < bytes)
        probation_pop(ks);
    while (start - ks->bytes < bytes && ks->bytes <= start && idle < IDLE_LEAVES_MAX) {
        const bool any = look(&h);
        nearer |= any;
        idle = any ? 0 : idle + LEAVES_PER_LOOK;
        if (clock_mono_ns() >= until_ns)
            break;
    }
    return nearer || ks->bytes < start;
}
