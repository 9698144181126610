/*
 * tierra-inspect key: all that flash holds of one key.
 *
 * The row of the store is shown as it is stored. If the log holds changes beyond the covered
 * position, the row that a replay makes of it is shown too: their operands joined with it.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/sum.h"

#include "engine/value/op.h"
#include "engine/value/row_explain.h"

#include "replication/oplog_cursor.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_oplog.h"
#include "tools/inspect/inspect_row.h"
#include "tools/inspect/inspect_tail.h"
#include "tools/inspect/inspect_walk.h"

struct key {
    struct inspect *in;
    struct bytes name;
    uint64_t elements_max;
    bool log;
    bool found; /* In some shard. */
    /* Of the shard under way. */
    uint32_t shard;
    uint64_t elements_shown;
    bool quiet; /* The rows are counted, not printed. */
    struct tail *tail;
    struct walk_key sums;
    struct buf row; /* The key row. */
    bool damaged;
};

/* --- the store --- */

static void print_element(struct key *k, struct walk_key *key, const struct rowkey *rk,
                          struct bytes row)
{
    struct out *out = &k->in->out;
    struct row_view view;
    double score;

    out_begin(out, "element", OUT_LINE);
    out_u64(out, "shard", k->shard);
    out_bytes(out, inspect_kind_name(rk->kind), rk->sub);
    if (rk->kind == ROWKEY_KIND_ZSET && row_score(row, &score) == 0)
        out_double(out, "score", score);
    if (row_view(row, k->in->now_ms, &view) == 0)
        out_bool(out, "alive", walk_alive(key, row, &view));
    row_print_view(out, row, k->in->now_ms);
    out_end(out);
    row_print_parts(out, row,
                    &(struct row_explain_under){.now_ms = k->in->now_ms,
                                                .clear = &key->clear,
                                                .score = rk->kind == ROWKEY_KIND_ZSET});
}

static void take_row(void *ctx, struct walk_key *key, struct bytes name, int status,
                     struct bytes row)
{
    struct key *k = ctx;
    struct rowkey rk;

    if (rowkey_parse(name, &rk) != 0)
        return;
    if (k->quiet) {
        if (rk.kind == ROWKEY_KIND_KEY && status == STORE_FOUND)
            CHECK(buf_append_bytes(&k->row, row) == 0);
        return;
    }
    if (rk.kind == ROWKEY_KIND_KEY || k->elements_shown == k->elements_max)
        return;
    k->elements_shown++;
    if (status == STORE_FOUND) {
        print_element(k, key, &rk, row);
        return;
    }
    out_begin(&k->in->out, "element", OUT_LINE);
    out_bytes(&k->in->out, inspect_kind_name(rk.kind), rk.sub);
    out_text(&k->in->out, "error", "the row is damaged");
    out_end(&k->in->out);
}

static int take_key(void *ctx, struct walk_key *key)
{
    struct key *k = ctx;

    k->sums = *key;
    k->damaged |= key->damaged;
    return 0;
}

/* --- the tail of the log --- */

struct replay {
    struct bytes name;
    struct buf *row;
    uint64_t ops;
    int err;
};

static int join(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct replay *r = ctx;
    struct buf joined;

    (void)sub;
    if (row_kind != ROWKEY_KIND_KEY)
        return 0;
    buf_init(&joined, SIZE_MAX);
    const int err = row_merge_fold(buf_bytes(r->row), &operand, 1, &joined);
    if (err == 0) {
        buf_deinit(r->row);
        *r->row = joined;
    }
    return err;
}

static int replay_record(struct replay *r, const struct oplog_record *record)
{
    struct batch batch;
    struct op op;
    struct buf scratch;
    int step = 0;

    int err = batch_open(record->payload, &batch);
    buf_init(&scratch, SIZE_MAX);
    while (err == 0 && (step = batch_next(&batch, &op)) == BATCH_OP) {
        if (!bytes_eq(op.key, r->name))
            continue;
        r->ops++;
        /* A reclaim is local and has no operand: it ends what has expired. */
        if (op.kind == OP_RECLAIM)
            buf_clear(r->row);
        else
            err = op_expand(&op, &batch, record->lsn, join, r, &scratch);
    }
    buf_deinit(&scratch);
    return err != 0 ? err : step;
}

static void replay(struct replay *r, const struct inspect_shard *sh)
{
    struct oplog_cursor *cursor = NULL;
    struct oplog_record record;

    r->err = oplog_cursor_open(sh->log_dir, sh->covered_lsn + 1, &cursor);
    while (r->err == 0) {
        r->err = oplog_cursor_next(cursor, UINT64_MAX, &record);
        if (r->err == OPLOG_CURSOR_RECORD)
            r->err = replay_record(r, &record);
    }
    if (r->err > 0)
        r->err = 0;
    oplog_cursor_close(cursor);
}

/* --- output --- */

static const char *tier_name(const struct key *k, uint64_t ops)
{
    if (k->sums.rows == 0)
        return ops == 0 ? "absent" : "log";
    return ops == 0 ? "store" : "store+log";
}

static void print_head(struct key *k, const struct inspect_shard *sh, const struct replay *r)
{
    struct out *out = &k->in->out;
    const struct walk_key *sums = &k->sums;

    out_begin(out, "key", OUT_BLOCK);
    out_u64(out, "shard", sh->index);
    out_bytes(out, "key", k->name);
    out_u64(out, "slot", key_slot(k->name));
    out_hex(out, "hash", hash64(k->name.ptr, k->name.len, k->in->seed));
    out_text(out, "tier", tier_name(k, r->ops));
    out_u64(out, "store_rows", sums->rows);
    out_u64(out, "store_bytes", sums->bytes);
    if (sums->view.type > VT_STRING || sums->elements != 0)
        out_u64(out, "store_elements", sums->elements);
    if (sums->garbage != 0)
        out_u64(out, "store_rows_garbage", sums->garbage);
    if (!tag_is_none(sums->swept))
        out_tag(out, "sweep_up_to", sums->swept);
    if (k->damaged)
        out_text(out, "damage", "some rows of the key cannot be read");
    out_u64(out, "covered_lsn", sh->covered_lsn);
    out_u64(out, "log_changes", r->ops);
    if (r->err != 0)
        out_format(out, "log_error", "%s: %s", sh->log_dir, err_str(r->err));
    out_end(out);
}

static void print_row(struct key *k, const char *record, struct bytes row)
{
    struct out *out = &k->in->out;
    const struct tail_key *tk = tail_find(k->tail, k->name);

    out_begin(out, record, OUT_BLOCK);
    row_print_view(out, row, k->in->now_ms);
    /* What a replay finds for the elements is not in the joined row. */
    if (strcmp(record, "with_log") == 0 && tk != NULL && tk->has_count && tk->type > VT_STRING)
        out_u64(out, "elements", tk->count);
    out_end(out);
    row_print_parts(out, row, &(struct row_explain_under){.now_ms = k->in->now_ms});
}

static int key_shard(struct inspect *in, struct inspect_shard *sh, void *ctx)
{
    struct key *k = ctx;
    struct walk_fns fns = {.row = take_row, .key = take_key, .ctx = k};
    struct replay r = {.name = k->name};
    struct cat cat = {.to = UINT64_MAX, .left = UINT64_MAX, .has_key = true, .key = k->name};
    char why[INSPECT_PATH_BYTES + 256];
    struct buf joined;

    k->shard = sh->index;
    k->elements_shown = 0;
    k->quiet = true;
    k->damaged = false;
    buf_init(&k->row, SIZE_MAX);
    buf_init(&joined, SIZE_MAX);
    int err = walk_one(sh->store, in->seed, k->name, &fns);
    if (err == 0)
        err = buf_append_bytes(&joined, buf_bytes(&k->row));
    /* An error of the log is told by the replay. */
    IGNORE_RESULT(tail_open(sh->log_dir, sh->covered_lsn, &k->tail, why, sizeof(why)));
    r.row = &joined;
    replay(&r, sh);
    if (k->sums.rows != 0 || r.ops != 0 || in->shards_count == 1 || in->shard >= 0) {
        k->found = k->found || k->sums.rows != 0 || r.ops != 0;
        print_head(k, sh, &r);
        if (k->row.len != 0)
            print_row(k, "stored", buf_bytes(&k->row));
        if (r.ops != 0)
            print_row(k, "with_log", buf_bytes(&joined));
        k->quiet = false;
        if (k->elements_max != 0 && err == 0)
            err = walk_one(sh->store, in->seed, k->name, &fns);
        if (k->log)
            IGNORE_RESULT(inspect_cat(in, sh, &cat));
    }
    tail_close(k->tail);
    buf_deinit(&joined);
    buf_deinit(&k->row);
    if (err != 0)
        inspect_say("shard %u: %s: %s", sh->index, sh->store_dir, err_str(err));
    return k->damaged ? INSPECT_DAMAGE : inspect_exit_of(err != 0 ? err : r.err);
}

int inspect_cmd_key(struct inspect *in, int argc, char **argv)
{
    static const struct option options[] = {{"elements", required_argument, NULL, 'e'},
                                            {"log", no_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    struct key k = {.in = in};
    int c;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    while ((c = getopt_long(argc, argv, "e:l", options, NULL)) != -1) {
        if (c == 'l')
            k.log = true;
        else if (c != 'e' || !inspect_number("--elements", optarg, &k.elements_max))
            return INSPECT_USAGE;
    }
    if (optind != argc - 1)
        return inspect_usage("key takes the name of one key");
    k.name = bytes_cstr(argv[optind]);
    if (k.name.len > ROWKEY_NAME_BYTES_MAX)
        return inspect_usage("keys have at most %u bytes", ROWKEY_NAME_BYTES_MAX);
    const int code = inspect_each_shard(in, true, key_shard, &k);
    if (!k.found && code == INSPECT_OK && in->shards_count > 1 && in->shard < 0)
        inspect_say("no shard has that key on flash");
    return code;
}
