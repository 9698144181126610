/* Sums of rows as members compare them; see row_same.h. */
#include "engine/value/row_same.h"

#include <errno.h>

#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/value/row_state.h"

uint64_t row_same_name(const struct rowkey *rk, uint64_t seed)
{
    const uint64_t key = sum64_seed(rk->key.ptr, rk->key.len, seed);

    return sum64_seed(rk->sub.ptr, rk->sub.len, key + rk->kind);
}

static uint64_t sum_of(struct bytes row, uint64_t name)
{
    const uint64_t sum = sum64_seed(row.ptr, row.len, ~name);

    return sum != 0 ? sum : 1; /* 0 means that nothing is there. */
}

static int general(struct bytes row, uint64_t name, uint64_t *out)
{
    struct row_state *state = mem_alloc(sizeof(*state));
    struct buf settled;

    buf_init(&settled, SIZE_MAX);
    int err = row_decode(row, state);
    if (err == 0) {
        row_state_settle(state);
        state->count = state->count_lsn = 0;
        err = row_encode(state, &settled);
    }
    if (err == 0)
        row = buf_bytes(&settled);
    if (err != -ENOMEM) {
        err = 0;
        *out = row.len == 1 && row.ptr[0] == ROW_DEAD ? 0 : sum_of(row, name);
        /* It may have become a simple one. */
        if (row.len == ROW_COLL_BYTES && row.ptr[0] == ROW_COLL)
            *out = sum_of(bytes_of(row.ptr, ROW_COLL_COUNT_AT), name);
    }
    buf_deinit(&settled);
    mem_free(state);
    return err;
}

int row_same_sum(struct bytes row, uint64_t name, uint64_t *out)
{
    if (row.len == 0 || (row.len == 1 && row.ptr[0] == ROW_DEAD)) {
        *out = 0;
        return 0;
    }
    if (row.ptr[0] == ROW_GENERAL)
        return general(row, name, out);
    if (row.ptr[0] == ROW_COLL && row.len == ROW_COLL_BYTES)
        row = bytes_of(row.ptr, ROW_COLL_COUNT_AT);
    *out = sum_of(row, name);
    return 0;
}
