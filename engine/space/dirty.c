/* The dirty ring; dirty.h tells how it works. */
#include "engine/space/dirty.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#define SEQ_MASK       0x3fffffffu
#define FLIGHT_BIT     0x80000000u
#define RING_CAP_MIN   1024u
#define RING_CAP_MAX   (1u << 29)
#define FLIGHT_CAP_MIN 256u

void dirty_init(struct dirty *d)
{
    *d = (struct dirty){.cap = RING_CAP_MIN, .flight_cap = FLIGHT_CAP_MIN};
    d->ring = mem_zalloc_array(d->cap, sizeof(*d->ring));
    d->flight = mem_zalloc_array(d->flight_cap, sizeof(*d->flight));
}

void dirty_deinit(struct dirty *d)
{
    mem_free(d->ring);
    mem_free(d->flight);
    *d = (struct dirty){0};
}

static struct dirty_entry *ring_at(struct dirty *d, uint32_t seq)
{
    return &d->ring[seq & (d->cap - 1)];
}

static size_t row_weight(const struct row_head *row)
{
    return (size_t)row->row_len + row->name_len;
}

/* Sequence numbers stay, so that no row has to learn a new place. */
static void ring_resize(struct dirty *d, uint32_t cap)
{
    CHECK(cap <= RING_CAP_MAX);
    struct dirty_entry *ring = mem_zalloc_array(cap, sizeof(*ring));
    for (uint32_t seq = d->head; seq != d->tail; seq = (seq + 1) & SEQ_MASK)
        ring[seq & (cap - 1)] = *ring_at(d, seq);
    mem_free(d->ring);
    d->ring = ring;
    d->cap = cap;
}

static void ring_push(struct dirty *d, struct row_head *row, struct coll *coll, uint64_t lsn)
{
    if (dirty_waiting(d) == d->cap)
        ring_resize(d, d->cap * 2);
    *ring_at(d, d->tail) = (struct dirty_entry){.lsn = lsn, .row = row, .coll = coll};
    row->dirty = d->tail + 1;
    d->tail = (d->tail + 1) & SEQ_MASK;
    d->bytes += row_weight(row);
}

static struct dirty_entry *entry_of(struct dirty *d, const struct row_head *row)
{
    CHECK(row->dirty != 0);
    if ((row->dirty & FLIGHT_BIT) != 0)
        return &d->flight[row->dirty & ~FLIGHT_BIT];
    return ring_at(d, row->dirty - 1);
}

void dirty_mark(struct dirty *d, struct row_head *row, struct coll *coll, uint64_t lsn)
{
    if (row->dirty != 0) {
        if ((row->dirty & FLIGHT_BIT) == 0)
            return;
        entry_of(d, row)->row = NULL;
    }
    ring_push(d, row, coll, lsn);
}

void dirty_forget(struct dirty *d, struct row_head *row)
{
    if (row->dirty == 0)
        return;
    struct dirty_entry *entry = entry_of(d, row);
    CHECK(entry->row == row);
    entry->row = NULL;
    if ((row->dirty & FLIGHT_BIT) == 0)
        d->bytes -= u64_min(d->bytes, row_weight(row));
    row->dirty = 0;
}

void dirty_moved(struct dirty *d, struct row_head *row)
{
    if (row->dirty != 0)
        entry_of(d, row)->row = row;
}

void dirty_inherit(struct dirty *d, struct row_head *row, struct row_head *heir)
{
    CHECK(heir->dirty == 0);
    /* What is in flight is in the batch; if that fails its position is remembered. */
    if (row->dirty == 0 || (row->dirty & FLIGHT_BIT) != 0) {
        dirty_forget(d, row);
        return;
    }
    heir->dirty = row->dirty;
    row->dirty = 0;
    dirty_moved(d, heir);
}

void dirty_set_coll(struct dirty *d, struct row_head *row, struct coll *coll)
{
    entry_of(d, row)->coll = coll;
}

/* Drops gone entries at the head, and gives a large ring's memory back when it is nearly empty. */
static void ring_skip_gone(struct dirty *d)
{
    while (d->head != d->tail && ring_at(d, d->head)->row == NULL)
        d->head = (d->head + 1) & SEQ_MASK;
    if (d->head == d->tail)
        d->bytes = 0;
    /* At once: when nothing is dirty any more nobody may look for long. */
    uint32_t cap = d->cap;
    while (cap > RING_CAP_MIN * 16 && dirty_waiting(d) < cap / 16)
        cap /= 4;
    if (cap != d->cap)
        ring_resize(d, cap);
}

/* True while sequence number `seq` lies ahead of the head. */
static bool ring_ahead(const struct dirty *d, uint32_t seq)
{
    return ((seq - d->head) & SEQ_MASK) - 1 < dirty_waiting(d);
}

uint64_t dirty_lowest_lsn(struct dirty *d)
{
    ring_skip_gone(d);
    if (d->failed_lsn != 0 && !ring_ahead(d, d->failed_until))
        d->failed_lsn = 0;
    const uint64_t first = d->head == d->tail ? UINT64_MAX : ring_at(d, d->head)->lsn;
    return d->failed_lsn != 0 ? u64_min(first, d->failed_lsn) : first;
}

static void flight_reserve(struct dirty *d)
{
    if (d->flight_count < d->flight_cap)
        return;
    d->flight_cap *= 2;
    d->flight = mem_realloc(d->flight, d->flight_cap * sizeof(*d->flight));
}

struct row_head *dirty_take(struct dirty *d, uint32_t end, struct coll **out_coll)
{
    ring_skip_gone(d);
    if (!ring_ahead(d, end))
        return NULL;
    flight_reserve(d);
    /* A row may be older than its entry says, if its entry is from after the failed write. */
    if (d->failed_lsn != 0)
        d->flight_lsn = d->failed_lsn;
    const struct dirty_entry entry = *ring_at(d, d->head);
    d->head = (d->head + 1) & SEQ_MASK;
    d->bytes -= u64_min(d->bytes, row_weight(entry.row));
    entry.row->dirty = FLIGHT_BIT | d->flight_count;
    d->flight[d->flight_count++] = entry;
    *out_coll = entry.coll;
    return entry.row;
}

void dirty_flight_done(struct dirty *d,
                       void (*fn)(void *ctx, struct row_head *row, struct coll *coll), void *ctx)
{
    for (uint32_t i = 0; i < d->flight_count; i++) {
        const struct dirty_entry entry = d->flight[i];
        if (entry.row == NULL)
            continue;
        entry.row->dirty = 0;
        fn(ctx, entry.row, entry.coll);
    }
    d->flight_count = 0;
    d->flight_lsn = 0;
}

/* Puts one flight entry before the head. A row that waits again already has its later entry. */
static void ring_push_front(struct dirty *d, const struct dirty_entry *entry)
{
    if (dirty_waiting(d) == d->cap)
        ring_resize(d, d->cap * 2);
    d->head = (d->head - 1) & SEQ_MASK;
    *ring_at(d, d->head) = *entry;
    entry->row->dirty = d->head + 1;
    d->bytes += row_weight(entry->row);
}

void dirty_return(struct dirty *d, struct row_head *row, struct coll *coll, uint64_t lsn)
{
    CHECK((row->dirty & FLIGHT_BIT) != 0);
    entry_of(d, row)->row = NULL;
    ring_skip_gone(d);
    /* The head of the ring has the lowest position of all. */
    if (d->head != d->tail)
        lsn = u64_min(lsn, ring_at(d, d->head)->lsn);
    const struct dirty_entry entry = {.lsn = lsn, .row = row, .coll = coll};
    ring_push_front(d, &entry);
}

void dirty_flight_failed(struct dirty *d)
{
    uint64_t lowest = d->failed_lsn != 0 ? d->failed_lsn : UINT64_MAX;
    if (d->flight_lsn != 0)
        lowest = u64_min(lowest, d->flight_lsn);
    for (uint32_t i = 0; i < d->flight_count; i++)
        lowest = u64_min(lowest, d->flight[i].lsn);
    d->failed_lsn = lowest;
    d->failed_until = d->tail;
    for (uint32_t i = d->flight_count; i-- > 0;) {
        if (d->flight[i].row != NULL)
            ring_push_front(d, &d->flight[i]);
    }
    d->flight_count = 0;
    d->flight_lsn = 0;
}
