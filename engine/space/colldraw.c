/* Draws among rows; colldraw.h tells how. */
#include "engine/space/colldraw.h"

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/base/sum.h"

#include "engine/store/store.h"
#include "engine/value/row.h"
#include "engine/value/rowkey.h"

/* Elements in a window: on average at least this, less than twice as many. */
#define MEAN_MIN 16u
/* A window with more rows is cut: its hashes collide on purpose. */
#define WINDOW_ROWS_MAX 4096u
/* What a seek costs, in steps. */
#define SEEK_COST 16
/* So many windows without an element that is taken: there is none. */
#define TRIES_MAX 100000u
#define HASH_BITS (8 * ROWKEY_HASH_BYTES)

struct colldraw {
    struct rng rng;
    struct buf at; /* The prefix, then a place to seek. */
    size_t prefix_len;
    struct tag hidden;
    bool hides;
    unsigned window_bits; /* There are 2^window_bits windows, */
    uint64_t room;        /* and up to so many elements in one are as likely as they should be. */
    uint64_t left;
    uint32_t tries; /* Since the last one that was drawn. */
    struct buf sub; /* The choice of a window. */
    struct buf row;
    uint64_t seed;
    uint64_t *drawn; /* Hashes of those, never 0, if none may come twice. */
    uint64_t drawn_mask;
};

/* Six standard deviations above the mean. */
static uint64_t room_of(uint64_t mean)
{
    uint64_t root = 1;

    while (root * root < mean)
        root++;
    return mean + 6 * root + 1;
}

struct colldraw *colldraw_create(const struct colldraw_options *options)
{
    struct colldraw *d = mem_zalloc(sizeof(*d));

    rng_seed(&d->rng, options->seed);
    d->seed = options->seed;
    d->left = options->n;
    d->hides = options->hidden != NULL;
    if (d->hides)
        d->hidden = *options->hidden;
    while (d->window_bits + 1 < HASH_BITS && options->count >> (d->window_bits + 1) >= MEAN_MIN)
        d->window_bits++;
    d->room = room_of(options->count >> d->window_bits);
    buf_init(&d->at, ROWKEY_BYTES_MAX);
    buf_init(&d->sub, ROWKEY_NAME_BYTES_MAX);
    buf_init(&d->row, UINT32_MAX);
    CHECK(buf_append_bytes(&d->at, options->prefix) == 0);
    d->prefix_len = options->prefix.len;
    if (options->distinct) {
        CHECK(options->n <= COLLDRAW_DISTINCT_MAX && options->n <= options->count / 2);
        d->drawn_mask = 2 * COLLDRAW_DISTINCT_MAX - 1;
        d->drawn = mem_zalloc_array(d->drawn_mask + 1, sizeof(*d->drawn));
    }
    return d;
}

void colldraw_destroy(struct colldraw *d)
{
    if (d == NULL)
        return;
    buf_deinit(&d->at);
    buf_deinit(&d->sub);
    buf_deinit(&d->row);
    mem_free(d->drawn);
    mem_free(d);
}

uint64_t colldraw_left(const struct colldraw *d)
{
    return d->left;
}

/* The hash bytes of the row at the cursor; what is no element row is behind all. */
static uint64_t hash_at(const struct colldraw *d, const struct store_iter *it)
{
    const struct bytes key = store_iter_key(it);

    if (key.len < d->prefix_len + ROWKEY_HASH_BYTES)
        return UINT64_MAX;
    return rowkey_hash_load(key.ptr + d->prefix_len);
}

static int seek(struct colldraw *d, struct store_iter *it, uint64_t hash)
{
    uint8_t bytes[ROWKEY_HASH_BYTES];

    be16_store(bytes, (uint16_t)(hash >> 32));
    be32_store(bytes + 2, (uint32_t)hash);
    buf_truncate(&d->at, d->prefix_len);
    const int err = buf_append(&d->at, bytes, sizeof(bytes));
    if (err == 0)
        store_iter_seek(it, buf_bytes(&d->at));
    return err;
}

/* Keeps the row at the cursor in place of the choice so far. */
static int choose(struct colldraw *d, const struct store_iter *it, struct bytes row)
{
    buf_clear(&d->sub);
    buf_clear(&d->row);
    const int err = buf_append_bytes(
        &d->sub, bytes_from(store_iter_key(it), d->prefix_len + ROWKEY_HASH_BYTES));
    return err == 0 ? buf_append_bytes(&d->row, row) : err;
}

/* Looks at the row at the cursor, the `*seen`-th of its window from 0. */
static int look(struct colldraw *d, const struct store_iter *it, uint64_t *seen)
{
    struct bytes row;
    struct row_view view;

    int err = store_iter_row(it, &row) == STORE_FOUND ? row_view(row, 0, &view) : -ERR_CORRUPT;
    if (err != 0 || !view.present || (d->hides && tag_cmp(view.tag, d->hidden) <= 0))
        return err;
    /* Each of those seen is the choice with the same probability. */
    if (rng_below(&d->rng, ++*seen) == 0)
        err = choose(d, it, row);
    return err;
}

/* Reads a window: the number of its elements, one of which is the choice. */
static int read_window(struct colldraw *d, struct store_iter *it, int64_t *cost, uint64_t *seen)
{
    const uint64_t window = d->window_bits == 0 ? 0 : rng_u64(&d->rng) >> (64 - d->window_bits);
    const unsigned shift = HASH_BITS - d->window_bits;

    *seen = 0;
    *cost -= SEEK_COST;
    int err = seek(d, it, window << shift);
    for (uint32_t rows = 0; err == 0 && rows < WINDOW_ROWS_MAX && store_iter_valid(it); rows++) {
        if (hash_at(d, it) >> shift != window)
            return 0;
        err = look(d, it, seen);
        store_iter_next(it);
        (*cost)--;
    }
    return err == 0 ? store_iter_status(it) : err;
}

/* Whether the choice was drawn before; now it is. */
static bool drawn_before(struct colldraw *d)
{
    if (d->drawn == NULL)
        return false;
    const uint64_t hash = hash64(d->sub.ptr, d->sub.len, d->seed) | 1;
    uint64_t i = hash >> 1 & d->drawn_mask;
    for (; d->drawn[i] != 0; i = (i + 1) & d->drawn_mask) {
        if (d->drawn[i] == hash)
            return true;
    }
    d->drawn[i] = hash;
    return false;
}

enum colldraw_result colldraw_next(struct colldraw *d, struct store_iter *it, int64_t *cost,
                                   struct colldraw_row *out, int *err)
{
    uint64_t seen = 0;

    CHECK(d->left != 0);
    while (*cost > 0) {
        *err = d->tries++ == TRIES_MAX ? -ERR_CORRUPT : read_window(d, it, cost, &seen);
        if (*err != 0)
            return COLLDRAW_FAILED;
        if (seen == 0 || rng_below(&d->rng, d->room) >= seen || drawn_before(d))
            continue;
        d->tries = 0;
        d->left--;
        *out = (struct colldraw_row){.sub = buf_bytes(&d->sub), .row = buf_bytes(&d->row)};
        return COLLDRAW_ROW;
    }
    return COLLDRAW_PAUSE;
}
