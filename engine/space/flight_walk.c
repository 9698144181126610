/* Reads of a part of a collection: from a row on, in either direction. */
#include "engine/base/err.h"

#include "engine/space/flight.h"
#include "engine/space/ks_state.h"

static void step(const struct flight *f, struct store_iter *it)
{
    if (f->back)
        store_iter_prev(it);
    else
        store_iter_next(it);
}

static void seek(const struct flight *f, struct store_iter *it, struct bytes from)
{
    if (f->back)
        store_iter_seek_prev(it, from);
    else
        store_iter_seek(it, from);
    if (!f->near_in && store_iter_valid(it) && bytes_eq(store_iter_key(it), from))
        step(f, it);
}

void flight_walk(struct flight *f, struct bytes from, flight_take_fn *take, void *ctx)
{
    struct store_iter *it;
    const struct store_iter_options options = {0};
    uint32_t rows = 0;

    f->err = store_iter_open(f->ks->options.store, &options, &it);
    if (f->err != 0)
        return;
    for (seek(f, it, from); store_iter_valid(it); step(f, it), rows++) {
        if (rows == f->rows_max || f->rows.len >= FLIGHT_SLICE_BYTES || !take(f, it, ctx))
            break;
    }
    f->end = rows < f->rows_max && f->rows.len < FLIGHT_SLICE_BYTES;
    if (f->err == 0)
        f->err = store_iter_status(it);
    store_iter_close(it);
}
