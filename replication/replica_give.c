/*
 * A copy for a new member: the rows of the store as they are at one moment, read piece by piece on
 * the readers' threads.
 *
 * A cursor over the store is the checkpoint. What it shows has everything up to the covered
 * position that was read before it was opened. Rows came to the store when the log was durable up
 * to their last change, so that nothing in it is beyond what is durable here.
 *
 * The joiner says behind which key it wants to go on, also after its link broke: the cursor stays
 * until the core closes it.
 *
 * In a delta resync it also says what it has itself (replica_same.h): then rows of buckets that are
 * the same here are passed over. Which ones that are, and where the range ends, is found out once
 * for each range and cursor.
 *
 * There is one struct for each peer, with at most one job. What is asked for meanwhile replaces
 * what was asked for before.
 */
#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "replication/replica_impl.h"
#include "replication/replica_same.h"

#define READAHEAD_BYTES (1u << 20)
#define ROWS_CAP_MIN    256u

enum give_want {
    GIVE_NOTHING,
    GIVE_OPEN,
    GIVE_READ,
    GIVE_CLOSE
};

struct give {
    struct list_link link;
    struct replica *r;
    uint8_t peer;
    enum give_want want; /* Not begun yet. */
    uint32_t id;
    struct wire_sync_range range; /* Its sums stand in `sums`. */
    struct buf sums;
    struct buf after;
    size_t bytes_max;
    /* The job's while it runs. */
    struct pool_job job;
    bool busy;
    enum give_want doing;
    uint32_t doing_id;
    struct buf from; /* The last key that the peer has. */
    struct wire_sync_range asked;
    struct buf asked_sums;
    struct buf differ;            /* Of the sums whose sum is `compared`; */
    bool has_differ;              /* it is of this cursor, */
    uint16_t known_end;           /* before this slot, */
    struct wire_sync_range known; /* and of this range. */
    uint64_t compared;
    size_t piece_bytes;
    struct store *store;
    struct store_iter *it;
    uint32_t it_id;
    struct buf last; /* The last key given; the cursor is behind it. */
    struct replica_note note;
    int err;
    uint16_t upto; /* The slot before which the piece is. */
    bool end;
    struct buf bytes;
    struct wire_row *rows; /* Slices of `bytes`, of lengths until the end. */
    uint32_t count;
    uint32_t cap;
};

/* --- on a reader's thread --- */

static void close_cursor(struct give *g)
{
    if (g->it != NULL)
        store_iter_close(g->it);
    g->it = NULL;
}

static int open_cursor(struct give *g)
{
    static const uint8_t beyond[1] = {0x80}; /* Special rows are not given. */
    const struct store_iter_options options = {.upper = bytes_of(beyond, 1),
                                               .readahead_bytes = READAHEAD_BYTES};
    struct buf covered;
    uint64_t lsn;

    close_cursor(g);
    g->has_differ = false;
    buf_clear(&g->last);
    buf_init(&covered, UINT32_MAX);
    int err = store_covered(g->store, false, &lsn, &covered);
    if (err == 0)
        err = replica_note_parse(buf_bytes(&covered), &g->note);
    buf_deinit(&covered);
    if (err == 0)
        err = store_iter_open(g->store, &options, &g->it);
    g->it_id = g->doing_id;
    return err;
}

/* Which buckets of the range differ. */
static int compare(struct give *g)
{
    const uint64_t sum = sum64(g->asked_sums.ptr, g->asked_sums.len);

    g->upto = g->asked.end;
    if (g->asked.bits == WIRE_SYNC_ALL)
        return 0;
    if (g->asked_sums.len != (size_t)8 << g->asked.bits)
        return -ENOMEM; /* There was none for the sums. */
    if (g->has_differ && g->compared == sum && g->known.first == g->asked.first &&
        g->known.end == g->asked.end && g->known.bits == g->asked.bits &&
        g->known.seed == g->asked.seed) {
        g->upto = g->known_end;
        return 0;
    }
    g->has_differ = false;
    buf_clear(&g->last); /* The cursor is moved. */
    const int err = replica_same_compare(g->it, &g->asked, &g->differ, &g->known_end);
    if (err != 0)
        return err;
    g->upto = g->known_end;
    g->has_differ = true;
    g->known = g->asked;
    g->compared = sum;
    return 0;
}

/* To the first row that the peer lacks. */
static void seek(struct give *g)
{
    const struct bytes from = buf_bytes(&g->from);
    uint8_t first[SAME_SLOT_BYTES];

    if (from.len == 0) {
        store_iter_seek(g->it, replica_same_slot(first, g->asked.first));
        return;
    }
    if (bytes_eq(from, buf_bytes(&g->last)))
        return;
    store_iter_seek(g->it, from);
    if (store_iter_valid(g->it) && bytes_eq(store_iter_key(g->it), from))
        store_iter_next(g->it);
}

/* The cursor is on a row of the range. */
static bool in_range(const struct give *g)
{
    return store_iter_valid(g->it) && wire_sync_slot(store_iter_key(g->it)) < g->upto;
}

static bool is_wanted(const struct give *g)
{
    return g->asked.bits == WIRE_SYNC_ALL ||
           wire_sync_differs(buf_bytes(&g->differ),
                             replica_same_bucket(store_iter_key(g->it), &g->asked));
}

static int take_row(struct give *g)
{
    struct bytes row;

    if (store_iter_row(g->it, &row) != STORE_FOUND)
        return -ERR_CORRUPT;
    const struct bytes key = store_iter_key(g->it);
    if (g->count == g->cap) {
        g->cap = g->cap == 0 ? ROWS_CAP_MIN : 2 * g->cap;
        g->rows = mem_realloc(g->rows, g->cap * sizeof(*g->rows));
    }
    g->rows[g->count++] =
        (struct wire_row){.key = bytes_of(NULL, key.len), .row = {.len = row.len}};
    buf_clear(&g->last);
    int err = buf_append_bytes(&g->last, key);
    if (err == 0)
        err = buf_append_bytes(&g->bytes, key);
    if (err == 0)
        err = buf_append_bytes(&g->bytes, row);
    store_iter_next(g->it);
    return err;
}

/* Rows until there are enough of them. */
static int take_rows(struct give *g)
{
    int err = 0;

    seek(g);
    while (err == 0 && in_range(g) && g->bytes.len < g->piece_bytes) {
        if (is_wanted(g))
            err = take_row(g);
        else
            store_iter_next(g->it);
    }
    return err == 0 && !store_iter_valid(g->it) ? store_iter_status(g->it) : err;
}

static int read_piece(struct give *g)
{
    size_t at = 0;

    g->count = 0;
    buf_clear(&g->bytes);
    if (g->it == NULL || g->it_id != g->doing_id)
        return -ERR_CLOSED;
    int err = compare(g);
    if (err == 0)
        err = take_rows(g);
    if (err != 0) {
        buf_clear(&g->last); /* Where the cursor is does not count. */
        return err;
    }
    g->end = !in_range(g);
    for (uint32_t i = 0; i < g->count; i++) {
        struct wire_row *row = &g->rows[i];
        row->key.ptr = g->bytes.ptr + at;
        row->row.ptr = row->key.ptr + row->key.len;
        at += row->key.len + row->row.len;
    }
    return 0;
}

static void run_gives(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    CHECK(n == 1);
    struct give *g = container_of(jobs[0], struct give, job);

    g->err = 0;
    if (g->doing == GIVE_OPEN)
        g->err = open_cursor(g);
    else if (g->doing == GIVE_READ)
        g->err = read_piece(g);
    else
        close_cursor(g);
}

/* --- on the shard's thread --- */

static void on_given(struct mail *mail);

/* Begins what is wanted, if nothing is under way. */
static void step(struct give *g)
{
    struct replica *r = g->r;

    if (g->busy || g->want == GIVE_NOTHING)
        return;
    if (g->want == GIVE_CLOSE && g->it == NULL) {
        buf_deinit(&g->asked_sums);
        g->want = GIVE_NOTHING;
        return;
    }
    g->doing = g->want;
    g->doing_id = g->id;
    g->want = GIVE_NOTHING;
    /* During a resync, to one who cannot wait for its end (core_resync.c): what is kept. */
    g->store = r->take.kept != NULL ? r->take.kept : r->options.store;
    g->piece_bytes = g->bytes_max;
    buf_clear(&g->from);
    CHECK(buf_append_bytes(&g->from, buf_bytes(&g->after)) == 0);
    const struct buf sums = g->asked_sums;
    g->asked_sums = g->sums;
    g->sums = sums;
    g->asked = g->range;
    g->asked.sums = buf_bytes(&g->asked_sums);
    g->busy = true;
    g->job = (struct pool_job){.mail = {.fn = on_given}, .reply_to = r->options.mailbox};
    r->jobs++;
    pool_submit(&r->give_class, &g->job);
}

static void answer(struct give *g)
{
    struct replica *r = g->r;

    if (g->err != 0 && g->err != -ERR_CLOSED)
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                     "cannot read the store for a new member peer=%u err=\"%s\"", g->peer,
                     err_str(g->err));
    if (g->doing == GIVE_OPEN) {
        r->metrics.copies_given++;
        core_sync_opened(r->core, g->peer, g->doing_id, g->err, &g->note.covered, g->note.flush);
        return;
    }
    const bool compared = g->end && g->asked.bits != WIRE_SYNC_ALL;
    const struct core_piece piece = {.rows = g->rows,
                                     .count = g->count,
                                     .last = g->end,
                                     .end = g->upto,
                                     .differ =
                                         compared ? buf_bytes(&g->differ) : bytes_of(NULL, 0)};
    r->metrics.copied_rows_out += g->err == 0 ? g->count : 0;
    core_sync_rows(r->core, g->peer, g->doing_id, g->err, &piece);
}

static void on_given(struct mail *mail)
{
    struct give *g = container_of(container_of(mail, struct pool_job, mail), struct give, job);

    g->r->jobs--;
    g->busy = false;
    /* Of what the core has closed itself it does not know any more; of ours it is to hear. */
    if (g->want != GIVE_NOTHING)
        g->err = -ERR_CLOSED;
    if (g->doing == GIVE_CLOSE)
        buf_deinit(&g->asked_sums);
    else if (!g->r->stopping)
        answer(g);
    if (!g->busy) /* The answer may have begun the next one. */
        buf_shrink(&g->bytes, g->piece_bytes * 2);
    step(g);
}

/* It was not begun, and will not be. */
static void refuse(struct give *g)
{
    const enum give_want what = g->want;

    g->want = GIVE_NOTHING;
    if (what == GIVE_OPEN)
        core_sync_opened(g->r->core, g->peer, g->id, -ERR_CLOSED, &g->note.covered, 0);
    else if (what == GIVE_READ)
        core_sync_rows(g->r->core, g->peer, g->id, -ERR_CLOSED, &(struct core_piece){0});
}

static struct give *give_of(struct replica *r, uint8_t peer)
{
    LIST_FOR_EACH(link, &r->gives) {
        struct give *g = LIST_ITEM(link, struct give, link);

        if (g->peer == peer)
            return g;
    }
    struct give *g = mem_zalloc(sizeof(*g));
    g->r = r;
    g->peer = peer;
    buf_init(&g->after, UINT32_MAX);
    buf_init(&g->from, UINT32_MAX);
    buf_init(&g->last, UINT32_MAX);
    buf_init(&g->bytes, SIZE_MAX);
    buf_init(&g->sums, SIZE_MAX);
    buf_init(&g->asked_sums, SIZE_MAX);
    buf_init(&g->differ, SIZE_MAX);
    list_push_back(&r->gives, &g->link);
    return g;
}

static void want(struct give *g, enum give_want what)
{
    g->want = g->r->stopping ? GIVE_CLOSE : what;
    step(g);
}

void replica_give_open(struct replica *r, uint8_t peer, uint32_t id)
{
    struct give *g = give_of(r, peer);

    g->id = id;
    buf_clear(&g->after);
    want(g, GIVE_OPEN);
}

void replica_give_read(struct replica *r, uint8_t peer, const struct wire_sync_ask *ask,
                       size_t bytes_max)
{
    struct give *g = give_of(r, peer);

    g->id = ask->id;
    buf_clear(&g->after);
    CHECK(buf_append_bytes(&g->after, ask->after) == 0);
    g->range = ask->range;
    buf_clear(&g->sums);
    if (buf_append_bytes(&g->sums, ask->range.sums) != 0)
        buf_clear(&g->sums); /* Without them nothing is given. */
    g->bytes_max = bytes_max;
    want(g, GIVE_READ);
}

void replica_give_close(struct replica *r, uint8_t peer)
{
    struct give *g = give_of(r, peer);

    buf_deinit(&g->sums);
    want(g, GIVE_CLOSE);
}

bool replica_give_close_all(struct replica *r)
{
    bool open = false;

    LIST_FOR_EACH(link, &r->gives) {
        struct give *g = LIST_ITEM(link, struct give, link);

        if (!r->stopping)
            refuse(g);
        want(g, GIVE_CLOSE);
        open = open || g->busy || g->it != NULL;
    }
    return !open;
}

void replica_give_init(struct replica *r)
{
    list_init(&r->gives);
    r->give_class = (struct pool_class){.name = "copy",
                                        .priority = POOL_BACKGROUND,
                                        .batch_max = 1,
                                        .run_batch = run_gives,
                                        .ctx = r};
    pool_add_class(r->options.readers, &r->give_class);
}

void replica_give_deinit(struct replica *r)
{
    struct list_link *link;

    while ((link = list_pop_front(&r->gives)) != NULL) {
        struct give *g = LIST_ITEM(link, struct give, link);

        CHECK(!g->busy);
        close_cursor(g);
        buf_deinit(&g->after);
        buf_deinit(&g->from);
        buf_deinit(&g->last);
        buf_deinit(&g->bytes);
        buf_deinit(&g->sums);
        buf_deinit(&g->asked_sums);
        buf_deinit(&g->differ);
        mem_free(g->rows);
        mem_free(g);
    }
}

size_t replica_give_bytes(const struct replica *r)
{
    size_t bytes = 0;

    LIST_FOR_EACH(link, &r->gives) {
        const struct give *g = LIST_ITEM(link, struct give, link);

        bytes += sizeof(*g) + g->after.cap + g->from.cap + g->sums.cap + g->asked_sums.cap;
        /* The rest is the job's while it runs. */
        if (g->busy)
            bytes += g->bytes_max + wire_sync_differ_bytes(g->asked.bits);
        else
            bytes += g->bytes.cap + g->differ.cap + g->last.cap + g->cap * sizeof(*g->rows);
    }
    return bytes;
}
