/*
 * Reads of parts of lists.
 *
 * A list's gap (coll.h) is filled from either side, a slice at a time: one flight reads some rows
 * from its bound on, and what comes back moves the bound. A command that needs more than a slice
 * asks again. Rows in the gap cannot change, so that no flight brings old news.
 */
#include "engine/base/check.h"
#include "engine/base/err.h"

#include "engine/space/flight.h"
#include "engine/space/ks_state.h"
#include "engine/space/resident.h"

/* Elements that are read together, however few are asked for. */
#define ROWS_MIN 128u

/* --- on the pool's threads --- */

/* Appends the row at the cursor; false if it is beyond the gap. */
static bool take_row(struct flight *f, struct store_iter *it, void *ctx)
{
    struct rowkey rk;
    struct bytes row;
    const struct bytes name = store_iter_key(it);
    const struct bytes far = buf_bytes(&f->far);

    (void)ctx;
    if (rowkey_parse(name, &rk) != 0 || rk.kind != ROWKEY_KIND_LIST ||
        !bytes_eq(rk.key, flight_key(f).name))
        return false;
    if (far.len != 0) {
        const int order = f->back ? bytes_cmp(name, far) : bytes_cmp(far, name);
        if (order < 0 || (order == 0 && !f->far_in))
            return false;
    }
    if (store_iter_row(it, &row) != STORE_FOUND) {
        f->err = -ERR_CORRUPT;
        return false;
    }
    f->err = flight_rows_add(f, rk.sub, row);
    return f->err == 0;
}

static void read_slices(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++) {
        struct flight *f = container_of(jobs[i], struct flight, job);
        flight_walk(f, flight_row_key(f), take_row, NULL);
    }
}

/* --- back on the shard's thread --- */

static int install(struct flight *f, struct coll *coll)
{
    struct bytes rows = buf_bytes(&f->rows);
    struct bytes pos, row;
    const struct ks_key key = flight_key(f);

    while (flight_rows_take(&rows, &pos, &row)) {
        if (listpos_check(pos) != 0)
            return -ERR_CORRUPT;
        if (!flight_row_ok(f, coll, &key, &row))
            return f->err;
        coll_gap_fill(f->ks, coll, pos, row, !f->back);
    }
    if (f->end || (coll->gap != NULL && coll->gap->count == 0))
        coll_gap_end(f->ks, coll);
    return 0;
}

static void on_read(struct mail *mail)
{
    flight_part_land(container_of(container_of(mail, struct pool_job, mail), struct flight, job),
                     install);
}

/* --- what a command asks --- */

/* A read of `n` more elements on that side of the gap. */
static int fill(struct keyspace *ks, const struct ks_key *key, struct coll *coll, bool front,
                uint64_t n, struct ks_wait *wait)
{
    const struct list_gap *gap = coll->gap;
    const enum flight_kind kind = front ? FLIGHT_FRONT : FLIGHT_BACK;
    const struct bytes near = buf_bytes(front ? &gap->low : &gap->high);
    const struct bytes far = buf_bytes(front ? &gap->high : &gap->low);
    struct flight *f = flight_find(ks, kind, key, near);

    if (f != NULL)
        return flight_wait(f, wait);
    /* Without a bound: from the first or last row that an element can have. */
    const struct flight_spec spec = {
        .kind = kind, .row_kind = ROWKEY_KIND_LIST, .sub = near, .coll = coll};
    f = flight_create(ks, key, &spec, on_read);
    if (near.len == 0 && !front)
        f->data[f->key_len + f->row_key_len - 1] = ROWKEY_KIND_LIST + 1;
    if (far.len != 0) {
        const size_t len =
            rowkey_store_elem(ks->name, key->slot, key->hash, key->name, ROWKEY_KIND_LIST, far);
        CHECK(buf_append(&f->far, ks->name, len) == 0);
    }
    f->back = !front;
    f->near_in = front ? gap->low_in : gap->high_in;
    f->far_in = front ? gap->high_in : gap->low_in;
    f->rows_max = (uint32_t)u64_min(u64_max(n, ROWS_MIN), FLIGHT_SLICE_ROWS);
    pool_submit(&ks->ends_class, &f->job);
    return flight_wait(f, wait);
}

/*
 * Whether what a command needs on that side, and has got so far, is more than it may load. What
 * stands on the other side, such as the newest elements of a queue, is no matter of it.
 */
static bool too_much(const struct keyspace *ks, const struct coll *coll, bool front)
{
    const uint64_t have = front ? coll_list_front(coll) : coll_list_back(coll);

    return listq_bytes_of_end(&coll->seq, front, have, ks->scan_bytes_max) > ks->scan_bytes_max;
}

int ks_need_list(struct keyspace *ks, const struct ks_key *key, uint64_t front, uint64_t back,
                 struct ks_wait *wait)
{
    const int waiting = ks_need_key(ks, key, wait);
    if (waiting != 0)
        return waiting;
    struct coll *coll = ks_peek_coll(ks, key);
    if (coll == NULL || coll->type != VT_LIST || coll->gap == NULL)
        return 0;
    const bool more_front = coll_list_front(coll) < front;
    const bool more_back = coll_list_back(coll) < back;
    if (!more_front && !more_back)
        return 0;
    if ((more_front && too_much(ks, coll, true)) || (more_back && too_much(ks, coll, false)))
        return -ERR_LIMIT;
    int reads = 0;
    if (more_front)
        reads += fill(ks, key, coll, true, front - coll_list_front(coll), wait);
    if (more_back)
        reads += fill(ks, key, coll, false, back - coll_list_back(coll), wait);
    return reads;
}

void flight_list_init(struct keyspace *ks)
{
    ks->ends_class = (struct pool_class){.name = "ends",
                                         .priority = POOL_FOREGROUND,
                                         .batch_max = 1,
                                         .run_batch = read_slices,
                                         .ctx = ks};
    pool_add_class(ks->options.readers, &ks->ends_class);
}
