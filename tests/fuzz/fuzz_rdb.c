/*
 * Fuzz target: values in Redis's serialisation. The input is a dump without its footer, which is
 * put behind it. Properties: what is read, written again and read is the same.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "server/rdb.h"

#include "tests/fuzz/fuzz.h"

#define ITEMS_MAX (16u << 20)
#define SEED      7

static void with_footer(struct bytes body, struct buf *out)
{
    buf_init(out, ITEMS_MAX);
    CHECK(buf_append_bytes(out, body) == 0);
    CHECK(rdb_write_footer(out) == 0);
    CHECK(rdb_footer_ok(buf_bytes(out)));
}

static void write_again(const struct rdb_value *v, struct buf *out)
{
    struct bytes in = buf_bytes(&v->items);
    struct bytes item;

    buf_init(out, 2 * ITEMS_MAX);
    CHECK(rdb_write_head(out, v->type, v->count) == 0);
    for (uint64_t i = 0; rdb_item(&in, &item); i++) {
        if (v->type == VT_ZSET && i % 2 != 0)
            CHECK(rdb_write_score(out, row_score_load(item.ptr)) == 0);
        else
            CHECK(rdb_write_string(out, item) == 0);
    }
    CHECK(in.len == 0);
    CHECK(rdb_write_footer(out) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf dump, again;
    struct rdb_value v, w;

    if (size > ITEMS_MAX / 2)
        return 0;
    with_footer(bytes_of(data, size), &dump);
    rdb_value_init(&v, ITEMS_MAX);
    if (rdb_read(buf_bytes(&dump), SEED, &v) == 0) {
        write_again(&v, &again);
        rdb_value_init(&w, ITEMS_MAX);
        CHECK(rdb_read(buf_bytes(&again), SEED, &w) == 0);
        CHECK(v.type == w.type && v.count == w.count);
        CHECK(bytes_eq(buf_bytes(&v.items), buf_bytes(&w.items)));
        rdb_value_deinit(&w);
        buf_deinit(&again);
    }
    rdb_value_deinit(&v);
    buf_deinit(&dump);
    return 0;
}
