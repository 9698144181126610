/*
 * What a store shows, as sums of its keys (engine/value/row_sum.h) in buckets of slots: two stores
 * that show the same have the same sums, in whatever order their rows were made.
 *
 *     bucket = slot / ROW_SUM_BUCKET_SLOTS; its sum is the sum of the key sums, modulo 2^64
 *
 * The walk goes in slices, each of which sees the store as it is then: the sums are of one moment
 * only where nothing was changed meanwhile. Blocks; one thread at a time.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYSUMS_H
#define TIERRA_ENGINE_SPACE_KEYSUMS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/crc16.h"

#include "engine/value/row_sum.h"

struct store;

/* A key that shows something. */
typedef void keysums_fn(void *ctx, uint16_t bucket, struct bytes name, uint64_t sum);

struct keysums {
    struct store *store;
    keysums_fn *fn; /* May be NULL. */
    void *ctx;
    struct row_sum sum;
    struct buf name;  /* Of the key under way. */
    struct buf after; /* The last row that was read. */
    uint16_t slot;    /* Of the key under way; */
    bool open;        /* there is one. */
    uint16_t slot_end;
    uint64_t keys;    /* That show something. */
    uint64_t damaged; /* Rows that could not be read. */
    uint64_t bytes;   /* Of all rows, with their names. */
    uint64_t sums[ROW_SUM_BUCKETS];
};

/* Of the buckets from `first` to before `end`. `at_ms` as for row_sum_init. */
void keysums_init(struct keysums *s, struct store *store, uint64_t at_ms, uint16_t first,
                  uint16_t end);
void keysums_deinit(struct keysums *s);

/* Goes on for about `bytes_max` of rows. 1: there is more; 0: that was all; or the error of the
 * store, which ends it. */
MUST_USE int keysums_next(struct keysums *s, uint64_t bytes_max);

#endif
