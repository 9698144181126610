/* Reading the key rows of the store; keyscan.h. */
#include "engine/space/keyscan.h"

#include "engine/base/err.h"

#include "engine/space/ks_state.h"
#include "engine/store/store.h"
#include "engine/value/row.h"
#include "engine/value/rowkey.h"

void keyscan_init(struct keyscan *s, struct store *store, bool group)
{
    *s = (struct keyscan){.store = store, .group = group};
    buf_init(&s->after, ROWKEY_BYTES_MAX + 1);
}

void keyscan_deinit(struct keyscan *s)
{
    buf_deinit(&s->after);
}

/* Garbage that waits to be swept, or elements. Its key row may be gone: over it in one step. */
static int pass_elements(struct keyscan *s, struct store_iter *it, const struct rowkey *rk)
{
    const struct bytes prefix = bytes_of(store_iter_key(it).ptr, ROWKEY_HEAD_BYTES + rk->key.len);

    buf_clear(&s->after);
    const int err = buf_reserve(&s->after, prefix.len + 1);
    if (err != 0)
        return err;
    buf_commit(&s->after, rowkey_store_after(buf_end(&s->after), prefix));
    store_iter_seek(it, buf_bytes(&s->after));
    return 0;
}

/* Gives the key at the cursor to fn and moves on, or moves on past its element rows. */
static int take_row(struct keyscan *s, struct store_iter *it, keyscan_fn fn, void *ctx)
{
    struct rowkey rk;
    struct row_view view;
    struct bytes row;

    int err = rowkey_parse(store_iter_key(it), &rk);
    if (err != 0)
        return err;
    if (rk.kind != ROWKEY_KIND_KEY)
        return pass_elements(s, it, &rk);
    if (store_iter_row(it, &row) != STORE_FOUND)
        return -ERR_CORRUPT;
    err = row_view(row, 0, &view);
    if (err != 0)
        return err;
    const uint8_t type = s->group ? ks_group_cold_type(row, &view) : row_table_type(&view);
    if (type != VT_NONE)
        err = fn(ctx, rk.slot, rk.hash, type, view.expire_at_ms != 0);
    if (err == 0)
        store_iter_next(it);
    return err;
}

/* Remembers the row at the cursor: the next slice begins there. */
static int remember(struct keyscan *s, const struct store_iter *it)
{
    buf_clear(&s->after);
    return buf_append_bytes(&s->after, store_iter_key(it));
}

int keyscan_next(struct keyscan *s, uint64_t max, keyscan_fn fn, void *ctx)
{
    static const uint8_t beyond[1] = {0x80};
    const struct store_iter_options options = {.upper = bytes_of(beyond, 1),
                                               .readahead_bytes = 2u << 20};
    struct store_iter *it;

    int err = store_iter_open(s->store, &options, &it);
    if (err != 0)
        return err;
    store_iter_seek(it, buf_bytes(&s->after));
    for (; store_iter_valid(it) && err == 0 && max != 0; max--)
        err = take_row(s, it, fn, ctx);
    if (err == 0)
        err = store_iter_status(it);
    if (err == 0 && store_iter_valid(it)) {
        err = remember(s, it);
        err = err == 0 ? 1 : err;
    }
    store_iter_close(it);
    return err;
}
