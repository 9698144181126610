/*
 * Delta resync: what one has oneself and the peer has the same, which it therefore does not send.
 *
 * The own rows of a range of slots are summed up in buckets for the peer (replica_same.h). When it
 * has sent what differs and said which buckets that is, the own rows of the others are read, piece
 * by piece, on the maintenance thread, and go to the new store as if the peer had sent them. Nobody
 * changes the old store meanwhile, so that both walks see the same.
 */
#include "engine/base/check.h"
#include "engine/base/err.h"

#include "replication/replica_impl.h"
#include "replication/replica_same.h"

#define PIECE_BYTES (1u << 20)

int replica_alike_sum(struct replica *r)
{
    struct alike *a = &r->take.alike;

    return replica_same_sum(r->take.kept, a->first, &a->sums, &a->range);
}

/* `last`: the key of the last row that was read. */
static int read_rows(struct replica *r, struct store_iter *it, struct buf *last)
{
    const struct alike *a = &r->take.alike;
    size_t bytes = 0;
    int err = 0;

    for (; err == 0 && store_iter_valid(it) && bytes < PIECE_BYTES; store_iter_next(it)) {
        const struct bytes key = store_iter_key(it);
        struct bytes row;

        buf_clear(last);
        CHECK(buf_append_bytes(last, key) == 0);
        bytes += key.len;
        if (wire_sync_differs(buf_bytes(&a->differ), replica_same_bucket(key, &a->range)))
            continue;
        if (store_iter_row(it, &row) != STORE_FOUND)
            return -ERR_CORRUPT;
        bytes += row.len;
        err = replica_take_put_row(&r->take.rows, key, row);
    }
    return err == 0 && !store_iter_valid(it) ? store_iter_status(it) : err;
}

static int open_behind(const struct replica *r, struct store_iter **out)
{
    const struct alike *a = &r->take.alike;
    const struct bytes after = buf_bytes(&a->after);
    uint8_t from[SAME_SLOT_BYTES], beyond[SAME_SLOT_BYTES];
    const struct store_iter_options options = {.upper = replica_same_slot(beyond, a->range.end),
                                               .readahead_bytes = PIECE_BYTES};
    const int err = store_iter_open(r->take.kept, &options, out);

    if (err != 0)
        return err;
    store_iter_seek(*out, after.len != 0 ? after : replica_same_slot(from, a->range.first));
    if (after.len != 0 && store_iter_valid(*out) && bytes_eq(store_iter_key(*out), after))
        store_iter_next(*out);
    return 0;
}

int replica_alike_piece(struct replica *r)
{
    struct alike *a = &r->take.alike;
    struct store_iter *it;
    struct buf last;

    CHECK(a->differ.len == wire_sync_differ_bytes(a->range.bits));
    buf_clear(&r->take.rows);
    int err = open_behind(r, &it);
    if (err != 0)
        return err;
    buf_init(&last, UINT32_MAX);
    err = read_rows(r, it, &last);
    /* After an error the piece is read once more, from its begin. */
    if (err == 0) {
        a->end = !store_iter_valid(it);
        buf_clear(&a->after);
        CHECK(buf_append_bytes(&a->after, buf_bytes(&last)) == 0);
    }
    store_iter_close(it);
    buf_deinit(&last);
    return err;
}
