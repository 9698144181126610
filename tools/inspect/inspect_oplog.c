/* tierra-inspect oplog: the segments and records of the logs. */
#include "tools/inspect/inspect_oplog.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"

#include "engine/io/file.h"
#include "engine/value/op.h"
#include "engine/value/rowkey.h"

#include "replication/oplog_cursor.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_problem.h"

/* --- ls --- */

static const char *state_name(enum oplog_segment_state state)
{
    switch (state) {
    case OPLOG_SEGMENT_OK:
        return "ok";
    case OPLOG_SEGMENT_SPARE:
        return "spare";
    case OPLOG_SEGMENT_TORN:
        return "torn";
    case OPLOG_SEGMENT_DAMAGED:
        return "damaged";
    case OPLOG_SEGMENT_MISSING:
        return "missing";
    default:
        return "?";
    }
}

struct listing {
    struct inspect *in;
    const struct inspect_shard *sh;
};

static void list_segment(void *ctx, const struct oplog_segment_info *info)
{
    const struct listing *l = ctx;
    struct out *out = &l->in->out;

    out_begin(out, "segment", OUT_LINE);
    out_u64(out, "shard", l->sh->index);
    out_u64(out, "number", info->number);
    out_text(out, "state", state_name(info->state));
    out_u64(out, "bytes", info->file_bytes);
    if (info->header.first_lsn != 0) {
        out_u64(out, "first_lsn", info->header.first_lsn);
        out_u64(out, "last_lsn", info->last_lsn);
        out_u64(out, "records", info->records_count);
        out_u64(out, "end", info->end);
        out_time(out, "created", info->header.created_ms);
        out_hex(out, "log_id", info->header.log_id);
        out_bool(out, "gap", (info->header.flags & SEGMENT_FLAG_GAP) != 0);
    }
    out_end(out);
}

static int list_shard(struct inspect *in, struct inspect_shard *sh, void *ctx)
{
    struct listing l = {.in = in, .sh = sh};
    struct oplog_summary log;
    struct out *out = &in->out;

    (void)ctx;
    const int err = oplog_inspect(sh->log_dir, true, &log, list_segment, &l);
    if (err != 0) {
        inspect_say("%s: %s", sh->log_dir, err_str(err));
        return inspect_exit_of(err);
    }
    out_begin(out, "log", OUT_LINE);
    out_u64(out, "shard", sh->index);
    out_u64(out, "segments", log.segments_count);
    out_u64(out, "bad", log.bad_count);
    out_u64(out, "bytes", log.bytes);
    out_u64(out, "first_lsn", log.first_lsn);
    out_u64(out, "last_lsn", log.last_lsn);
    if (log.mark_err == 0) {
        out_u64(out, "watermark_lsn", log.mark.durable_lsn);
        out_u64(out, "accepted_lsn", log.mark.accepted_lsn);
    } else {
        out_text(out, "watermark", err_str(log.mark_err));
    }
    out_bool(out, "lost", log.lost);
    out_end(out);
    return log.bad_count != 0 || log.lost || log.mark_err != 0 ? INSPECT_DAMAGE : INSPECT_OK;
}

/* --- cat --- */

static void put_string_values(struct out *out, const struct op *op)
{
    if (op->kind != OP_STRING && op->kind != OP_CHUNK && op->kind != OP_BITS)
        return;
    out_tag(out, "generation", op->generation);
    if (op->kind == OP_STRING) {
        out_u64(out, "length", op->len);
    } else {
        out_u64(out, op->kind == OP_CHUNK ? "chunk" : "bit", op->at);
    }
    if (op->kind == OP_BITS) {
        out_u64(out, "bits_count", op->bits_count);
        out_u64(out, "bits", op->bits);
    }
}

static void put_op_values(struct out *out, const struct op *op)
{
    put_string_values(out, op);
    if (op->kind == OP_INCR || op->kind == OP_ELEM_INCR) {
        out_i64(out, "sum", op->isum);
        if ((op->flags & OP_F_FLOAT) != 0)
            out_bool(out, "float", true);
    }
    if (op->kind == OP_EXPIRE && op->expire_at_ms == 0)
        out_text(out, "expire_at", "never");
    else if (op->expire_at_ms != 0)
        out_time(out, "expire_at", op->expire_at_ms);
    if (op->has_count)
        out_u64(out, "count", op->count);
    if (op->kind == OP_SET || op->kind == OP_ELEM_SET || op->kind == OP_KEY_MERGE ||
        op->kind == OP_ROW_MERGE || op->kind == OP_CHUNK) {
        out_u64(out, "value_bytes", op->value.len);
        out_bytes(out, "value", op->value);
    }
}

void inspect_print_op(struct out *out, uint32_t shard, const struct oplog_record *record,
                      const struct batch *batch, const struct op *op)
{
    out_begin(out, "op", OUT_LINE);
    out_u64(out, "shard", shard);
    out_u64(out, "lsn", record->lsn);
    out_u64(out, "origin", record->origin);
    out_u64(out, "seq", record->seq);
    out_tag(out, "tag", batch_tag(batch));
    out_text(out, "kind", inspect_op_name(op->kind));
    out_bytes(out, "key", op->key);
    if (op->kind >= OP_ELEM_SET && op->kind <= OP_ELEM_DEL) {
        out_text(out, "type", inspect_type_name(op->type));
        out_bytes(out, inspect_kind_name(op_row_kind(op->type)), op->sub);
    } else if (op->kind == OP_ROW_MERGE) {
        out_bytes(out, inspect_kind_name(op->type), op->sub);
    }
    put_op_values(out, op);
    if ((op->flags & OP_COVER) != 0)
        out_bool(out, "cover", true);
    out_end(out);
}

int inspect_cat(struct inspect *in, const struct inspect_shard *sh, struct cat *cat)
{
    struct oplog_cursor *cursor = NULL;
    struct oplog_summary log;
    struct oplog_record record;
    struct batch batch;
    struct op op;

    int err = oplog_inspect(sh->log_dir, false, &log, NULL, NULL);
    if (err == -ENOENT && in->copy)
        return INSPECT_OK;
    if (err == 0 && log.first_lsn == 0)
        return INSPECT_OK; /* No segment. */
    if (err == 0)
        err =
            oplog_cursor_open(sh->log_dir, u64_max(u64_max(cat->from, log.first_lsn), 1), &cursor);
    while (err == 0 && cat->left != 0 &&
           (err = oplog_cursor_next(cursor, cat->to, &record)) == OPLOG_CURSOR_RECORD) {
        int step = 0;
        err = batch_open(record.payload, &batch);
        while (err == 0 && cat->left != 0 && (step = batch_next(&batch, &op)) == BATCH_OP) {
            if (cat->has_key && !bytes_eq(cat->key, op.key))
                continue;
            inspect_print_op(&in->out, sh->index, &record, &batch, &op);
            cat->left--;
        }
        if (step < 0)
            err = step;
    }
    if (err < 0)
        inspect_say("%s: segment %" PRIu64 ", offset %" PRIu64 ": %s", sh->log_dir,
                    cursor == NULL ? 0 : oplog_cursor_segment(cursor),
                    cursor == NULL ? 0 : oplog_cursor_offset(cursor), err_str(err));
    oplog_cursor_close(cursor);
    return err < 0 ? inspect_exit_of(err) : INSPECT_OK;
}

static int cat_shard(struct inspect *in, struct inspect_shard *sh, void *ctx)
{
    struct cat cat = *(const struct cat *)ctx; /* The limit is for each shard. */

    return inspect_cat(in, sh, &cat);
}

static bool cat_option(int c, struct cat *cat)
{
    switch (c) {
    case 'f':
        return inspect_number("--from", optarg, &cat->from);
    case 't':
        return inspect_number("--to", optarg, &cat->to);
    case 'l':
        return inspect_number("--limit", optarg, &cat->left);
    case 'k':
        cat->key = bytes_cstr(optarg);
        cat->has_key = true;
        return true;
    default:
        return false;
    }
}

/* --- verify --- */

struct log_check {
    struct problems *problems;
    const struct inspect_shard *sh;
    uint64_t records;
    uint64_t last_segment; /* In use. */
};

static void check_segment(void *ctx, const struct oplog_segment_info *info)
{
    struct log_check *c = ctx;
    char path[INSPECT_PATH_BYTES + SEGMENT_NAME_BYTES + 1], name[SEGMENT_NAME_BYTES];

    c->records += info->records_count;
    if (info->state != OPLOG_SEGMENT_SPARE)
        c->last_segment = info->number;
    if (info->state != OPLOG_SEGMENT_DAMAGED && info->state != OPLOG_SEGMENT_MISSING)
        return;
    segment_name(info->number, name);
    (void)snprintf(path, sizeof(path), "%s/%s", c->sh->log_dir, name);
    if (info->state == OPLOG_SEGMENT_MISSING)
        problem_file(c->problems, path, 0, "the segment is missing, its neighbours are there");
    else if (info->header.first_lsn == 0)
        problem_file(c->problems, path, 0, "the header is damaged");
    else
        problem_file(c->problems, path, info->end,
                     "damaged here: no good record %" PRIu64
                     ", or the next segment says something else",
                     info->last_lsn + 1);
}

/* Both slots: a damaged one is made good by the other, but it is damage. True: all is well. */
static bool check_mark(const struct inspect_shard *sh, struct problems *problems)
{
    static const uint8_t unused[MARK_SLOT_BYTES] = {0};
    char path[INSPECT_PATH_BYTES + sizeof("/" MARK_FILE_NAME)];
    uint8_t slot[MARK_SLOT_BYTES];
    struct mark mark;
    bool good = true;

    (void)snprintf(path, sizeof(path), "%s/%s", sh->log_dir, MARK_FILE_NAME);
    const int fd = file_open(path, FILE_READ);
    int err = fd < 0 ? fd : mark_read(fd, &mark);
    if (err != 0 && problems != NULL)
        problem_file(problems, path, 0, "%s", err_str(err));
    for (uint64_t at = 0; err == 0 && at <= MARK_SLOT_STEP; at += MARK_SLOT_STEP) {
        size_t len = 0;
        err = file_read_some(fd, slot, sizeof(slot), at, &len);
        if (err != 0 || len == 0 || memcmp(slot, unused, len) == 0 ||
            (len == sizeof(slot) && mark_decode(slot, &mark) == 0))
            continue;
        good = false;
        if (problems != NULL)
            problem_file(problems, path, at, "the slot of %u bytes here is damaged",
                         MARK_SLOT_BYTES);
    }
    if (fd >= 0)
        (void)file_close(fd); /* Read only. */
    return good && err == 0;
}

static void check_summary(struct log_check *c, const struct oplog_summary *log)
{
    char path[INSPECT_PATH_BYTES + SEGMENT_NAME_BYTES + 1], name[SEGMENT_NAME_BYTES];
    const uint64_t covered = c->sh->covered_lsn;

    segment_name(c->last_segment, name);
    (void)snprintf(path, sizeof(path), "%s/%s", c->sh->log_dir, name);
    if (log->lost)
        problem_file(c->problems, path, 0,
                     "records are missing: the log ends at %" PRIu64 ", but %" PRIu64
                     " was durable by the watermark",
                     log->last_lsn, log->mark.durable_lsn);
    if (log->segments_count == 0 && covered == 0)
        return; /* Nothing was ever written. */
    if (log->segments_count == 0)
        problem_file(c->problems, c->sh->log_dir, 0, "no segment, but the store covers %" PRIu64,
                     covered);
    else if (log->bad_count == 0 && covered > log->last_lsn)
        problem_file(c->problems, c->sh->log_dir, 0,
                     "the log ends at %" PRIu64 ", the store covers %" PRIu64, log->last_lsn,
                     covered);
    else if (log->first_lsn > covered + 1 && c->sh->store != NULL)
        problem_file(c->problems, c->sh->log_dir, 0,
                     "the log begins at %" PRIu64 ", the store covers only %" PRIu64,
                     log->first_lsn, covered);
}

/* The batches in the records; what stops the cursor was told before. */
static void check_batches(struct log_check *c, uint64_t first_lsn)
{
    struct oplog_cursor *cursor = NULL;
    struct oplog_record record;
    struct batch batch;
    struct op op;
    uint64_t hlc[256] = {0}, seq[256] = {0};

    if (oplog_cursor_open(c->sh->log_dir, first_lsn, &cursor) != 0)
        return;
    while (oplog_cursor_next(cursor, UINT64_MAX, &record) == OPLOG_CURSOR_RECORD) {
        int err = batch_open(record.payload, &batch);
        while (err == 0 && (err = batch_next(&batch, &op)) == BATCH_OP)
            err = 0;
        if (err != 0) {
            problem_record(c->problems, &record, "%s", err_str(err));
            continue;
        }
        if (batch.origin != record.origin || batch.seq != record.seq)
            problem_record(c->problems, &record, "origin or sequence differ from the batch's");
        if (batch.seq <= seq[batch.origin] || batch.hlc <= hlc[batch.origin])
            problem_record(c->problems, &record, "sequence or clock of origin %u goes back",
                           batch.origin);
        seq[batch.origin] = batch.seq;
        hlc[batch.origin] = batch.hlc;
    }
    oplog_cursor_close(cursor);
}

/* Beside a running server the end of the log moves: what looks bad is looked at again. */
#define ATTEMPTS 4

int inspect_check_log(struct inspect *in, const struct inspect_shard *sh, struct problems *problems,
                      uint64_t *out_records)
{
    struct log_check c = {.problems = problems, .sh = sh};
    struct oplog_summary log;
    int err = 0;

    for (int i = 0; i < ATTEMPTS; i++) {
        err = oplog_inspect(sh->log_dir, true, &log, NULL, NULL);
        if (!in->running || err != 0 || (log.bad_count == 0 && !log.lost && check_mark(sh, NULL)))
            break;
    }
    if (err == 0)
        err = oplog_inspect(sh->log_dir, true, &log, check_segment, &c);
    if (err == -ENOENT && in->copy)
        return INSPECT_OK;
    if (err != 0) {
        problem_file(problems, sh->log_dir, 0, "%s", err_str(err));
        return err == -ENOENT ? INSPECT_DAMAGE : inspect_exit_of(err);
    }
    (void)check_mark(sh, problems);
    check_summary(&c, &log);
    if (log.first_lsn != 0)
        check_batches(&c, log.first_lsn);
    *out_records = c.records;
    return problems->count != 0 ? INSPECT_DAMAGE : INSPECT_OK;
}

static int verify_shard(struct inspect *in, struct inspect_shard *sh, void *ctx)
{
    struct problems problems;
    struct out *out = &in->out;
    uint64_t records = 0;

    (void)ctx;
    problems_init(&problems, out, sh->index);
    const int store = inspect_store_open(sh);
    const int code = inspect_worse(store, inspect_check_log(in, sh, &problems, &records));
    out_begin(out, "verified", OUT_LINE);
    out_u64(out, "shard", sh->index);
    out_u64(out, "log_records", records);
    out_u64(out, "problems", problems.count);
    out_end(out);
    return code;
}

/* --- */

int inspect_cmd_oplog(struct inspect *in, int argc, char **argv)
{
    static const struct option options[] = {{"from", required_argument, NULL, 'f'},
                                            {"to", required_argument, NULL, 't'},
                                            {"key", required_argument, NULL, 'k'},
                                            {"limit", required_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    struct cat cat = {.to = UINT64_MAX, .left = UINT64_MAX};
    int c;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    while ((c = getopt_long(argc, argv, "f:t:k:l:", options, NULL)) != -1) {
        if (!cat_option(c, &cat))
            return INSPECT_USAGE;
    }
    const char *what = optind == argc - 1 ? argv[optind] : "";
    if (strcmp(what, "ls") == 0)
        return inspect_each_shard(in, false, list_shard, NULL);
    if (strcmp(what, "cat") == 0)
        return inspect_each_shard(in, false, cat_shard, &cat);
    if (strcmp(what, "verify") == 0)
        return inspect_each_shard(in, false, verify_shard, NULL);
    return inspect_usage("oplog takes ls, cat or verify");
}
