/* Collections in slices; collstream.h tells what they show. */
#include "engine/space/collstream.h"

#include <math.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/space/colldraw.h"
#include "engine/space/collkeep.h"
#include "engine/space/ks_state.h"

/* Of one slice: what is shown, and the rows that it looks at. */
#define SLICE_BYTES (256u << 10)
#define SLICE_ROWS  4096u
#define READAHEAD   (256u << 10)
/* Before an element in a slice: lengths of sub, 4, and row, 4. */
#define HEAD_BYTES 8u
#define ROWS_NONE  UINT64_MAX

struct ks_stream {
    struct pool_job job;
    struct keyspace *ks;
    struct list waiters;
    struct store_iter *it;   /* The thread's that reads, as are */
    struct collmerge *merge; /* that of several sets, or NULL, */
    struct colldraw *draw;   /* and what draws at random, or NULL. */
    struct collkeep *keep;   /* What is kept to be shown in another order, or NULL: */
    struct buf rows;
    size_t at;         /* What was taken of them. */
    size_t slice_at;   /* Where the slice begins, if those before are kept. */
    uint64_t counted;  /* Elements, if `counting`; */
    uint64_t max;      /* no more than these, or 0, */
    uint64_t kept;     /* bytes that what is kept of them counts for, */
    uint64_t keep_max; /* at most, */
    uint32_t beside;   /* and those beside the name of each. */
    uint32_t cursors;
    uint64_t skip;          /* Elements to be left out, */
    uint64_t skipped;       /* and those that were. */
    struct tag hidden;      /* Rows up to here are garbage, if `hides`. */
    uint64_t page_at;       /* The hash of the row that was taken last; ROWS_NONE: of none. */
    uint64_t page_next;     /* Of the first behind the page; ROWS_NONE: there is none. */
    struct buf page_member; /* The same of a sorted set, in the order of members; empty: none. */
    uint64_t sought;        /* The place (ks_stream_place) where the page begins, if `seeks`. */
    uint32_t page_max;      /* Elements; 0: all are read. */
    uint32_t page_count;
    bool seeks;
    bool page_more;
    bool picks;       /* At random: */
    uint64_t pick_of; /* of so many elements to come */
    uint64_t pick_n;  /* so many are to be taken. */
    bool repeats;     /* Some more than once: the next one is */
    uint64_t drawn;   /* so many rows from here, */
    double drawn_at;  /* at this part of all. */
    struct rng rng;
    uint8_t kind; /* Of the rows. */
    bool back;
    bool hides;
    bool counting;
    bool keeping;
    bool gathers; /* Slices are kept, if `keeping`; what is kept has no room else. */
    bool reading;
    bool end;
    bool rewinding; /* The job is to begin anew, */
    bool passed;    /* to see what is to be shown behind what was kept. */
    bool closing;   /* The job is to close the cursor. */
    bool unwanted;  /* Destroyed while it was being read. */
    int err;
    size_t prefix_len; /* Of the row keys, before what tells the elements apart. */
    struct buf lower;  /* Row keys: the first that may be read, */
    struct buf upper;  /* the first beyond, */
    struct buf begin;  /* and where to begin; empty: at the end that `back` tells. */
};

/* --- on a thread of the pool --- */

static int append(struct ks_stream *s, struct bytes sub, struct bytes row)
{
    uint8_t head[HEAD_BYTES];

    le32_store(head, (uint32_t)sub.len);
    le32_store(head + 4, (uint32_t)row.len);
    int err = buf_reserve(&s->rows, HEAD_BYTES + sub.len + row.len);
    if (err == 0)
        err = buf_append(&s->rows, head, HEAD_BYTES);
    if (err == 0)
        err = buf_append_bytes(&s->rows, sub);
    return err == 0 ? buf_append_bytes(&s->rows, row) : err;
}

/* Counts one, and keeps it if there is room. False: it is the last. */
static bool count_row(struct ks_stream *s, struct bytes sub, struct bytes row)
{
    s->counted++;
    s->kept += sub.len + s->beside;
    if (s->keeping && s->kept > s->keep_max) {
        s->keeping = false;
        buf_deinit(&s->rows);
    }
    if (s->keeping)
        s->err = append(s, sub, row);
    return s->err == 0 && s->counted != s->max; /* Never 0 now. */
}

/* Adds one to the slice. False: it is the last, as there is no room for what is gathered. */
static bool add_row(struct ks_stream *s, struct bytes sub, struct bytes row)
{
    s->kept += sub.len + s->beside;
    if (s->gathers && s->kept > s->keep_max) {
        s->keeping = false;
        buf_clear(&s->rows);
        return false;
    }
    s->err = append(s, sub, row);
    return s->err == 0;
}

static bool slice_is_full(const struct ks_stream *s)
{
    return s->rows.len - s->slice_at >= SLICE_BYTES;
}

/* Of a sorted set: 0 and the score that the row shows, or why it shows none. */
static int score_of(const struct ks_stream *s, struct bytes sub, struct bytes row, double *out)
{
    struct row_view view;

    if (s->kind == ROWKEY_KIND_ZSET)
        return row_score(row, out);
    int err = sub.len < ROWKEY_SCORE_BYTES ? -ERR_CORRUPT : row_view(row, 0, &view);
    if (err != 0)
        return err;
    *out = rowkey_score_load(sub.ptr);
    if (isnan(*out))
        return -ERR_CORRUPT;
    if (*out == 0.0 && row_index_is_minus(&view))
        *out = -0.0;
    return 0;
}

static bool is_zset(const struct ks_stream *s)
{
    return s->kind == ROWKEY_KIND_ZSET || s->kind == ROWKEY_KIND_ZINDEX;
}

/* With the probability by which all choices of pick_n among pick_of are equally likely. */
static bool is_picked(struct ks_stream *s)
{
    if (s->pick_of == 0) {
        s->err = -ERR_CORRUPT; /* There are more than the key row counts. */
        return false;
    }
    if (rng_below(&s->rng, s->pick_of--) >= s->pick_n)
        return false;
    s->pick_n--;
    return true;
}

/*
 * The next of pick_n draws that are left, in the order of the rows: of k numbers between x and 1
 * the least is x + (1 - x)(1 - u^(1/k)), with u between 0 and 1.
 */
static void draw_next(struct ks_stream *s, uint64_t row)
{
    const double u = 1.0 - rng_double(&s->rng);

    s->drawn_at += (1.0 - s->drawn_at) * (1.0 - pow(u, 1.0 / (double)s->pick_n));
    const double at = s->drawn_at * (double)s->pick_of;
    const uint64_t drawn = at >= (double)s->pick_of ? s->pick_of - 1 : (uint64_t)at;
    s->drawn = drawn < row ? 0 : drawn - row;
}

/* A member of a sorted set, as often as it was drawn. */
static bool take_drawn(struct ks_stream *s, struct bytes sub, double score)
{
    const struct bytes member = bytes_from(sub, ROWKEY_SCORE_BYTES);
    const uint64_t row = s->counted++;

    if (s->drawn != 0) {
        s->drawn--;
        return true;
    }
    while (s->err == 0 && s->pick_n != 0 && s->drawn == 0) {
        s->err = collkeep_add(s->keep, member, score);
        s->pick_n--;
        if (s->pick_n != 0)
            draw_next(s, row);
    }
    if (s->drawn != 0)
        s->drawn--;
    return s->err == 0 && s->pick_n != 0;
}

/* The row at the cursor. False: it is the last that is wanted, or an error. */
static bool take_row(struct ks_stream *s)
{
    struct rowkey rk;
    struct bytes row;
    struct row_view view;
    double score = 0;

    s->err = store_iter_row(s->it, &row) == STORE_FOUND ? rowkey_parse(store_iter_key(s->it), &rk)
                                                        : -ERR_CORRUPT;
    if (s->err == 0)
        s->err = row_view(row, 0, &view);
    if (s->err != 0)
        return false;
    if (!view.present || (s->hides && tag_cmp(view.tag, s->hidden) <= 0))
        return true;
    if (is_zset(s))
        s->err = score_of(s, rk.sub, row, &score);
    if (s->err != 0)
        return false;
    if (s->seeks && ks_stream_place(s->ks, rk.sub) != s->sought)
        return true;
    s->seeks = false;
    if (s->skipped != s->skip) {
        s->skipped++;
        return true;
    }
    if (s->repeats)
        return take_drawn(s, rk.sub, score);
    if (s->counting)
        return count_row(s, rk.sub, row);
    if (s->picks && !is_picked(s))
        return s->err == 0;
    s->page_count++;
    return add_row(s, rk.sub, row) && !(s->picks && s->pick_n == 0);
}

/* The hash bytes of an element row. */
static uint64_t hash_of_row(const struct ks_stream *s, struct bytes key)
{
    return rowkey_hash_load(key.ptr + s->prefix_len);
}

/* The row at the cursor is the first of the next page. Elements of one hash come together. */
static bool page_ends(struct ks_stream *s, uint32_t rows)
{
    const struct bytes key = store_iter_key(s->it);
    const bool enough =
        s->page_count >= s->page_max || rows >= SLICE_ROWS || s->rows.len >= SLICE_BYTES;

    if (s->seeks)
        return rows >= SLICE_ROWS;
    if (s->kind == ROWKEY_KIND_ZSET) {
        s->page_more = enough;
        if (enough)
            s->err = buf_append_bytes(&s->page_member, bytes_from(key, s->prefix_len));
        return enough;
    }
    if (key.len < s->prefix_len + ROWKEY_HASH_BYTES)
        return false; /* take_row says what is wrong. */
    const uint64_t hash = hash_of_row(s, key);
    if (enough && hash != s->page_at) {
        s->page_next = hash;
        return true;
    }
    s->page_at = hash;
    return false;
}

static bool slice_ends(struct ks_stream *s, uint32_t rows)
{
    if (s->page_max != 0)
        return page_ends(s, rows);
    return rows == SLICE_ROWS || (!s->counting && slice_is_full(s));
}

/* Pages and draws want some rows only. */
static size_t readahead(const struct ks_stream *s)
{
    return s->draw != NULL || (s->page_max != 0 && !s->seeks) ? 0 : READAHEAD;
}

static void open_cursor(struct ks_stream *s)
{
    const struct store_iter_options options = {.lower = buf_bytes(&s->lower),
                                               .upper = buf_bytes(&s->upper),
                                               .readahead_bytes = readahead(s)};

    s->err = store_iter_open(s->ks->options.store, &options, &s->it);
    if (s->err != 0)
        s->it = NULL;
}

static void to_begin(struct ks_stream *s)
{
    s->skipped = 0;
    if (s->back)
        store_iter_seek_prev(s->it, buf_bytes(&s->begin));
    else
        store_iter_seek(s->it, buf_bytes(s->begin.len != 0 ? &s->begin : &s->lower));
}

static void step(struct ks_stream *s)
{
    if (s->back)
        store_iter_prev(s->it);
    else
        store_iter_next(s->it);
}

static bool take_merged(struct ks_stream *s, const struct collmerge_row *found)
{
    if (s->keep != NULL) {
        s->counted += s->counting;
        s->err = collkeep_add(s->keep, found->member, found->score);
        return s->err == 0;
    }
    if (s->counting)
        return count_row(s, found->member, found->row);
    s->err = append(s, found->member, found->row);
    return s->err == 0;
}

/* All were added once, or once more. */
static void end_pass(struct ks_stream *s)
{
    s->err = collkeep_sort(s->keep);
    s->passed = true;
    s->end = s->err != 0 || !collkeep_lacks(s->keep);
}

static void begin_merged(struct ks_stream *s)
{
    if (!collmerge_is_open(s->merge))
        s->err = collmerge_open(s->merge, s->ks->options.store);
    else if (s->rewinding || s->passed)
        collmerge_rewind(s->merge);
    if (s->err == 0 && s->passed) {
        s->counting = false; /* They are known. */
        s->err = collkeep_pass(s->keep);
    }
    s->rewinding = s->passed = false;
}

static void read_merged(struct ks_stream *s)
{
    struct collmerge_row found;
    int64_t cost = SLICE_ROWS;
    enum collmerge_result result = COLLMERGE_ROW;

    begin_merged(s);
    while (s->err == 0 && (s->counting || s->rows.len < SLICE_BYTES)) {
        result = collmerge_next(s->merge, &cost, &found);
        if (result == COLLMERGE_PAUSE)
            return;
        if (result == COLLMERGE_END || !take_merged(s, &found))
            break;
    }
    if (s->err == 0)
        s->err = collmerge_err(s->merge);
    s->end = s->err != 0 || result == COLLMERGE_END || (s->counting && s->counted == s->max);
    if (s->err == 0 && s->end && s->keep != NULL)
        end_pass(s);
}

static void close_cursors(struct ks_stream *s)
{
    if (s->merge != NULL)
        collmerge_close(s->merge);
    if (s->it != NULL)
        store_iter_close(s->it);
    s->it = NULL;
}

static void read_rows(struct ks_stream *s)
{
    const bool anew = s->it == NULL || s->rewinding;

    s->rewinding = false;
    if (s->it == NULL)
        open_cursor(s);
    if (anew && s->err == 0)
        to_begin(s);
    for (uint32_t rows = 0; s->err == 0 && store_iter_valid(s->it); rows++) {
        if (slice_ends(s, rows))
            return;
        if (!take_row(s))
            break;
        step(s);
    }
    if (s->err == 0)
        s->err = store_iter_status(s->it);
    if (s->err == 0 && s->repeats)
        s->err = s->pick_n != 0 ? -ERR_CORRUPT : collkeep_shuffle(s->keep, &s->rng);
    s->end = true;
}

static void read_drawn(struct ks_stream *s)
{
    struct colldraw_row found;
    int64_t cost = SLICE_ROWS;
    enum colldraw_result result = COLLDRAW_ROW;

    if (s->it == NULL)
        open_cursor(s);
    while (s->err == 0 && !slice_is_full(s) && colldraw_left(s->draw) != 0) {
        result = colldraw_next(s->draw, s->it, &cost, &found, &s->err);
        if (result != COLLDRAW_ROW || !add_row(s, found.sub, found.row))
            break;
    }
    s->end = s->err != 0 || colldraw_left(s->draw) == 0 || (s->gathers && !s->keeping);
}

static void read_slice(struct ks_stream *s)
{
    if (s->closing)
        close_cursors(s);
    else if (s->merge != NULL)
        read_merged(s);
    else if (s->draw != NULL)
        read_drawn(s);
    else
        read_rows(s);
}

static void read_slices(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        read_slice(container_of(jobs[i], struct ks_stream, job));
}

/* --- on the shard's thread --- */

static void stream_free(struct ks_stream *s)
{
    s->ks->streams_count -= s->cursors;
    collmerge_destroy(s->merge);
    colldraw_destroy(s->draw);
    collkeep_destroy(s->keep);
    buf_deinit(&s->rows);
    buf_deinit(&s->lower);
    buf_deinit(&s->upper);
    buf_deinit(&s->begin);
    buf_deinit(&s->page_member);
    mem_free(s);
}

static void submit(struct ks_stream *s)
{
    s->reading = true;
    pool_submit(&s->ks->stream_class, &s->job);
}

/* Nobody reads it. */
static void end(struct ks_stream *s)
{
    if (s->it == NULL && (s->merge == NULL || !collmerge_is_open(s->merge))) {
        stream_free(s);
        return;
    }
    s->closing = true;
    submit(s);
}

static void on_slice(struct mail *mail)
{
    struct ks_stream *s =
        container_of(container_of(mail, struct pool_job, mail), struct ks_stream, job);

    s->reading = false;
    if (s->unwanted)
        end(s);
    else
        ks_wake(&s->waiters, 0);
}

bool ks_stream_room(const struct keyspace *ks, uint32_t cursors)
{
    return cursors <= KS_STREAMS_MAX && ks->streams_count <= KS_STREAMS_MAX - cursors;
}

static struct ks_stream *stream_new(struct keyspace *ks, uint32_t cursors)
{
    struct ks_stream *s = mem_zalloc(sizeof(*s));

    s->page_at = s->page_next = ROWS_NONE;
    s->ks = ks;
    s->cursors = cursors;
    list_init(&s->waiters);
    buf_init(&s->rows, UINT32_MAX);
    buf_init(&s->lower, ROWKEY_BYTES_MAX);
    buf_init(&s->upper, ROWKEY_BYTES_MAX);
    buf_init(&s->begin, ROWKEY_BYTES_MAX);
    buf_init(&s->page_member, KS_NAME_BYTES_MAX);
    s->job = (struct pool_job){.mail = {.fn = on_slice}, .reply_to = ks->options.mailbox};
    ks->streams_count += cursors;
    return s;
}

/* The key of a row of that kind. */
static void bound(struct buf *to, const struct ks_key *key, uint8_t kind, struct bytes sub)
{
    const size_t len = rowkey_prefix_size(key->name);

    CHECK(buf_reserve(to, len + 1 + sub.len) == 0);
    (void)rowkey_store_prefix(to->ptr, key->slot, key->hash, key->name);
    to->ptr[len] = kind;
    buf_commit(to, len + 1);
    CHECK(buf_append_bytes(to, sub) == 0);
}

struct ks_stream *ks_stream_create(struct keyspace *ks, const struct ks_key *key,
                                   const struct coll *coll, const struct ks_stream_span *span)
{
    struct ks_stream *s = stream_new(ks, 1);

    CHECK(coll->type == VT_ZSET || (!span->by_score && span->low.len + span->high.len == 0));
    s->kind = span->by_score ? ROWKEY_KIND_ZINDEX : coll_row_kind(coll->type);
    s->prefix_len = rowkey_prefix_size(key->name) + 1;
    bound(&s->lower, key, s->kind, span->low);
    if (span->high.len != 0)
        bound(&s->upper, key, s->kind, span->high);
    else
        bound(&s->upper, key, (uint8_t)(s->kind + 1), bytes_of(NULL, 0));
    s->skip = span->skip;
    s->back = span->back;
    s->hides = ks_sweep_limit(ks, key, &s->hidden);
    return s;
}

struct ks_stream *ks_stream_merge(struct keyspace *ks, enum collmerge_op op, uint32_t sets)
{
    struct ks_stream *s = stream_new(ks, sets);

    s->merge = collmerge_create(op, sets);
    return s;
}

void ks_stream_merge_add(struct ks_stream *s, const struct ks_key *key)
{
    struct tag hidden;

    collmerge_add(s->merge, key, ks_sweep_limit(s->ks, key, &hidden) ? &hidden : NULL);
}

void ks_stream_merge_add_scored(struct ks_stream *s, const struct ks_key *key,
                                const struct ks_stream_scored *set)
{
    struct tag hidden;
    const struct collmerge_scored source = {.key = key,
                                            .hidden = ks_sweep_limit(s->ks, key, &hidden) ? &hidden
                                                                                          : NULL,
                                            .how = set->how,
                                            .weight = set->weight,
                                            .kind = coll_row_kind(set->type)};

    collmerge_add_scored(s->merge, &source);
}

void ks_stream_count(struct ks_stream *s, uint64_t max, uint64_t keep, uint32_t beside)
{
    CHECK(!s->reading && !s->counting && s->rows.len == 0);
    s->counting = true;
    s->keeping = keep != 0;
    s->max = max;
    s->keep_max = keep;
    s->beside = beside;
}

void ks_stream_count_sorted(struct ks_stream *s, uint64_t keep, uint32_t beside, bool all)
{
    ks_stream_count(s, 0, 0, 0);
    s->keep = collkeep_create(keep, beside, all);
}

bool ks_stream_is_counted(const struct ks_stream *s)
{
    CHECK(!s->reading && s->counting);
    return s->end || s->passed;
}

uint64_t ks_stream_counted(const struct ks_stream *s)
{
    CHECK(!s->reading && s->counting);
    return s->counted;
}

bool ks_stream_kept(const struct ks_stream *s)
{
    CHECK(!s->reading && (s->counting || s->gathers));
    return s->keep != NULL ? !collkeep_lacks(s->keep) : s->keeping;
}

size_t ks_stream_bytes(const struct ks_stream *s)
{
    CHECK(!s->reading);
    return s->keep != NULL ? collkeep_bytes(s->keep) : s->rows.len;
}

void ks_stream_rewind(struct ks_stream *s)
{
    CHECK(!s->reading && s->end && s->err == 0);
    s->counting = false;
    s->end = false;
    s->rewinding = true;
    buf_clear(&s->rows);
    s->at = 0;
}

void ks_stream_show_again(struct ks_stream *s)
{
    CHECK(!s->reading && s->end && ks_stream_kept(s));
    s->at = 0;
    if (s->keep != NULL)
        collkeep_show_again(s->keep);
}

void ks_stream_page(struct ks_stream *s, uint64_t from, uint32_t max)
{
    uint8_t hash[ROWKEY_HASH_BYTES];

    CHECK(s->it == NULL && s->begin.len == 0 && max != 0 && rowkey_kind_hashed(s->kind));
    be16_store(hash, (uint16_t)(from >> 32));
    be32_store(hash + 2, (uint32_t)from);
    CHECK(buf_append_bytes(&s->begin, buf_bytes(&s->lower)) == 0 &&
          buf_append(&s->begin, hash, sizeof(hash)) == 0);
    s->page_max = max;
}

bool ks_stream_page_end(const struct ks_stream *s, uint64_t *from)
{
    if (s->page_next == ROWS_NONE)
        return false;
    *from = s->page_next;
    return true;
}

void ks_stream_page_members(struct ks_stream *s, const uint64_t *seek, uint32_t max)
{
    CHECK(s->it == NULL && max != 0 && s->kind == ROWKEY_KIND_ZSET && !s->back);
    s->seeks = seek != NULL;
    if (s->seeks)
        s->sought = *seek;
    s->page_max = max;
}

void ks_stream_pick(struct ks_stream *s, uint64_t count, uint64_t n, uint64_t seed)
{
    CHECK(s->it == NULL && n != 0 && n <= count);
    rng_seed(&s->rng, seed);
    s->picks = true;
    s->pick_of = count;
    s->pick_n = n;
}

void ks_stream_draw(struct ks_stream *s, uint64_t count, uint64_t n, uint64_t seed, bool distinct)
{
    const struct colldraw_options options = {.prefix = buf_bytes(&s->lower),
                                             .hidden = s->hides ? &s->hidden : NULL,
                                             .count = count,
                                             .n = n,
                                             .seed = seed,
                                             .distinct = distinct};

    CHECK(s->it == NULL && n != 0 && rowkey_kind_hashed(s->kind));
    s->draw = colldraw_create(&options);
}

void ks_stream_draw_scored(struct ks_stream *s, const struct ks_stream_drawn *drawn)
{
    CHECK(s->kind == ROWKEY_KIND_ZINDEX && drawn->n != 0 && drawn->count != 0);
    ks_stream_count(s, 0, 0, 0);
    rng_seed(&s->rng, drawn->seed);
    s->keep = collkeep_create(drawn->keep, drawn->beside, true);
    s->repeats = true;
    s->pick_of = drawn->count;
    s->pick_n = drawn->n;
    draw_next(s, 0);
}

void ks_stream_gather(struct ks_stream *s, uint64_t keep, uint32_t beside)
{
    CHECK(!s->reading && !s->counting && (s->picks || s->draw != NULL) && !is_zset(s));
    s->gathers = s->keeping = true;
    s->keep_max = keep;
    s->beside = beside;
}

void ks_stream_install(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row)
{
    coll_install(ks, coll, sub, row);
}

uint64_t ks_stream_place(const struct keyspace *ks, struct bytes member)
{
    const uint64_t place = hash64(member.ptr, member.len, ks->options.seed) >> 16;

    return place != 0 ? place : 1;
}

bool ks_stream_page_seeks(const struct ks_stream *s)
{
    CHECK(!s->reading);
    return s->seeks;
}

bool ks_stream_page_next(const struct ks_stream *s, struct bytes *member)
{
    CHECK(!s->reading);
    *member = buf_bytes(&s->page_member);
    return s->page_more;
}

void ks_stream_read(struct ks_stream *s, struct ks_wait *wait)
{
    CHECK(!s->reading && !s->end && s->err == 0);
    if (!s->counting && !s->gathers)
        buf_clear(&s->rows);
    s->slice_at = s->rows.len;
    s->at = 0;
    ks_wait_on(&s->waiters, wait);
    submit(s);
}

bool ks_stream_reading(const struct ks_stream *s)
{
    return s->reading;
}

bool ks_stream_next(struct ks_stream *s, struct ks_stream_elem *out)
{
    struct bytes in = bytes_from(buf_bytes(&s->rows), s->at);
    struct bytes row;

    CHECK(!s->reading);
    if (s->keep != NULL)
        return collkeep_next(s->keep, &out->sub, &out->score);
    if (in.len == 0)
        return false;
    const size_t sub_len = le32_load(in.ptr), row_len = le32_load(in.ptr + 4);
    in = bytes_from(in, HEAD_BYTES);
    CHECK(bytes_take(&in, sub_len, &out->sub));
    CHECK(in.len >= row_len);
    row = bytes_of(in.ptr, row_len);
    out->row = row;
    s->at += HEAD_BYTES + sub_len + row_len;
    /* It was looked at when it was read. */
    CHECK(row_view(row, 0, &out->view) == 0);
    if (is_zset(s))
        CHECK(score_of(s, out->sub, row, &out->score) == 0);
    if (s->kind == ROWKEY_KIND_ZINDEX)
        out->sub = bytes_from(out->sub, ROWKEY_SCORE_BYTES);
    return true;
}

bool ks_stream_end(const struct ks_stream *s)
{
    return s->end;
}

int ks_stream_err(const struct ks_stream *s)
{
    return s->err;
}

void ks_stream_destroy(struct ks_stream *s)
{
    if (s == NULL)
        return;
    s->unwanted = true;
    if (!s->reading)
        end(s);
}

void ks_streams_init(struct keyspace *ks)
{
    ks->stream_class = (struct pool_class){.name = "stream",
                                           .priority = POOL_BACKGROUND,
                                           .batch_max = 1,
                                           .run_batch = read_slices,
                                           .ctx = ks};
    pool_add_class(ks->options.readers, &ks->stream_class);
}
