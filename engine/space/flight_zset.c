/*
 * Reads of ranges of sorted sets.
 *
 * A flight walks some rows of the score index from a place on, in either direction, and reads the
 * row of each member that it finds: one index block for many, one block for each member. What the
 * ranges are afterwards is noted in the collection (coll.h). One flight per set at a time; a
 * command that needs more asks again.
 *
 * A member that is in DRAM is newer than what is read. An index row whose member shows another
 * score, or does not show at all, is stale: it is left out, and removed with the next batch.
 */
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/flight.h"
#include "engine/space/ks_state.h"
#include "engine/space/resident.h"

/* Members that are read together, however few are asked for. */
#define ROWS_MIN 32u
/* What a member takes in DRAM beside its name and row, roughly. */
#define ELEM_BYTES 48u
/* Before the member's row, in what a flight brings: score, tag of the index row. */
#define HEAD_BYTES (ROWKEY_SCORE_BYTES + TAG_BYTES)

/* --- on the pool's threads --- */

/* Appends the member of an index row, with its row. */
static int take_member(struct flight *f, struct store_iter *it, const struct rowkey *rk,
                       struct bytes index_row, uint8_t *name)
{
    struct row_view view;
    struct store_value value;
    const struct bytes member = bytes_from(rk->sub, ROWKEY_SCORE_BYTES);

    int err = row_view(index_row, 0, &view);
    if (err != 0)
        return err;
    const size_t len = rowkey_store_elem(name, f->slot, f->hash, rk->key, ROWKEY_KIND_ZSET, member);
    store_iter_get(it, bytes_of(name, len), STORE_READ_NO_FILL, &value);
    if (value.status != STORE_FOUND && value.status != STORE_ABSENT) {
        err = value.err != 0 ? value.err : -ERR_CORRUPT;
    } else {
        uint8_t head[FLIGHT_ROW_HEAD_BYTES + HEAD_BYTES];
        /* As flight_rows_add, in two parts. */
        flight_row_head(head, member.len, HEAD_BYTES + value.row.len);
        err = buf_reserve(&f->rows, sizeof(head) + member.len + value.row.len);
        if (err == 0)
            err = buf_append(&f->rows, head, FLIGHT_ROW_HEAD_BYTES);
        if (err == 0)
            err = buf_append_bytes(&f->rows, member);
        memcpy(head, rk->sub.ptr, ROWKEY_SCORE_BYTES);
        tag_store(head + ROWKEY_SCORE_BYTES, view.tag);
        if (err == 0)
            err = buf_append(&f->rows, head, HEAD_BYTES);
        if (err == 0)
            err = buf_append_bytes(&f->rows, value.row);
    }
    store_value_release(&value);
    return err;
}

/* Appends the row at the cursor; false if it is beyond what is wanted. `ctx`: for a row key. */
static bool take_row(struct flight *f, struct store_iter *it, void *ctx)
{
    uint8_t *name = ctx;
    struct rowkey rk;
    struct bytes row;
    const struct bytes far = buf_bytes(&f->far);

    if (rowkey_parse(store_iter_key(it), &rk) != 0 || rk.kind != ROWKEY_KIND_ZINDEX ||
        !bytes_eq(rk.key, flight_key(f).name))
        return false;
    if (far.len != 0 && (f->back ? bytes_cmp(rk.sub, far) < 0 : bytes_cmp(rk.sub, far) > 0))
        return false;
    f->err = store_iter_row(it, &row) == STORE_FOUND ? 0 : -ERR_CORRUPT;
    if (f->err == 0)
        f->err = take_member(f, it, &rk, row, name);
    buf_clear(&f->last);
    if (f->err == 0)
        f->err = buf_append_bytes(&f->last, rk.sub);
    return f->err == 0;
}

/* The first row: of the index, or at the near bound. */
static struct bytes first_row(const struct flight *f, uint8_t *name)
{
    const struct bytes prefix = flight_row_key(f);
    size_t len = prefix.len;

    memcpy(name, prefix.ptr, prefix.len);
    if (f->resume.len != 0)
        memcpy(name + len, f->resume.ptr, f->resume.len);
    else if (f->back)
        name[len - 1]++;
    len += f->resume.len;
    return bytes_of(name, len);
}

static void read_slice(struct flight *f)
{
    uint8_t *name = mem_alloc(ROWKEY_BYTES_MAX);

    flight_walk(f, first_row(f, name), take_row, name);
    mem_free(name);
}

static void read_slices(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        read_slice(container_of(jobs[i], struct flight, job));
}

/* --- back on the shard's thread --- */

static int install(struct flight *f, struct coll *coll)
{
    struct bytes rows = buf_bytes(&f->rows);
    struct bytes member, row;
    struct keyspace *ks = f->ks;
    const struct ks_key key = flight_key(f);
    double score;

    while (flight_rows_take(&rows, &member, &row)) {
        f->scanned_bytes += ELEM_BYTES + member.len + row.len;
        const double at = rowkey_score_load(row.ptr);
        const struct tag tag = tag_load(row.ptr + ROWKEY_SCORE_BYTES);
        row = bytes_from(row, HEAD_BYTES);
        if (coll_remembers(coll, member) || ks_sweep_hides(ks, &key, tag))
            continue;
        if (!flight_row_ok(f, coll, &key, &row))
            return f->err;
        if (bytes_empty(row) || row_score(row, &score) != 0 || score != at) {
            ks->metrics.stale_index_rows++;
            coll_index_add_gone(coll, at, member);
            continue;
        }
        coll_install(ks, coll, member, row);
    }
    const struct coll_zset_read read = {.from = buf_bytes(&f->resume),
                                        .to = buf_bytes(f->end ? &f->far : &f->last),
                                        .bytes = f->scanned_bytes,
                                        .range = f->range,
                                        .anew = f->near_in,
                                        .back = f->back};
    coll_zset_cover(ks, coll, &read);
    return 0;
}

static void on_read(struct mail *mail)
{
    flight_part_land(container_of(container_of(mail, struct pool_job, mail), struct flight, job),
                     install);
}

/* --- what a command asks --- */

static void bound(struct buf *to, struct bytes zkey)
{
    CHECK(buf_append_bytes(to, zkey) == 0);
}

/* Whether the rest is too much to be read. `missing`: members of it, at most. */
static bool too_much(const struct keyspace *ks, const struct ks_zset_need *want, uint64_t missing,
                     uint64_t begun_bytes)
{
    const uint64_t max =
        want->bytes_max != 0 ? u64_min(want->bytes_max, ks->scan_bytes_max) : ks->scan_bytes_max;

    return begun_bytes > max || (want->n_max != 0 && missing > want->n_max);
}

/* No more than may be read at all, if the members are short. */
static uint32_t slice_rows(const struct ks_zset_need *want, uint64_t n)
{
    uint64_t rows = u64_min(n, FLIGHT_SLICE_ROWS);

    if (want->bytes_max != 0)
        rows = u64_min(rows, want->bytes_max / ELEM_BYTES);
    return (uint32_t)u64_max(rows, ROWS_MIN);
}

int ks_need_zset(struct keyspace *ks, const struct ks_key *key, const struct ks_zset_need *want,
                 struct ks_wait *wait)
{
    const int waiting = ks_need_key(ks, key, wait);
    if (waiting != 0)
        return waiting;
    struct coll *coll = ks_peek_coll(ks, key);
    if (coll == NULL || coll->type != VT_ZSET)
        return 0;
    /* Nothing lies between them, and no range would ever hold both. */
    if (want->low.len != 0 && want->high.len != 0 && bytes_cmp(want->low, want->high) > 0)
        return 0;
    uint32_t range;
    const enum coll_zset_state state = coll_zset_state(coll, want, &range);
    if (state == COLL_ZSET_THERE)
        return 0;
    struct flight *f = flight_find(ks, FLIGHT_ZSET, key, bytes_of(NULL, 0));
    if (f != NULL)
        return flight_wait(f, wait);
    const struct zset_range *begun = &coll->side->range[range];
    const bool anew = state == COLL_ZSET_APART;
    const uint64_t n = anew ? want->n : coll_zset_missing(coll, want, range);
    if (too_much(ks, want, n, anew ? 0 : begun->bytes))
        return -ERR_LIMIT;
    const struct flight_spec spec = {
        .kind = FLIGHT_ZSET, .row_kind = ROWKEY_KIND_ZINDEX, .coll = coll};
    f = flight_create(ks, key, &spec, on_read);
    f->back = want->back;
    f->near_in = anew;
    bound(&f->far, want->back ? want->low : want->high);
    if (f->near_in)
        bound(&f->resume, want->back ? want->high : want->low);
    else
        bound(&f->resume, buf_bytes(want->back ? &begun->low : &begun->high));
    f->range = range;
    f->rows_max = slice_rows(want, n);
    pool_submit(&ks->zset_class, &f->job);
    return flight_wait(f, wait);
}

void flight_zset_init(struct keyspace *ks)
{
    ks->zset_class = (struct pool_class){.name = "zset",
                                         .priority = POOL_FOREGROUND,
                                         .batch_max = 1,
                                         .run_batch = read_slices,
                                         .ctx = ks};
    pool_add_class(ks->options.readers, &ks->zset_class);
}
