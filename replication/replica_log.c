/*
 * Records of the log for peers that lag.
 *
 * Records of all origins stand in the log in the order in which they were applied here. To find one
 * of an origin, some places are remembered: an LSN, and for each origin the last sequence number
 * that stands up to there. Reading begins at the last place before the record, and passes over what
 * is not asked for; what it learns on the way becomes places, too. So after a start, when only what
 * recovery knew is a place, the first that asks for something old has the log read once.
 *
 * A peer asks for one frame after the other. The cursor that read the last one goes on from there;
 * some are kept open for a while.
 *
 * Reading is done on the readers' threads in slices of bounded work. Each peer has at most one read
 * under way and one that waits; a later one takes the place of that.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/value/op.h"

#include "replication/apply.h"
#include "replication/oplog.h"
#include "replication/oplog_cursor.h"
#include "replication/replica_impl.h"

#define STEP_BYTES      (4u << 20)
#define SLICE_BYTES     (8u << 20) /* Of one job that finds nothing. */
#define RECORD_BYTES    64u        /* Beside its payload, roughly. */
#define CURSORS_MAX     8u         /* Not in use. */
#define CURSOR_IDLE_MS  2000u
#define SLICE_PLACES    8u
#define READ_BYTES_MAX  SIZE_MAX /* One record may be as long as it likes. */
#define RECORDS_CAP_MIN 64u

/* An open cursor, and what it has passed. */
struct log_cursor {
    struct list_link link;
    struct pool_job job; /* To close it. */
    struct replica *r;
    struct oplog_cursor *cursor;
    uint8_t origin;
    uint64_t next_seq; /* All of the origin below this were passed, and none from here on. */
    uint64_t used_ms;
    struct vv seqs; /* Of each origin, the last that it has passed, or less. */
};

struct log_read {
    struct pool_job job;
    struct replica *r;
    struct log_slot *slot;
    const char *log_dir;
    struct core_fetch fetch;
    struct log_cursor *cursor; /* NULL: to be opened at from_lsn, with `start`. */
    struct log_place start;
    uint64_t limit_lsn;
    uint64_t step;
    /* The job's. */
    int err;
    bool more;    /* Nothing found yet. */
    bool broken;  /* The cursor has passed a record that could not be taken. */
    bool trimmed; /* What was passed over has gone meanwhile; what is wanted need not have. */
    uint64_t skipped;
    struct buf bytes;
    struct core_record *records; /* `bytes` set at the end. */
    size_t *offsets;
    size_t count;
    size_t cap;
    struct log_place places[SLICE_PLACES];
    uint32_t places_count;
};

/* What is read for one peer. */
struct log_slot {
    struct list_link link;
    uint8_t peer;
    struct log_read *running;
    bool waits;
    struct core_fetch waiting;
};

/* --- places --- */

static void thin_places(struct log_reads *reads)
{
    uint32_t kept = 1;

    for (uint32_t i = 2; i < reads->places_count; i += 2)
        reads->places[kept++] = reads->places[i];
    reads->places_count = kept;
    reads->step *= 2;
}

/* Places before the log's begin are not needed any more, but for the last of them. */
static void trim_places(struct replica *r)
{
    struct log_reads *reads = &r->reads;
    const uint64_t first_lsn = oplog_first_lsn(r->options.log);
    uint32_t gone = 0;

    while (gone + 1 < reads->places_count && reads->places[gone + 1].lsn < first_lsn)
        gone++;
    reads->places_count -= gone;
    memmove(reads->places, reads->places + gone, reads->places_count * sizeof(*reads->places));
}

static void add_place(struct replica *r, const struct log_place *place)
{
    struct log_reads *reads = &r->reads;

    if (reads->places_count == LOG_PLACES_MAX)
        trim_places(r);
    if (reads->places_count == LOG_PLACES_MAX)
        thin_places(reads);
    uint32_t at = reads->places_count;
    while (at != 0 && reads->places[at - 1].lsn >= place->lsn)
        at--;
    if (at != reads->places_count && reads->places[at].lsn == place->lsn)
        return;
    memmove(reads->places + at + 1, reads->places + at,
            (reads->places_count - at) * sizeof(*reads->places));
    reads->places[at].lsn = place->lsn;
    vv_copy(&reads->places[at].seqs, &place->seqs);
    reads->places_count++;
}

/* The last place before the record. */
static void place_before(struct replica *r, uint8_t origin, uint64_t seq, struct log_place *out)
{
    const struct log_reads *reads = &r->reads;

    out->lsn = 0;
    vv_init(&out->seqs);
    for (uint32_t i = reads->places_count; i-- > 0;) {
        if (vv_get(&reads->places[i].seqs, origin) < seq) {
            out->lsn = reads->places[i].lsn;
            vv_copy(&out->seqs, &reads->places[i].seqs);
            break;
        }
    }
    out->lsn = u64_max(out->lsn, oplog_first_lsn(r->options.log) - 1);
}

void replica_log_note(struct replica *r, uint64_t lsn, size_t len)
{
    struct log_reads *reads = &r->reads;
    struct log_place place = {.lsn = lsn};

    reads->bytes += len + RECORD_BYTES;
    if (reads->bytes < reads->step)
        return;
    reads->bytes = 0;
    vv_copy(&place.seqs, apply_seqs(r->options.mut));
    add_place(r, &place);
}

/* --- on a reader's thread --- */

static void take_record(struct log_read *read, const struct oplog_record *record)
{
    struct batch batch;

    if (batch_open(record->payload, &batch) != 0) {
        read->err = -ERR_CORRUPT;
        return;
    }
    if (read->count == read->cap) {
        read->cap = read->cap == 0 ? RECORDS_CAP_MIN : 2 * read->cap;
        read->records = mem_realloc(read->records, read->cap * sizeof(*read->records));
        read->offsets = mem_realloc(read->offsets, read->cap * sizeof(*read->offsets));
    }
    read->err = buf_reserve(&read->bytes, record->payload.len);
    if (read->err != 0)
        return;
    read->records[read->count] =
        (struct core_record){.seq = record->seq,
                             .hlc = batch.hlc,
                             .bytes = bytes_of(record->payload.ptr, record->payload.len)};
    read->offsets[read->count++] = read->bytes.len;
    CHECK(buf_append_bytes(&read->bytes, record->payload) == 0);
    read->cursor->next_seq = record->seq + 1;
}

static void note_place(struct log_read *read, uint64_t lsn)
{
    struct log_place *place = &read->places[read->places_count++];

    place->lsn = lsn;
    vv_copy(&place->seqs, &read->cursor->seqs);
}

/* True: that was the last one of this slice. */
static bool on_record(struct log_read *read, const struct oplog_record *record)
{
    const uint64_t want = read->fetch.from_seq + read->count;

    IGNORE_RESULT(vv_raise(&read->cursor->seqs, tag_of(record->seq, record->origin)));
    if (record->origin != read->fetch.origin || record->seq < want) {
        read->skipped++;
        return false;
    }
    /* What is asked for was trimmed, or never was in this log. */
    if (record->seq != want)
        read->err = -ERR_NOT_FOUND;
    else
        take_record(read, record);
    read->broken = read->err != 0;
    return read->err != 0 || record->seq == read->fetch.to_seq ||
           read->bytes.len >= read->fetch.bytes_max;
}

static void read_records(struct log_read *read)
{
    struct oplog_record record;
    uint64_t passed = 0;
    uint64_t noted = 0;

    for (bool last = false; !last && read->err == 0;) {
        const int step = oplog_cursor_next(read->cursor->cursor, read->limit_lsn, &record);
        if (step != OPLOG_CURSOR_RECORD) {
            read->trimmed = step == -ERR_NOT_FOUND;
            read->err = step == OPLOG_CURSOR_END ? -ERR_NOT_FOUND : step;
            break; /* What was read before is good. */
        }
        last = on_record(read, &record);
        passed += record.payload.len + RECORD_BYTES;
        if (passed - noted >= read->step && read->places_count < SLICE_PLACES) {
            note_place(read, record.lsn);
            noted = passed;
        }
        if (passed >= SLICE_BYTES && !last) {
            read->more = read->count == 0;
            last = true;
        }
    }
}

static void run_reads(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    CHECK(n == 1);
    struct log_read *read = container_of(jobs[0], struct log_read, job);

    read->trimmed = false;
    if (read->cursor->cursor == NULL) {
        read->err = oplog_cursor_open(read->log_dir, read->start.lsn + 1, &read->cursor->cursor);
        read->trimmed = read->err == -ERR_NOT_FOUND;
    }
    if (read->err == 0)
        read_records(read);
    if (read->count != 0)
        read->err = 0;
    for (size_t i = 0; i < read->count; i++)
        read->records[i].bytes.ptr = read->bytes.ptr + read->offsets[i];
}

static void run_closes(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        oplog_cursor_close(container_of(jobs[i], struct log_cursor, job)->cursor);
}

/* --- cursors --- */

static void on_closed(struct mail *mail)
{
    struct log_cursor *c =
        container_of(container_of(mail, struct pool_job, mail), struct log_cursor, job);

    c->r->jobs--;
    mem_free(c);
}

static void close_cursor(struct replica *r, struct log_cursor *c)
{
    if (c->cursor == NULL) {
        mem_free(c);
        return;
    }
    c->job = (struct pool_job){.mail = {.fn = on_closed}, .reply_to = r->options.mailbox};
    r->jobs++;
    pool_submit(&r->reads.close_class, &c->job);
}

static void close_last(struct replica *r)
{
    struct log_reads *reads = &r->reads;
    struct list_link *last = list_pop_back(&reads->cursors);

    CHECK(last != NULL);
    reads->cursors_count--;
    close_cursor(r, LIST_ITEM(last, struct log_cursor, link));
}

static void keep_cursor(struct replica *r, struct log_cursor *c)
{
    struct log_reads *reads = &r->reads;

    c->used_ms = r->now_ms;
    list_push_front(&reads->cursors, &c->link);
    reads->cursors_count++;
    if (reads->cursors_count > CURSORS_MAX)
        close_last(r);
}

static struct log_cursor *new_cursor(struct replica *r, const struct core_fetch *fetch)
{
    struct log_cursor *c = mem_zalloc(sizeof(*c));

    c->r = r;
    c->origin = fetch->origin;
    c->next_seq = fetch->from_seq;
    return c;
}

/* One that stands where the reading is to begin, or a new one. */
static struct log_cursor *get_cursor(struct replica *r, const struct core_fetch *fetch)
{
    LIST_FOR_EACH(link, &r->reads.cursors) {
        struct log_cursor *c = LIST_ITEM(link, struct log_cursor, link);

        if (c->origin == fetch->origin && c->next_seq == fetch->from_seq) {
            list_remove(&c->link);
            r->reads.cursors_count--;
            return c;
        }
    }
    return new_cursor(r, fetch);
}

void replica_log_tick(struct replica *r)
{
    const struct list *cursors = &r->reads.cursors;

    while (!list_empty(cursors) &&
           r->now_ms - LIST_ITEM(list_last(cursors), struct log_cursor, link)->used_ms >=
               CURSOR_IDLE_MS)
        close_last(r);
}

void replica_log_stop(struct replica *r)
{
    while (!list_empty(&r->reads.cursors))
        close_last(r);
    LIST_FOR_EACH(link, &r->reads.slots) {
        LIST_ITEM(link, struct log_slot, link)->waits = false;
    }
}

/* --- reads --- */

static void on_read(struct mail *mail);

static void submit(struct replica *r, struct log_read *read)
{
    read->job = (struct pool_job){.mail = {.fn = on_read}, .reply_to = r->options.mailbox};
    r->jobs++;
    pool_submit(&r->reads.read_class, &read->job);
}

static void find_start(struct replica *r, struct log_read *read)
{
    if (read->cursor->cursor != NULL)
        return;
    place_before(r, read->fetch.origin, read->fetch.from_seq, &read->start);
    vv_copy(&read->cursor->seqs, &read->start.seqs);
}

static void start(struct replica *r, struct log_slot *slot, const struct core_fetch *fetch)
{
    struct log_read *read = mem_zalloc(sizeof(*read));

    read->r = r;
    read->slot = slot;
    read->log_dir = r->options.log_dir;
    read->fetch = *fetch;
    read->step = r->reads.step;
    read->limit_lsn = r->durable_lsn;
    read->cursor = get_cursor(r, fetch);
    find_start(r, read);
    buf_init(&read->bytes, READ_BYTES_MAX);
    slot->running = read;
    r->metrics.log_reads++;
    submit(r, read);
}

static void free_read(struct log_read *read)
{
    buf_deinit(&read->bytes);
    mem_free(read->records);
    mem_free(read->offsets);
    mem_free(read);
}

/* What a slice has learned on the way. */
static void take_places(struct replica *r, struct log_read *read)
{
    for (uint32_t i = 0; i < read->places_count; i++)
        add_place(r, &read->places[i]);
    read->places_count = 0;
    r->metrics.log_read_skipped += read->skipped;
    read->skipped = 0;
}

/* Goes on with a new cursor, from where the log begins now. */
static void read_anew(struct replica *r, struct log_read *read)
{
    close_cursor(r, read->cursor);
    read->cursor = new_cursor(r, &read->fetch);
    find_start(r, read);
    read->err = 0;
    submit(r, read);
}

static void on_read(struct mail *mail)
{
    struct log_read *read =
        container_of(container_of(mail, struct pool_job, mail), struct log_read, job);
    struct replica *r = read->r;
    struct log_slot *slot = read->slot;

    r->jobs--;
    take_places(r, read);
    if (read->more && !slot->waits && !r->stopping) {
        read->more = false;
        submit(r, read);
        return;
    }
    if (read->err != 0 && read->trimmed && !slot->waits && !r->stopping) {
        read_anew(r, read);
        return;
    }
    slot->running = NULL;
    if (read->err == 0 && !read->broken && !r->stopping)
        keep_cursor(r, read->cursor);
    else
        close_cursor(r, read->cursor);
    if (slot->waits) {
        /* Nobody wants this one any more. */
        slot->waits = false;
        start(r, slot, &slot->waiting);
    } else if (!r->stopping) {
        if (read->err != 0 && read->err != -ERR_NOT_FOUND)
            LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                         "cannot read the log for a peer dir=%s err=\"%s\"", r->options.log_dir,
                         err_str(read->err));
        r->metrics.log_read_records += read->err == 0 ? read->count : 0;
        core_fetched(r->core, read->fetch.id, read->err, read->records, read->count);
    }
    free_read(read);
}

static struct log_slot *slot_of(struct replica *r, uint8_t peer)
{
    LIST_FOR_EACH(link, &r->reads.slots) {
        struct log_slot *slot = LIST_ITEM(link, struct log_slot, link);

        if (slot->peer == peer)
            return slot;
    }
    struct log_slot *slot = mem_zalloc(sizeof(*slot));
    slot->peer = peer;
    list_push_back(&r->reads.slots, &slot->link);
    return slot;
}

void replica_log_fetch(struct replica *r, const struct core_fetch *fetch)
{
    struct log_slot *slot = slot_of(r, fetch->peer);

    if (r->stopping)
        return;
    if (slot->running == NULL) {
        start(r, slot, fetch);
        return;
    }
    slot->waits = true;
    slot->waiting = *fetch;
}

/* --- life --- */

void replica_log_init(struct replica *r)
{
    struct log_reads *reads = &r->reads;
    const struct replica_note *note = &r->options.state->note;
    struct log_place covered = {.lsn = note->covered_lsn};

    list_init(&reads->slots);
    list_init(&reads->cursors);
    reads->step = r->options.index_bytes != 0 ? r->options.index_bytes : STEP_BYTES;
    reads->read_class = (struct pool_class){.name = "log-read",
                                            .priority = POOL_BACKGROUND,
                                            .batch_max = 1,
                                            .run_batch = run_reads,
                                            .ctx = r};
    reads->close_class = (struct pool_class){.name = "log-close",
                                             .priority = POOL_BACKGROUND,
                                             .batch_max = 1,
                                             .run_batch = run_closes,
                                             .ctx = r};
    pool_add_class(r->options.readers, &reads->read_class);
    pool_add_class(r->options.readers, &reads->close_class);
    reads->places = mem_zalloc_array(LOG_PLACES_MAX, sizeof(*reads->places));
    vv_init(&covered.seqs);
    for (unsigned i = 0; i < note->covered.count; i++)
        CHECK(vv_raise(&covered.seqs, tag_of(note->covered.at[i].seq, note->covered.origin[i])) ==
              0);
    add_place(r, &covered);
}

void replica_log_deinit(struct replica *r)
{
    struct list_link *link;

    CHECK(list_empty(&r->reads.cursors));
    while ((link = list_pop_front(&r->reads.slots)) != NULL)
        mem_free(LIST_ITEM(link, struct log_slot, link));
    mem_free(r->reads.places);
}

size_t replica_log_bytes(const struct replica *r)
{
    size_t bytes = LOG_PLACES_MAX * sizeof(struct log_place) +
                   r->reads.cursors_count * sizeof(struct log_cursor);

    LIST_FOR_EACH(link, &r->reads.slots) {
        bytes += LIST_ITEM(link, struct log_slot, link)->running == NULL ? 0 : STEP_BYTES / 4;
    }
    return bytes;
}
