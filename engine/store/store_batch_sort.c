/*
 * Sorting the records of a batch, in two rounds of an ordinary sort over 16 bytes a record.
 *
 *     round 1  by the first eight bytes of the key, as a number: slot and hash tell keys apart
 *     round 2  rows of one collection agree in those and in more. Each run of equal words gets the
 *              eight bytes behind what the run has in common, and is sorted by them
 *
 * Where two words are equal the whole keys are compared, then the places in the batch.
 */
#include "engine/store/store_batch_sort.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store_impl.h"

#define RECORDS_MIN 16u
#define WORD_BYTES  8u

struct sort_item {
    uint64_t word; /* Bytes of the key, big-endian, with zeros behind its end. */
    uint32_t at;   /* Of the record. */
    uint32_t len;  /* Of the record. */
};

static struct bytes record_key(const uint8_t *base, const struct sort_item *item)
{
    struct bytes rest = bytes_of(base + item->at + 1, item->len - 1);
    struct bytes key;
    uint64_t len;

    CHECK(varint_get(&rest, &len) == 0);
    CHECK(bytes_take(&rest, len, &key));
    return key;
}

static uint64_t word_of(struct bytes key, size_t from)
{
    uint8_t word[WORD_BYTES] = {0};
    const size_t len = key.len - from;

    if (likely(len >= WORD_BYTES))
        return be64_load(key.ptr + from);
    if (len != 0)
        memcpy(word, key.ptr + from, len);
    return be64_load(word);
}

static int item_cmp(const void *a, const void *b, void *ctx)
{
    const struct sort_item *x = a, *y = b;
    const uint8_t *const *base = ctx;

    if (likely(x->word != y->word))
        return x->word < y->word ? -1 : 1;
    const int order = bytes_cmp(record_key(*base, x), record_key(*base, y));
    if (order != 0)
        return order;
    return x->at < y->at ? -1 : x->at > y->at;
}

static int word_cmp(const void *a, const void *b)
{
    const struct sort_item *x = a, *y = b;

    return x->word < y->word ? -1 : x->word > y->word;
}

static size_t common_bytes(struct bytes a, struct bytes b, size_t most)
{
    const size_t end = size_min(most, size_min(a.len, b.len));
    size_t n = 0;

    while (n < end && a.ptr[n] == b.ptr[n])
        n++;
    return n;
}

/* Items whose first words are equal. */
static void sort_run(const uint8_t *base, struct sort_item *items, size_t n)
{
    const struct bytes first = record_key(base, &items[0]);
    size_t common = first.len;

    for (size_t i = 1; i < n; i++)
        common = common_bytes(first, record_key(base, &items[i]), common);
    for (size_t i = 0; i < n; i++)
        items[i].word = word_of(record_key(base, &items[i]), common);
    qsort_r(items, n, sizeof(*items), item_cmp, &base);
}

static void sort_items(const uint8_t *base, struct sort_item *items, size_t n)
{
    qsort(items, n, sizeof(*items), word_cmp);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && items[end].word == items[i].word; end++) {
        }
        if (end - i > 1)
            sort_run(base, items + i, end - i);
    }
}

/* Finds the records; true if their keys are in order. */
static bool find_items(const struct store_batch *batch, struct sort_item *items, size_t n)
{
    const uint8_t *const base = batch->buf.ptr;
    struct bytes records = store_batch_records(batch), before = bytes_of(NULL, 0);
    struct store_record record;
    bool sorted = true;

    for (size_t i = 0; i < n; i++) {
        const uint8_t *const start = records.ptr;
        CHECK(store_batch_next(&records, &record));
        items[i] = (struct sort_item){.word = word_of(record.key, 0),
                                      .at = (uint32_t)(start - base),
                                      .len = (uint32_t)(records.ptr - start)};
        sorted = sorted && bytes_cmp(before, record.key) <= 0;
        before = record.key;
    }
    CHECK(records.len == 0);
    return sorted;
}

uint8_t *store_batch_sorted(const struct store_batch *batch)
{
    const size_t n = store_batch_records_count(batch);
    uint8_t *sorted = NULL;

    if (n < RECORDS_MIN || batch->buf.len > UINT32_MAX)
        return NULL;
    struct sort_item *items = mem_try_alloc(n * sizeof(*items));
    if (items == NULL)
        return NULL;
    if (!find_items(batch, items, n) && (sorted = mem_try_alloc(batch->buf.len)) != NULL) {
        const uint8_t *const base = batch->buf.ptr;
        sort_items(base, items, n);
        memcpy(sorted, base, STORE_BATCH_HEADER_BYTES);
        uint8_t *to = sorted + STORE_BATCH_HEADER_BYTES;
        for (size_t i = 0; i < n; to += items[i++].len)
            memcpy(to, base + items[i].at, items[i].len);
    }
    mem_free(items);
    return sorted;
}
