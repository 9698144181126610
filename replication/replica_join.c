/*
 * Delta resync: one's own rows joined to those that a peer gave.
 *
 * All of the peer's rows are in the new store, under the names and in the order that rows have in
 * this directory; one's own are in the old one, which nobody changes any more. Both are walked side
 * by side, on the maintenance thread, and each key has its row made of the two (row_reconcile).
 * Only what differs from the peer's is written to the new store, as the rows of a copy are
 * (replica_take.c).
 *
 * A piece ends after so many bytes read; the next begins behind its last key, with new cursors:
 * what was written in between is before that.
 *
 * A row of one's own that is damaged cannot be joined: the peer's stays, and it is said.
 */
#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"

#include "engine/value/row.h"

#include "replication/replica_impl.h"

#define PIECE_BYTES (1u << 20)

struct side {
    struct store_iter *it;
    bool own;
    struct bytes key; /* NULL at the end. */
    struct bytes row;
};

static int look(struct side *s)
{
    for (; store_iter_valid(s->it); store_iter_next(s->it)) {
        s->key = store_iter_key(s->it);
        if (store_iter_row(s->it, &s->row) == STORE_FOUND)
            return 0;
        if (!s->own)
            return -ERR_CORRUPT;
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                     "an own row cannot be read, that of the peer is kept");
    }
    s->key = s->row = bytes_of(NULL, 0);
    return store_iter_status(s->it);
}

static int open_side(struct store *store, struct bytes after, struct side *out)
{
    static const uint8_t beyond[1] = {0x80}; /* Special rows are not joined. */
    const struct store_iter_options options = {.upper = bytes_of(beyond, 1),
                                               .readahead_bytes = PIECE_BYTES};

    const int err = store_iter_open(store, &options, &out->it);
    if (err != 0) {
        out->it = NULL;
        return err;
    }
    store_iter_seek(out->it, after);
    if (after.len != 0 && store_iter_valid(out->it) && bytes_eq(store_iter_key(out->it), after))
        store_iter_next(out->it);
    return look(out);
}

static int step(struct side *s)
{
    store_iter_next(s->it);
    return look(s);
}

/* < 0: the own row comes first; 0: both have the key. */
static int order(const struct side *mine, const struct side *theirs)
{
    if (theirs->key.ptr == NULL)
        return -1;
    return mine->key.ptr == NULL ? 1 : bytes_cmp(mine->key, theirs->key);
}

static int join_rows(struct replica *r, struct bytes key, struct bytes mine, struct bytes theirs,
                     struct buf *scratch)
{
    struct take *t = &r->take;
    const struct row_seen_by a = {.row = mine, .seen = &t->join.mine};
    const struct row_seen_by b = {.row = theirs, .seen = &t->join.theirs};

    buf_clear(scratch);
    int err = row_reconcile(&a, &b, scratch);
    if (err == -ENOMEM)
        return err;
    if (err == 0)
        err = row_check(buf_bytes(scratch));
    if (err != 0) {
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                     "a row cannot be joined, that of the peer is kept shard=%u err=\"%s\"",
                     r->options.shard, err_str(err));
        return 0;
    }
    const struct bytes joined = buf_bytes(scratch);
    const bool nothing = joined.len == 1 && joined.ptr[0] == ROW_DEAD && theirs.len == 0;
    if (nothing || bytes_eq(joined, theirs))
        return 0;
    return replica_take_put_row(&t->rows, key, joined);
}

/* The job's while it runs. */
struct work {
    struct buf scratch;
    struct buf last; /* Key. */
};

/* One key: of one's own, of the peer, or of both. */
static int join_next(struct replica *r, struct side *mine, struct side *theirs, struct work *w)
{
    const struct bytes none = bytes_of(NULL, 0);
    const int first = order(mine, theirs);
    const struct bytes key = first <= 0 ? mine->key : theirs->key;

    int err = join_rows(r, key, first <= 0 ? mine->row : none, first >= 0 ? theirs->row : none,
                        &w->scratch);
    buf_clear(&w->last);
    CHECK(buf_append_bytes(&w->last, key) == 0);
    if (err == 0 && first <= 0)
        err = step(mine);
    if (err == 0 && first >= 0)
        err = step(theirs);
    return err;
}

int replica_join_piece(struct replica *r)
{
    struct take *t = &r->take;
    struct side mine = {.own = true}, theirs = {0};
    struct work w;
    size_t bytes = 0;

    buf_clear(&t->rows);
    buf_init(&w.scratch, SIZE_MAX);
    buf_init(&w.last, UINT32_MAX);
    int err = open_side(t->kept, buf_bytes(&t->join.after), &mine);
    if (err == 0)
        err = open_side(r->options.store, buf_bytes(&t->join.after), &theirs);
    while (err == 0 && (mine.key.ptr != NULL || theirs.key.ptr != NULL) && bytes < PIECE_BYTES) {
        bytes += mine.key.len + mine.row.len + theirs.key.len + theirs.row.len;
        err = join_next(r, &mine, &theirs, &w);
    }
    /* After an error the piece is read once more, from its begin. */
    if (err == 0 && w.last.len != 0) {
        buf_clear(&t->join.after);
        CHECK(buf_append_bytes(&t->join.after, buf_bytes(&w.last)) == 0);
    }
    t->join.end = mine.key.ptr == NULL && theirs.key.ptr == NULL;
    if (mine.it != NULL)
        store_iter_close(mine.it);
    if (theirs.it != NULL)
        store_iter_close(theirs.it);
    buf_deinit(&w.scratch);
    buf_deinit(&w.last);
    return err;
}
