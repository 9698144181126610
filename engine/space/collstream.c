/* Collections in slices; collstream.h tells what they show. */
#include "engine/space/collstream.h"

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/space/ks_state.h"

/* Of one slice: what is shown, and the rows that it looks at. */
#define SLICE_BYTES (256u << 10)
#define SLICE_ROWS  4096u
#define READAHEAD   (256u << 10)
/* Before an element in a slice: lengths of sub, 2, and row, 4. */
#define HEAD_BYTES 6u
#define ROWS_NONE  UINT64_MAX

struct ks_stream {
    struct pool_job job;
    struct keyspace *ks;
    struct list waiters;
    struct store_iter *it;   /* The thread's that reads, as is */
    struct collmerge *merge; /* of several sets, or NULL. */
    struct buf rows;
    size_t at;         /* What was taken of them. */
    uint64_t counted;  /* Elements, if `counting`; */
    uint64_t max;      /* no more than these, or 0, */
    uint64_t kept;     /* bytes that what is kept of them counts for, */
    uint64_t keep_max; /* at most, */
    uint32_t beside;   /* and those beside the name of each. */
    uint32_t cursors;
    uint64_t skip;      /* Elements still to be left out. */
    struct tag hidden;  /* Rows up to here are garbage, if `hides`. */
    uint64_t page_at;   /* The hash of the row that was taken last; ROWS_NONE: of none. */
    uint64_t page_next; /* Of the first behind the page; ROWS_NONE: there is none. */
    uint32_t page_max;  /* Elements; 0: all are read. */
    uint32_t page_count;
    bool hides;
    bool counting;
    bool keeping;
    bool reading;
    bool end;
    bool rewinding; /* The job is to begin anew. */
    bool closing;   /* The job is to close the cursor. */
    bool unwanted;  /* Destroyed while it was being read. */
    int err;
    size_t prefix_len;
    size_t begin_len;
    uint8_t prefix[]; /* Of the element rows, where others begin, and what to begin with. */
};

/* --- on a thread of the pool --- */

static int append(struct ks_stream *s, struct bytes sub, struct bytes row)
{
    uint8_t head[HEAD_BYTES];

    le16_store(head, (uint16_t)sub.len);
    le32_store(head + 2, (uint32_t)row.len);
    int err = buf_reserve(&s->rows, HEAD_BYTES + sub.len + row.len);
    if (err == 0)
        err = buf_append(&s->rows, head, HEAD_BYTES);
    if (err == 0)
        err = buf_append_bytes(&s->rows, sub);
    return err == 0 ? buf_append_bytes(&s->rows, row) : err;
}

static int take_row(struct ks_stream *s)
{
    struct rowkey rk;
    struct bytes row;
    struct row_view view;

    if (store_iter_row(s->it, &row) != STORE_FOUND)
        return -ERR_CORRUPT;
    int err = rowkey_parse(store_iter_key(s->it), &rk);
    if (err == 0)
        err = row_view(row, 0, &view);
    if (err != 0 || !view.present || (s->hides && tag_cmp(view.tag, s->hidden) <= 0))
        return err;
    if (s->skip != 0) {
        s->skip--;
        return 0;
    }
    s->page_count++;
    return append(s, rk.sub, row);
}

/* The hash bytes of an element row. */
static uint64_t hash_of_row(const struct ks_stream *s, struct bytes key)
{
    const uint8_t *at = key.ptr + s->prefix_len;

    return (uint64_t)be16_load(at) << 32 | be32_load(at + 2);
}

/* Elements of one hash come together. */
static bool page_ends(struct ks_stream *s, uint32_t rows)
{
    const struct bytes key = store_iter_key(s->it);

    if (key.len < s->prefix_len + ROWKEY_HASH_BYTES)
        return false; /* take_row says what is wrong. */
    const uint64_t hash = hash_of_row(s, key);
    const bool enough =
        s->page_count >= s->page_max || rows >= SLICE_ROWS || s->rows.len >= SLICE_BYTES;
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
    return rows == SLICE_ROWS || s->rows.len >= SLICE_BYTES;
}

static void open_cursor(struct ks_stream *s)
{
    const struct store_iter_options options = {
        .lower = bytes_of(s->prefix, s->prefix_len),
        .upper = bytes_of(s->prefix + s->prefix_len, s->prefix_len),
        .readahead_bytes = READAHEAD};

    s->err = store_iter_open(s->ks->options.store, &options, &s->it);
    if (s->err == 0)
        store_iter_seek(s->it, bytes_of(s->prefix + 2 * s->prefix_len, s->begin_len));
    else
        s->it = NULL;
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

static bool take_merged(struct ks_stream *s, const struct collmerge_row *found)
{
    if (s->counting)
        return count_row(s, found->member, found->row);
    s->err = append(s, found->member, found->row);
    return s->err == 0;
}

static void read_merged(struct ks_stream *s)
{
    struct collmerge_row found;
    int64_t cost = SLICE_ROWS;
    enum collmerge_result result = COLLMERGE_ROW;

    if (!collmerge_is_open(s->merge))
        s->err = collmerge_open(s->merge, s->ks->options.store);
    else if (s->rewinding)
        collmerge_rewind(s->merge);
    s->rewinding = false;
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
}

static void close_cursors(struct ks_stream *s)
{
    if (s->merge != NULL)
        collmerge_close(s->merge);
    if (s->it != NULL)
        store_iter_close(s->it);
    s->it = NULL;
}

static void read_slice(struct ks_stream *s)
{
    if (s->closing) {
        close_cursors(s);
        return;
    }
    if (s->merge != NULL) {
        read_merged(s);
        return;
    }
    if (s->it == NULL)
        open_cursor(s);
    for (uint32_t rows = 0; s->err == 0 && store_iter_valid(s->it); rows++) {
        if (slice_ends(s, rows))
            return;
        s->err = take_row(s);
        store_iter_next(s->it);
    }
    if (s->err == 0)
        s->err = store_iter_status(s->it);
    s->end = true;
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
    buf_deinit(&s->rows);
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

static struct ks_stream *stream_new(struct keyspace *ks, uint32_t cursors, size_t prefixes_len)
{
    struct ks_stream *s = mem_zalloc(sizeof(*s) + prefixes_len);

    s->page_at = s->page_next = ROWS_NONE;
    s->ks = ks;
    s->cursors = cursors;
    list_init(&s->waiters);
    buf_init(&s->rows, UINT32_MAX);
    s->job = (struct pool_job){.mail = {.fn = on_slice}, .reply_to = ks->options.mailbox};
    ks->streams_count += cursors;
    return s;
}

struct ks_stream *ks_stream_create(struct keyspace *ks, const struct ks_key *key,
                                   const struct coll *coll, uint64_t skip)
{
    const size_t len = ROWKEY_HEAD_BYTES + key->name.len + 1;
    struct ks_stream *s = stream_new(ks, 1, 3 * len + ROWKEY_HASH_BYTES);
    const uint8_t kind = coll_row_kind(coll->type);

    CHECK(rowkey_store_prefix(s->prefix, key->slot, key->hash, key->name) == len - 1);
    s->prefix[len - 1] = kind;
    memcpy(s->prefix + len, s->prefix, len);
    s->prefix[2 * len - 1] = (uint8_t)(kind + 1);
    memcpy(s->prefix + 2 * len, s->prefix, len);
    s->prefix_len = len;
    s->begin_len = len;
    s->skip = skip;
    s->hides = ks_sweep_limit(ks, key, &s->hidden);
    return s;
}

struct ks_stream *ks_stream_merge(struct keyspace *ks, enum collmerge_op op, uint32_t sets)
{
    struct ks_stream *s = stream_new(ks, sets, 0);

    s->merge = collmerge_create(op, sets);
    return s;
}

void ks_stream_merge_add(struct ks_stream *s, const struct ks_key *key)
{
    struct tag hidden;

    collmerge_add(s->merge, key, ks_sweep_limit(s->ks, key, &hidden) ? &hidden : NULL);
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

uint64_t ks_stream_counted(const struct ks_stream *s)
{
    CHECK(!s->reading && s->counting);
    return s->counted;
}

bool ks_stream_kept(const struct ks_stream *s)
{
    CHECK(!s->reading && s->counting);
    return s->keeping;
}

size_t ks_stream_bytes(const struct ks_stream *s)
{
    CHECK(!s->reading);
    return s->rows.len;
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

void ks_stream_page(struct ks_stream *s, uint64_t from, uint32_t max)
{
    uint8_t *at = s->prefix + 2 * s->prefix_len + s->prefix_len;

    CHECK(s->it == NULL && max != 0);
    be16_store(at, (uint16_t)(from >> 32));
    be32_store(at + 2, (uint32_t)from);
    s->begin_len = s->prefix_len + ROWKEY_HASH_BYTES;
    s->page_max = max;
}

bool ks_stream_page_end(const struct ks_stream *s, uint64_t *from)
{
    if (s->page_next == ROWS_NONE)
        return false;
    *from = s->page_next;
    return true;
}

void ks_stream_read(struct ks_stream *s, struct ks_wait *wait)
{
    CHECK(!s->reading && !s->end && s->err == 0);
    if (!s->counting)
        buf_clear(&s->rows);
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
    if (in.len == 0)
        return false;
    const size_t sub_len = le16_load(in.ptr), row_len = le32_load(in.ptr + 2);
    in = bytes_from(in, HEAD_BYTES);
    CHECK(bytes_take(&in, sub_len, &out->sub));
    CHECK(in.len >= row_len);
    row = bytes_of(in.ptr, row_len);
    s->at += HEAD_BYTES + sub_len + row_len;
    /* It was looked at when it was read. */
    CHECK(row_view(row, 0, &out->view) == 0);
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
