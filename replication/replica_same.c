/* Sums of rows in buckets, and their comparison; see replica_same.h. */
#include "replication/replica_same.h"

#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/crc16.h"
#include "engine/base/le.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"
#include "engine/base/sum.h"

#include "engine/store/store.h"
#include "engine/value/row_same.h"
#include "engine/value/rowkey.h"

#define READAHEAD_BYTES (1u << 20)
#define BUCKET_ROWS     2u
/* Of a row while they are gathered: name 8 | sum 8, in the order of this machine. */
#define PAIR_BYTES 16u

struct bytes replica_same_slot(uint8_t dst[SAME_SLOT_BYTES], uint16_t slot)
{
    be16_store(dst, slot);
    return bytes_of(dst, SAME_SLOT_BYTES);
}

static uint64_t name_of(struct bytes key, uint64_t seed)
{
    struct rowkey rk;

    /* What is no row has nothing that is the same elsewhere. */
    return rowkey_parse(key, &rk) == 0 ? row_same_name(&rk, seed)
                                       : sum64_seed(key.ptr, key.len, seed);
}

uint32_t replica_same_bucket(struct bytes key, const struct wire_sync_range *range)
{
    return wire_sync_bucket(name_of(key, range->seed), range->bits);
}

/* A row that cannot be read is not the same as any, nor as itself at the peer. */
static int sum_row(struct store_iter *it, uint64_t name, uint64_t *out, size_t *out_bytes)
{
    struct bytes row;

    *out_bytes = store_iter_key(it).len;
    if (store_iter_row(it, &row) != STORE_FOUND) {
        return rng_os_bytes(out, sizeof(*out));
    }
    *out_bytes += row.len;
    return row_same_sum(row, name, out);
}

/* --- the one who asks --- */

struct gather {
    struct buf pairs;
    uint64_t rows;
    uint64_t bytes;
    /* Up to where the slot under way begins. */
    size_t pairs_before;
    uint16_t slot;
    bool whole; /* The first slot is too large for sums. */
};

static int add_pair(struct gather *g, uint64_t name, uint64_t sum)
{
    const uint64_t pair[2] = {name, sum};

    STATIC_ASSERT(sizeof(pair) == PAIR_BYTES);
    return sum == 0 ? 0 : buf_append(&g->pairs, pair, sizeof(pair));
}

static bool is_full(const struct gather *g)
{
    return g->rows >= SAME_ROWS || g->bytes >= SAME_BYTES;
}

/* Rows up to the end of a range, in `*out`: a slot. */
static int gather(struct gather *g, struct store_iter *it, struct wire_sync_range *range)
{
    int err = 0;

    range->end = KEY_SLOTS;
    g->slot = range->first;
    for (; err == 0 && store_iter_valid(it); store_iter_next(it)) {
        const struct bytes key = store_iter_key(it);
        const uint16_t slot = wire_sync_slot(key);
        const uint64_t name = name_of(key, range->seed);
        uint64_t sum;
        size_t bytes;

        if (slot != g->slot && is_full(g)) {
            range->end = slot;
            return 0;
        }
        if (slot != g->slot)
            g->pairs_before = g->pairs.len;
        g->slot = slot;
        err = sum_row(it, name, &sum, &bytes);
        if (err == 0)
            err = add_pair(g, name, sum);
        g->rows++;
        g->bytes += bytes;
        if (g->rows <= SAME_ROWS_MAX && g->bytes <= SAME_BYTES_MAX)
            continue;
        /* Without the last slot there is less than a range, or nothing. */
        g->whole = slot == range->first;
        range->end = g->whole ? (uint16_t)(slot + 1) : slot;
        buf_truncate(&g->pairs, g->pairs_before);
        return err;
    }
    return err != 0 ? err : store_iter_status(it);
}

static int add_up(const struct gather *g, struct wire_sync_range *range, struct buf *sums)
{
    const size_t count = g->pairs.len / PAIR_BYTES;

    range->bits = 0;
    while (range->bits < WIRE_SYNC_BITS_MAX && ((uint64_t)BUCKET_ROWS << range->bits) < count)
        range->bits++;
    const size_t len = (size_t)8 << range->bits;
    const int err = buf_reserve(sums, len);
    if (err != 0)
        return err;
    memset(buf_end(sums), 0, len);
    buf_commit(sums, len);
    for (size_t i = 0; i < count; i++) {
        uint64_t pair[2];

        memcpy(pair, g->pairs.ptr + i * PAIR_BYTES, sizeof(pair));
        uint8_t *at = sums->ptr + (size_t)8 * wire_sync_bucket(pair[0], range->bits);
        le64_store(at, le64_load(at) + pair[1]);
    }
    range->sums = buf_bytes(sums);
    return 0;
}

static int open_at(struct store *store, uint16_t first, struct store_iter **out)
{
    uint8_t from[SAME_SLOT_BYTES], beyond[SAME_SLOT_BYTES];
    const struct store_iter_options options = {.upper = replica_same_slot(beyond, KEY_SLOTS),
                                               .readahead_bytes = READAHEAD_BYTES};
    const int err = store_iter_open(store, &options, out);

    if (err == 0)
        store_iter_seek(*out, replica_same_slot(from, first));
    return err;
}

int replica_same_sum(struct store *store, uint16_t first, struct buf *sums,
                     struct wire_sync_range *out)
{
    struct wire_sync_range range = {.first = first, .bits = WIRE_SYNC_ALL};
    struct gather g = {0};
    struct store_iter *it = NULL;

    CHECK(first < KEY_SLOTS);
    buf_clear(sums);
    int err = rng_os_bytes(&range.seed, sizeof(range.seed));
    if (err == 0)
        err = open_at(store, first, &it);
    if (err != 0)
        return err;
    buf_init(&g.pairs, SIZE_MAX);
    err = gather(&g, it, &range);
    store_iter_close(it);
    if (err == 0 && !g.whole)
        err = add_up(&g, &range, sums);
    buf_deinit(&g.pairs);
    if (err == 0)
        *out = range;
    return err;
}

/* --- the one who gives --- */

/*
 * Takes the own rows from the sums, up to the slot `*end`. 1: there are too many of them in one
 * slot. Rows of a slot that was left in its middle make buckets differ, and nothing else.
 */
static int take_off(struct store_iter *it, const struct wire_sync_range *range, uint8_t *sums,
                    uint16_t *end)
{
    uint8_t from[SAME_SLOT_BYTES];
    uint64_t rows = 0, bytes = 0;
    uint16_t last = range->first;
    int err = 0;

    *end = range->end;

    store_iter_seek(it, replica_same_slot(from, range->first));
    for (; err == 0 && store_iter_valid(it); store_iter_next(it)) {
        const struct bytes key = store_iter_key(it);
        const uint16_t slot = wire_sync_slot(key);
        const uint64_t name = name_of(key, range->seed);
        uint64_t sum;
        size_t row_bytes;

        if (slot >= range->end)
            return 0;
        if (slot != last && (rows >= 2u * SAME_ROWS || bytes >= 2u * (uint64_t)SAME_BYTES)) {
            *end = slot;
            return 0;
        }
        last = slot;
        err = sum_row(it, name, &sum, &row_bytes);
        bytes += row_bytes;
        if (++rows > 2u * SAME_ROWS_MAX || bytes > 2u * (uint64_t)SAME_BYTES_MAX) {
            *end = slot == range->first ? (uint16_t)(slot + 1) : slot;
            return slot == range->first;
        }
        if (err == 0) {
            uint8_t *at = sums + (size_t)8 * wire_sync_bucket(name, range->bits);
            le64_store(at, le64_load(at) - sum);
        }
    }
    return err != 0 ? err : store_iter_status(it);
}

/* 0 and the sums without the own rows; 1: they cannot be compared. */
static int take_off_all(struct store_iter *it, const struct wire_sync_range *range,
                        struct buf *sums, uint16_t *end)
{
    const int err = buf_append_bytes(sums, range->sums);

    return err != 0 ? err : take_off(it, range, sums->ptr, end);
}

int replica_same_compare(struct store_iter *it, const struct wire_sync_range *range,
                         struct buf *differ, uint16_t *end)
{
    const size_t len = wire_sync_differ_bytes(range->bits);
    struct buf sums;

    CHECK(range->bits <= WIRE_SYNC_BITS_MAX && range->sums.len == (size_t)8 << range->bits);
    buf_clear(differ);
    int err = buf_reserve(differ, len);
    if (err != 0)
        return err;
    buf_init(&sums, SIZE_MAX);
    err = take_off_all(it, range, &sums, end);
    if (err >= 0) {
        memset(buf_end(differ), err == 0 ? 0 : 0xff, len);
        buf_commit(differ, len);
    }
    for (uint32_t i = 0; err == 0 && i < 1u << range->bits; i++) {
        if (le64_load(sums.ptr + (size_t)8 * i) != 0)
            differ->ptr[i >> 3] |= (uint8_t)(1u << (i & 7));
    }
    buf_deinit(&sums);
    return err < 0 ? err : 0;
}
