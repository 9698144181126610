/*
 * Opening and replaying a log; the rules stand at the head of oplog_segment.h.
 *
 * recover_open reads the headers: the segments must be numbered without a hole and name each
 * other. oplog_recover reads the records after the position that the store covers: a segment that
 * has a successor must reach exactly to where that one says, with the checksum that it says; the
 * last one ends where its records end. There the questions are: was this place ever durable (the
 * watermark, or a later record that says so)? Then it is damage. If not, a torn end, cut.
 *
 * After the cut nothing is appended to the old file: the next record starts a new segment, whose
 * header says where the old one ends.
 *
 * With accept_loss what can be read is replayed, holes are skipped, and how far the loss was
 * accepted is kept in the watermark, so that later starts do not stumble over the same holes. LSNs
 * that may have been acknowledged are not used again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/io/file.h"

#include "replication/oplog_impl.h"

#define LOCK_FILE_NAME "lock"
#define WAY_OUT                                                                         \
    "restore the missing files, take the data from another member, or start once with " \
    "accept-loss to go on without them"

#define ULL(x) ((unsigned long long)(x))

/* One segment while the log is opened and replayed. */
struct source {
    int fd;
    uint64_t bytes;
    struct segment_header header;
};

static char *name_path(const char *dir, const char *name)
{
    const size_t bytes = strlen(dir) + 1 + strlen(name) + 1;
    char *path = mem_alloc(bytes);

    (void)snprintf(path, bytes, "%s/%s", dir, name);
    return path;
}

static int open_name(const char *dir, const char *name, uint32_t flags)
{
    char *path = name_path(dir, name);
    const int fd = file_open(path, flags);

    mem_free(path);
    return fd;
}

static int source_open(const struct oplog *log, uint64_t number, struct source *out)
{
    char *path = segment_path(log->options.dir, number);
    int err = 0;

    out->fd = file_open(path, FILE_READ | FILE_WRITE);
    if (out->fd < 0)
        err = out->fd;
    if (err == 0)
        err = file_size(out->fd, &out->bytes);
    if (err == 0)
        err = segment_header_read(out->fd, number, &out->header);
    mem_free(path);
    return err;
}

static void source_close(struct source *source)
{
    if (source->fd >= 0)
        (void)file_close(source->fd);
    source->fd = -1;
}

/* Whether what is missing or damaged up to `lsn` is known to the operator. */
static bool loss_accepted(struct oplog *log, uint64_t lsn)
{
    if (lsn <= log->mark.accepted_lsn)
        return true;
    if (!log->options.accept_loss)
        return false;
    log->loss_accepted = true;
    return true;
}

/* --- opening --- */

static int drop_name(const struct oplog *log, const char *name)
{
    char *path = name_path(log->options.dir, name);
    const int err = file_unlink(path);

    mem_free(path);
    return err == -ENOENT ? 0 : err;
}

static int drop_segment(const struct oplog *log, uint64_t number)
{
    char name[SEGMENT_NAME_BYTES];

    segment_name(number, name);
    return drop_name(log, name);
}

/* Number after number; the header names what came before. `last` is NULL for the first. */
static int chain_check(struct oplog *log, const struct oplog_seg *last,
                       const struct segment_header *h, struct oplog_why why)
{
    if (log->id != 0 && h->log_id != log->id) {
        oplog_say(why, "%s/%016llx.log belongs to another log", log->options.dir, ULL(h->number));
        return -ERR_CORRUPT;
    }
    if (last == NULL)
        return 0;
    if (h->number != last->number + 1) {
        if (loss_accepted(log, h->first_lsn - 1))
            return 0;
        oplog_say(why, "segment %s/%016llx.log is missing (its records are those up to %llu): %s",
                  log->options.dir, ULL(last->number + 1), ULL(h->prev_last_lsn), WAY_OUT);
        return -ERR_LOST;
    }
    if (h->prev_last_lsn + 1 < last->first_lsn || h->prev_end == 0 || h->prev_end > last->bytes) {
        if (loss_accepted(log, h->first_lsn - 1))
            return 0;
        oplog_say(why,
                  "%s/%016llx.log is not what its successor says: records up to %llu at offset "
                  "%llu, in a file from %llu of %llu bytes; %s",
                  log->options.dir, ULL(last->number), ULL(h->prev_last_lsn), ULL(h->prev_end),
                  ULL(last->first_lsn), ULL(last->bytes), WAY_OUT);
        return -ERR_CORRUPT;
    }
    return 0;
}

static int seg_add(struct oplog *log, const struct source *source, struct oplog_why why)
{
    struct oplog_segs *segs = &log->segs;
    struct oplog_seg *last = segs->count == 0 ? NULL : &segs->ptr[segs->count - 1];
    const struct segment_header *h = &source->header;
    const int err = chain_check(log, last, h, why);

    if (err != 0)
        return err;
    if (last != NULL)
        last->last_lsn = h->prev_last_lsn;
    log->id = h->log_id;
    segs_push(segs, &(struct oplog_seg){.number = h->number,
                                        .first_lsn = h->first_lsn,
                                        .last_lsn = h->first_lsn - 1,
                                        .bytes = source->bytes});
    return 0;
}

/* Of the first record after the segments found so far, as far as their headers tell. */
static uint64_t after_last_lsn(const struct oplog *log)
{
    return log->segs.count == 0 ? 1 : log->segs.ptr[log->segs.count - 1].first_lsn;
}

/* One file that has, or should have, a header of its own. */
static int open_used(struct oplog *log, uint64_t number, struct oplog_why why)
{
    struct source source = {.fd = -1};
    int err = source_open(log, number, &source);

    if (err == 0) {
        err = seg_add(log, &source, why);
    } else if ((err == -ERR_CORRUPT || err == -ERR_NOT_FOUND) &&
               loss_accepted(log, after_last_lsn(log))) {
        err = 0;
    } else {
        oplog_say(why, "%s/%016llx.log offset 0: the segment's header: %s; %s", log->options.dir,
                  ULL(number), err_str(err), WAY_OUT);
        err = err == -ERR_NOT_FOUND ? -ERR_CORRUPT : err;
    }
    source_close(&source);
    return err;
}

static void spare_take(struct oplog *log, struct source *source)
{
    const uint64_t number = space_next_number(log);
    struct oplog_file *spare = &log->spares[log->spares_count++];

    *spare = (struct oplog_file){
        .fd = source->fd, .direct_fd = -1, .number = number, .bytes = source->bytes};
    source->fd = -1;
    if (log->method == OPLOG_METHOD_DIRECT) {
        char *path = segment_path(log->options.dir, number);
        spare->direct_fd = oplog_open_direct(path);
        mem_free(path);
    }
}

/*
 * The files behind the last good header: spares, the first of them possibly one whose header was
 * being written. 1: taken, 0: not usable, or an error.
 */
static int open_spare(struct oplog *log, uint64_t number, bool first)
{
    struct source source = {.fd = -1};
    int err = source_open(log, number, &source);

    if (err == -ERR_CORRUPT && first) {
        /* oplog_recover looks whether it holds records. */
        log->torn_number = number;
        err = 0;
    } else if (err == -ERR_NOT_FOUND) {
        const bool fits = number == space_next_number(log) && log->torn_number == 0 &&
                          source.bytes == log->options.segment_bytes &&
                          log->spares_count < OPLOG_SPARES_MAX;
        if (fits)
            spare_take(log, &source);
        err = fits ? 1 : 0;
    }
    source_close(&source);
    return err;
}

/* Spares are made and used in order: a hole before them was a segment. */
static int open_spares(struct oplog *log, const uint64_t *numbers, size_t count,
                       struct oplog_why why)
{
    const uint64_t next = space_next_number(log);
    size_t keep = 0;
    int err = 1;

    if (count != 0 && numbers[0] != next && !loss_accepted(log, after_last_lsn(log))) {
        oplog_say(why, "segment %s/%016llx.log is missing; %s", log->options.dir, ULL(next),
                  WAY_OUT);
        return -ERR_LOST;
    }
    while (keep < count && err == 1) {
        err = open_spare(log, numbers[keep], keep == 0);
        keep += err == 1 || log->torn_number == numbers[keep] ? 1 : 0;
    }
    if (err < 0) {
        oplog_say(why, "%s/%016llx.log offset 0: the segment's header: %s", log->options.dir,
                  ULL(numbers[keep]), err_str(err));
        return err;
    }
    /* From the end, so that a crash leaves no hole. */
    for (size_t i = count; i > keep; i--) {
        err = drop_segment(log, numbers[i - 1]);
        if (err != 0)
            return err;
    }
    return 0;
}

/* The number of files up to the last one that has a header of its own. */
static size_t find_used(const struct oplog *log, const uint64_t *numbers, size_t count)
{
    while (count > 0) {
        struct source source = {.fd = -1};
        const int err = source_open(log, numbers[count - 1], &source);
        source_close(&source);
        if (err != -ERR_NOT_FOUND && err != -ERR_CORRUPT)
            break;
        count--;
    }
    return count;
}

static int open_segments(struct oplog *log, struct oplog_why why)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    int err = segment_list(log->options.dir, &numbers, &count);

    const size_t used = err == 0 ? find_used(log, numbers, count) : 0;
    for (size_t i = 0; i < used && err == 0; i++)
        err = open_used(log, numbers[i], why);
    if (err == 0)
        err = open_spares(log, count == 0 ? NULL : numbers + used, count - used, why);
    mem_free(numbers);
    return err;
}

static int mark_create(struct oplog *log)
{
    struct rng rng;
    int err = rng_seed_from_os(&rng);

    if (err != 0)
        return err;
    while (log->id == 0)
        log->id = rng_u64(&rng);
    log->mark = (struct mark){.log_id = log->id};
    err = mark_write_sync(log->mark_fd, &log->mark);
    return err != 0 ? err : file_sync_dir(log->options.dir);
}

/*
 * Reads the watermark, before the segments: they need its log_id and what was accepted. `*out_bad`:
 * -ERR_NOT_FOUND or -ERR_CORRUPT if there is none to go by.
 */
static int mark_open(struct oplog *log, int *out_bad)
{
    log->mark_fd =
        open_name(log->options.dir, MARK_FILE_NAME, FILE_READ | FILE_WRITE | FILE_CREATE);
    if (log->mark_fd < 0)
        return log->mark_fd;

    const int err = mark_read(log->mark_fd, &log->mark);
    if (err == 0)
        log->id = log->mark.log_id;
    if (err != -ERR_NOT_FOUND && err != -ERR_CORRUPT)
        return err;
    *out_bad = err;
    return 0;
}

/* Without a watermark: a log that is just being made, or one that lost its witness. */
static int mark_replace(struct oplog *log, int bad, struct oplog_why why)
{
    const bool fresh = log->segs.count == 0 && log->torn_number == 0 && !log->options.must_exist;

    if (fresh || loss_accepted(log, UINT64_MAX))
        return mark_create(log);
    oplog_say(why, "%s/%s is %s: it cannot be known whether records are missing; %s",
              log->options.dir, MARK_FILE_NAME, bad == -ERR_CORRUPT ? "damaged" : "missing",
              WAY_OUT);
    return bad == -ERR_CORRUPT ? bad : -ERR_LOST;
}

static int open_dir(struct oplog *log, struct oplog_why why)
{
    char *lock = name_path(log->options.dir, LOCK_FILE_NAME);
    int err = file_mkdir_sync(log->options.dir);

    if (err == 0)
        log->lock_fd = file_lock(lock);
    if (err == 0 && log->lock_fd < 0)
        err = log->lock_fd;
    if (err == 0)
        err = drop_name(log, OPLOG_SPARE_TMP);
    if (err != 0)
        oplog_say(why, "%s: %s", log->options.dir,
                  err == -ERR_BUSY ? "in use by another process" : err_str(err));
    mem_free(lock);
    return err;
}

int recover_open(struct oplog *log, struct oplog_why why)
{
    int mark_bad = 0;
    int err = open_dir(log, why);

    if (err == 0)
        err = mark_open(log, &mark_bad);
    if (err == 0)
        err = open_segments(log, why);
    if (err == 0 && mark_bad != 0)
        err = mark_replace(log, mark_bad, why);
    if (err != 0 && why.len != 0 && why.text[0] == '\0')
        oplog_say(why, "%s: %s", log->options.dir, err_str(err));
    return err;
}

/* --- replaying --- */

struct replay {
    struct oplog *log;
    uint64_t from_lsn;
    oplog_replay_fn fn;
    void *ctx;
    struct oplog_why why;
    uint64_t seen_lsn; /* The highest LSN of any good record, replayed or cut. */
    uint64_t skipped;  /* Holes that an operator accepted. */
    bool chain_known;  /* log->chain is that of the last record. */
};

/* A place that should hold the record `lsn`. 0 if that is accepted. */
static int damage(struct replay *r, const struct segment_reader *reader, uint64_t number,
                  const char *what)
{
    struct oplog *log = r->log;

    r->chain_known = false;
    if (loss_accepted(log, reader->next_lsn)) {
        r->skipped++;
        LOG_WARN("oplog", "damage skipped dir=%s segment=%016llx offset=%llu lsn=%llu",
                 log->options.dir, ULL(number), ULL(reader->offset), ULL(reader->next_lsn));
        return 0;
    }
    oplog_say(r->why, "%s/%016llx.log offset %llu: record %llu %s; %s", log->options.dir,
              ULL(number), ULL(reader->offset), ULL(reader->next_lsn), what, WAY_OUT);
    return -ERR_CORRUPT;
}

static int deliver(struct replay *r, const struct oplog_record *record)
{
    if (record->lsn <= r->from_lsn)
        return 0;
    return r->fn == NULL ? 0 : r->fn(r->ctx, record);
}

/* Replays until there is no good record: 0, and that error in `*out_stop`. */
static int read_run(struct replay *r, struct segment_reader *reader, int *out_stop)
{
    struct oplog_record record;

    for (;;) {
        const int stop = segment_reader_next(reader, &record);
        if (stop != 0) {
            *out_stop = stop;
            return stop == -ERR_NOT_FOUND || stop == -ERR_CORRUPT ? 0 : stop;
        }
        r->log->last_lsn = record.lsn;
        const int err = deliver(r, &record);
        if (err != 0)
            return err;
    }
}

/* A segment with a successor, which says how it must end. */
static int read_closed(struct replay *r, struct segment_reader *reader, uint64_t number,
                       const struct segment_header *next)
{
    reader->end = next->prev_end;
    for (;;) {
        struct segment_survey survey;
        int stop = 0;
        int err = read_run(r, reader, &stop);
        if (err != 0)
            return err;
        if (reader->offset == reader->end && reader->next_lsn == next->prev_last_lsn + 1)
            return 0;
        err = damage(r, reader, number, "is damaged");
        if (err == 0)
            err = segment_reader_survey(reader, &survey);
        if (err != 0 || survey.records_count == 0)
            return err;
        segment_reader_skip(reader, survey.first_offset, survey.first_lsn);
    }
}

/* The last segment: where its records end, they are torn or damaged. */
static int read_last(struct replay *r, struct segment_reader *reader, uint64_t number)
{
    struct oplog *log = r->log;

    for (;;) {
        struct segment_survey survey;
        int stop = 0;
        int err = read_run(r, reader, &stop);
        if (err == 0)
            err = segment_reader_survey(reader, &survey);
        if (err != 0)
            return err;
        r->seen_lsn = u64_max(r->seen_lsn, survey.last_lsn);
        const bool was_durable =
            survey.durable_lsn >= reader->next_lsn || log->mark.durable_lsn >= reader->next_lsn;
        if (survey.records_count == 0)
            return 0; /* The watermark is compared at the end of all. */
        if (!was_durable) {
            LOG_WARN("oplog",
                     "torn end cut dir=%s segment=%016llx offset=%llu lsn=%llu dropped=%llu",
                     log->options.dir, ULL(number), ULL(reader->offset), ULL(reader->next_lsn),
                     ULL(survey.records_count));
            return 0;
        }
        err = damage(r, reader, number, "was durable and is damaged, with good ones after it");
        if (err != 0)
            return err;
        segment_reader_skip(reader, survey.first_offset, survey.first_lsn);
    }
}

/* Whether this segment continues what was read before it. */
static int read_begin(struct replay *r, const struct segment_header *h)
{
    struct oplog *log = r->log;
    const bool gap = (h->flags & SEGMENT_FLAG_GAP) != 0;

    if (!r->chain_known || gap || h->prev_chain == log->chain)
        return 0;
    if (loss_accepted(log, h->first_lsn - 1))
        return 0;
    oplog_say(r->why,
              "%s/%016llx.log was replaced: its checksum is not what its successor says; %s",
              log->options.dir, ULL(h->number - 1), WAY_OUT);
    return -ERR_CORRUPT;
}

static int read_segment(struct replay *r, size_t index)
{
    struct oplog *log = r->log;
    struct oplog_segs *segs = &log->segs;
    const uint64_t number = segs->ptr[index].number;
    struct source source = {.fd = -1};
    struct source next = {.fd = -1};
    struct segment_reader reader;
    bool closed = index + 1 < segs->count;
    int err = source_open(log, number, &source);

    if (err == 0 && closed)
        err = source_open(log, segs->ptr[index + 1].number, &next);
    if (err == 0)
        err = read_begin(r, &source.header);
    if (err != 0)
        goto out;
    /* With a hole after it (accepted) nobody says how it ends. */
    closed = closed && next.header.number == number + 1;
    /*
     * What the killed process had written may only be in the page cache, and the caller may write
     * to the store what it gets from here: the log must not be behind it. Earlier segments are
     * durable, or this one would not be there.
     */
    if (!closed)
        err = file_sync(source.fd, false);
    if (err != 0)
        goto out;
    segment_reader_init(&reader, source.fd, &source.header);
    r->chain_known = true;
    err = closed ? read_closed(r, &reader, number, &next.header) : read_last(r, &reader, number);
    log->chain = reader.chain;
    log->tail_offset = reader.offset;
    segment_reader_deinit(&reader);
    if (err == 0 && index + 1 == segs->count) {
        segs->ptr[index].last_lsn = log->last_lsn;
        /* Cuts leftovers and gives back what was allocated. */
        err = file_truncate(source.fd, log->tail_offset);
        segs->ptr[index].bytes = log->tail_offset;
    }
out:
    source_close(&source);
    source_close(&next);
    return err;
}

/* Out of the way under another name: what an expert may still read is not deleted. */
static int set_aside(const struct oplog *log, uint64_t number)
{
    char *from = segment_path(log->options.dir, number);
    char bad[SEGMENT_NAME_BYTES + sizeof(".bad")];
    char name[SEGMENT_NAME_BYTES];

    segment_name(number, name);
    (void)snprintf(bad, sizeof(bad), "%s.bad", name);
    char *to = name_path(log->options.dir, bad);
    int err = file_rename(from, to);
    if (err == 0)
        err = file_sync_dir(log->options.dir);
    mem_free(from);
    mem_free(to);
    return err;
}

/* A segment whose header is bad: fine if its write was torn, and so nothing followed. */
static int read_torn(struct replay *r)
{
    struct oplog *log = r->log;
    struct segment_survey survey = {0};
    struct segment_reader reader;
    struct oplog_record record;

    if (log->torn_number == 0)
        return 0;
    const struct segment_header header = {
        .log_id = log->id, .number = log->torn_number, .first_lsn = log->last_lsn + 1};
    char *path = segment_path(log->options.dir, log->torn_number);
    const int fd = file_open(path, FILE_READ);
    mem_free(path);
    if (fd < 0)
        return fd;
    segment_reader_init(&reader, fd, &header);
    int err = segment_reader_next(&reader, &record);
    const bool holds_first = err == 0;
    if (err == 0 || err == -ERR_NOT_FOUND || err == -ERR_CORRUPT)
        err = segment_reader_survey(&reader, &survey);
    segment_reader_deinit(&reader);
    (void)file_close(fd);
    if (err != 0)
        return err;
    if ((holds_first || survey.records_count != 0) && !loss_accepted(log, header.first_lsn)) {
        oplog_say(r->why, "%s/%016llx.log offset 0: the segment's header is damaged; %s",
                  log->options.dir, ULL(log->torn_number), WAY_OUT);
        return -ERR_CORRUPT;
    }
    r->seen_lsn = u64_max(r->seen_lsn, survey.last_lsn);
    if (holds_first || survey.records_count != 0)
        err = set_aside(log, log->torn_number);
    else
        err = drop_segment(log, log->torn_number);
    log->torn_number = 0;
    return err;
}

/* Compares the end of the log with what is known to have been durable. */
static int check_end(struct replay *r)
{
    struct oplog *log = r->log;
    const uint64_t known_lsn = u64_max(log->mark.durable_lsn, r->from_lsn);
    const uint64_t first_lsn = oplog_first_lsn(log);

    if (log->segs.count != 0 && first_lsn > r->from_lsn + 1 && !loss_accepted(log, first_lsn - 1)) {
        oplog_say(r->why,
                  "%s begins at record %llu, the store needs %llu and after: %llu are missing; %s",
                  log->options.dir, ULL(first_lsn), ULL(r->from_lsn + 1),
                  ULL(first_lsn - r->from_lsn - 1), WAY_OUT);
        return -ERR_LOST;
    }
    if (log->last_lsn >= known_lsn || loss_accepted(log, known_lsn))
        return 0;
    const uint64_t number = log->segs.count == 0 ? 0 : log->segs.ptr[log->segs.count - 1].number;
    oplog_say(r->why,
              "%s/%016llx.log offset %llu: the log ends at record %llu, but %s says that %llu were "
              "durable: %llu are missing; %s",
              log->options.dir, ULL(number), ULL(log->tail_offset), ULL(log->last_lsn),
              log->mark.durable_lsn >= r->from_lsn ? "the watermark" : "the store", ULL(known_lsn),
              ULL(known_lsn - log->last_lsn), WAY_OUT);
    return -ERR_LOST;
}

/* Where appending goes on; keeps in the watermark what the operator accepted. */
static int replay_finish(struct replay *r)
{
    struct oplog *log = r->log;
    const uint64_t known_lsn = u64_max(log->mark.durable_lsn, r->from_lsn);
    uint64_t end_lsn = log->last_lsn;

    if (end_lsn < known_lsn || r->skipped != 0) {
        end_lsn = u64_max(u64_max(end_lsn, known_lsn), r->seen_lsn);
        end_lsn = u64_max(end_lsn, log->mark.accepted_lsn);
        LOG_WARN("oplog", "loss accepted dir=%s last=%llu next=%llu", log->options.dir,
                 ULL(log->last_lsn), ULL(end_lsn + 1));
    }
    if (log->loss_accepted)
        log->mark.accepted_lsn = u64_max(log->mark.accepted_lsn, end_lsn);
    log->next_lsn = end_lsn + 1;
    log->written_lsn = end_lsn;
    log->durable_lsn = end_lsn;
    log->mark.durable_lsn = end_lsn;
    log->mark.log_id = log->id;
    return mark_write_sync(log->mark_fd, &log->mark);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written to by way of `r.why` */
int oplog_recover(struct oplog *log, uint64_t from_lsn, oplog_replay_fn fn, void *ctx, char *why,
                  size_t why_len)
{
    struct replay r = {
        .log = log,
        .from_lsn = from_lsn,
        .fn = fn,
        .ctx = ctx,
        .why = {.text = why, .len = why_len},
    };
    struct oplog_segs *segs = &log->segs;
    int err = 0;

    CHECK(!log->ready);
    oplog_say(r.why, "%s", "");
    log->chain = log->id;
    log->next_lsn = 1;
    if (segs->count != 0)
        log->last_lsn = segs->ptr[0].first_lsn - 1;
    for (size_t i = 0; i < segs->count && err == 0; i++) {
        /* What the store covers is not read; the last segment is, to find its end. */
        if (i + 1 < segs->count && segs->ptr[i].last_lsn <= from_lsn)
            log->last_lsn = segs->ptr[i].last_lsn;
        else
            err = read_segment(&r, i);
    }
    if (err == 0)
        err = read_torn(&r);
    if (err == 0)
        err = check_end(&r);
    if (err == 0)
        err = replay_finish(&r);
    if (err != 0) {
        if (why_len != 0 && why[0] == '\0')
            oplog_say(r.why, "%s: %s", log->options.dir, err_str(err));
        return err;
    }
    log->headed_number = segs->count == 0 ? 0 : segs->ptr[segs->count - 1].number;
    space_make_first(log);
    log->ready = true;
    return 0;
}
