/* Sums of the keys of a store; see keysums.h. */
#include "engine/space/keysums.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/store/store.h"
#include "engine/value/rowkey.h"

#define READAHEAD_BYTES (1u << 20)

void keysums_init(struct keysums *s, struct store *store, uint64_t at_ms, uint16_t first,
                  uint16_t end)
{
    uint8_t from[2];

    CHECK(first < end && end <= ROW_SUM_BUCKETS);
    memset(s, 0, sizeof(*s));
    s->store = store;
    s->slot_end = (uint16_t)(end * ROW_SUM_BUCKET_SLOTS);
    row_sum_init(&s->sum, at_ms);
    buf_init(&s->name, ROWKEY_BYTES_MAX);
    buf_init(&s->after, ROWKEY_BYTES_MAX);
    be16_store(from, (uint16_t)(first * ROW_SUM_BUCKET_SLOTS));
    CHECK(buf_append(&s->after, from, sizeof(from)) == 0);
}

void keysums_deinit(struct keysums *s)
{
    row_sum_deinit(&s->sum);
    buf_deinit(&s->name);
    buf_deinit(&s->after);
}

static void end_key(struct keysums *s)
{
    const uint16_t bucket = (uint16_t)(s->slot / ROW_SUM_BUCKET_SLOTS);
    const uint64_t sum = s->open ? row_sum_end(&s->sum) : 0;

    s->open = false;
    if (sum == 0)
        return;
    s->keys++;
    s->sums[bucket] += sum;
    if (s->fn != NULL)
        s->fn(s->ctx, bucket, buf_bytes(&s->name), sum);
}

static void set(struct buf *buf, struct bytes bytes)
{
    buf_clear(buf);
    CHECK(buf_append_bytes(buf, bytes) == 0);
}

static void take_row(struct keysums *s, const struct store_iter *it)
{
    const struct bytes name = store_iter_key(it);
    struct bytes row = bytes_of(NULL, 0);
    struct rowkey rk;
    int err = 0;

    s->bytes += name.len;
    if (rowkey_parse(name, &rk) != 0) {
        s->damaged++;
        return;
    }
    if (store_iter_row(it, &row) != STORE_FOUND) {
        s->damaged++;
        row = bytes_of(NULL, 0);
    }
    s->bytes += row.len;
    if (!s->open || s->slot != rk.slot || !bytes_eq(buf_bytes(&s->name), rk.key)) {
        end_key(s);
        set(&s->name, rk.key);
        s->slot = rk.slot;
        s->open = true;
        err = row_sum_key(&s->sum, rk.key, rk.kind == ROWKEY_KIND_KEY ? row : bytes_of(NULL, 0));
    }
    if (rk.kind != ROWKEY_KIND_KEY)
        err = row_sum_elem(&s->sum, rk.kind, rk.sub, row);
    s->damaged += err != 0;
}

int keysums_next(struct keysums *s, uint64_t bytes_max)
{
    uint8_t upper[2];
    const uint64_t stop = s->bytes + bytes_max;
    struct store_iter *it;

    be16_store(upper, s->slot_end);
    const struct store_iter_options options = {.upper = bytes_of(upper, sizeof(upper)),
                                               .readahead_bytes = READAHEAD_BYTES};
    int err = store_iter_open(s->store, &options, &it);
    if (err != 0)
        return err;
    store_iter_seek(it, buf_bytes(&s->after));
    if (store_iter_valid(it) && bytes_eq(store_iter_key(it), buf_bytes(&s->after)))
        store_iter_next(it);
    for (; store_iter_valid(it) && s->bytes < stop; store_iter_next(it)) {
        take_row(s, it);
        set(&s->after, store_iter_key(it));
    }
    const bool more = store_iter_valid(it);
    err = more ? 0 : store_iter_status(it);
    store_iter_close(it);
    if (err != 0)
        return err;
    if (!more)
        end_key(s);
    return more;
}
