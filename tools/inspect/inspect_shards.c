/* tierra-inspect shards and store: the figures of each shard. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"

#include "replication/oplog_cursor.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_files.h"
#include "tools/inspect/inspect_table.h"
#include "tools/inspect/inspect_tail.h"
#include "tools/inspect/inspect_walk.h"

/* --- shards --- */

struct sums {
    uint64_t keys;
    uint64_t keys_expiring;
    uint64_t keys_damaged;
    uint64_t rows;
    uint64_t garbage;
    uint64_t bytes;
    uint64_t by_type[VT_END];
};

static int sum_key(void *ctx, struct walk_key *key)
{
    struct sums *s = ctx;
    const bool there = key->has_row && key->view.type != VT_NONE;

    s->keys += there;
    s->keys_expiring += there && key->view.expire_at_ms != 0;
    s->keys_damaged += key->damaged;
    s->by_type[there ? key->view.type % VT_END : VT_NONE] += 1;
    s->rows += key->rows;
    s->garbage += key->garbage;
    s->bytes += key->bytes;
    return 0;
}

static void print_sums(struct out *out, const struct sums *s)
{
    out_u64(out, "keys", s->keys);
    out_u64(out, "keys_expiring", s->keys_expiring);
    for (unsigned i = VT_STRING; i < VT_END; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "keys_%s", inspect_type_name(i));
        if (s->by_type[i] != 0)
            out_u64(out, name, s->by_type[i]);
    }
    out_u64(out, "rows", s->rows);
    out_u64(out, "rows_garbage", s->garbage);
    out_u64(out, "rows_bytes", s->bytes);
    if (s->keys_damaged != 0)
        out_u64(out, "keys_damaged", s->keys_damaged);
}

/* Entries of the tables less deletions: RocksDB's own estimate is 0 in a store opened to read. */
static uint64_t rows_estimate(const struct inspect_shard *sh)
{
    char why[INSPECT_PATH_BYTES + 512];
    struct files *files;
    struct files_info info;
    uint64_t entries = 0, deletions = 0;

    if (files_open(sh->store_dir, &files, why, sizeof(why)) != 0)
        return 0;
    for (int i = 0; i < files_count(files); i++) {
        files_get(files, i, &info);
        entries += info.entries - info.deletions;
        deletions += info.deletions;
    }
    files_close(files);
    return entries - u64_min(entries, deletions);
}

static void print_store(struct out *out, const struct inspect_shard *sh)
{
    struct store_stats stats;

    store_stats(sh->store, &stats);
    out_u64(out, "rows_estimate", rows_estimate(sh));
    out_u64(out, "store_bytes", stats.live_sst_bytes);
    for (unsigned i = 0; i < STORE_LEVELS_MAX; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "store_level%u", i);
        if (stats.level_files[i] != 0)
            out_format(out, name, "%" PRIu64 " files, %" PRIu64 " bytes", stats.level_files[i],
                       stats.level_bytes[i]);
    }
}

/* The log, and whether a start would have to replay. */
static int print_log(const struct inspect *in, struct out *out, const struct inspect_shard *sh)
{
    struct oplog_summary log;
    struct tail *tail = NULL;
    char why[INSPECT_PATH_BYTES + 256] = "";

    int err = oplog_inspect(sh->log_dir, false, &log, NULL, NULL);
    if (err == -ENOENT && in->copy) {
        out_text(out, "state", "saved copy, without a log");
        return INSPECT_OK;
    }
    if (err == 0)
        err = tail_open(sh->log_dir, sh->covered_lsn, &tail, why, sizeof(why));
    else
        (void)snprintf(why, sizeof(why), "%s: %s", sh->log_dir, err_str(err));
    out_u64(out, "log_segments", log.segments_count);
    out_u64(out, "log_bytes", log.bytes);
    out_u64(out, "log_first_lsn", log.first_lsn);
    const uint64_t last = tail == NULL ? log.last_lsn : tail_last_lsn(tail);
    out_u64(out, "log_last_lsn", last);
    if (log.mark_err == 0)
        out_u64(out, "watermark_lsn", log.mark.durable_lsn);
    else
        out_text(out, "watermark", err_str(log.mark_err));
    if (err != 0)
        out_format(out, "state", "damaged: %s", why);
    else if (log.mark_err != 0 || log.bad_count != 0 ||
             (last < log.mark.durable_lsn && log.mark.durable_lsn > log.mark.accepted_lsn))
        out_text(out, "state", "damaged: see tierra-inspect oplog verify");
    else if (tail_records(tail) == 0)
        out_text(out, "state", "clean");
    else
        out_format(out, "state", "needs %" PRIu64 " records replayed", tail_records(tail));
    tail_close(tail);
    return err != 0 ? inspect_worse(INSPECT_DAMAGE, inspect_exit_of(err)) : INSPECT_OK;
}

static int show_shard(struct inspect *in, struct inspect_shard *sh, void *ctx)
{
    const bool quick = *(const bool *)ctx;
    struct sums sums = {0};
    const struct walk_fns fns = {.key = sum_key, .ctx = &sums};
    struct out *out = &in->out;
    int err = 0;

    if (!quick)
        err = walk_store(sh->store, &fns);
    out_begin(out, "shard", OUT_BLOCK);
    out_u64(out, "shard", sh->index);
    if (!quick)
        print_sums(out, &sums);
    if (err != 0)
        out_format(out, "store", "%s: %s; the sums are not complete", sh->store_dir, err_str(err));
    print_store(out, sh);
    out_u64(out, "covered_lsn", sh->covered_lsn);
    out_vv(out, "covered_vv", &sh->covered_vv);
    table_print(in, sh, out);
    const int code = print_log(in, out, sh);
    out_end(out);
    return inspect_worse(inspect_exit_of(err), code);
}

static void show_directory(struct inspect *in)
{
    struct out *out = &in->out;

    out_begin(out, "directory", OUT_BLOCK);
    out_text(out, "dir", in->dir);
    out_u64(out, "shards", in->shards_count);
    out_hex(out, "seed", in->seed);
    out_bool(out, "server_running", in->running);
    out_end(out);
}

int inspect_cmd_shards(struct inspect *in, int argc, char **argv)
{
    static const struct option options[] = {{"quick", no_argument, NULL, 'q'}, {NULL, 0, NULL, 0}};
    bool quick = false;
    int c;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    while ((c = getopt_long(argc, argv, "q", options, NULL)) != -1) {
        if (c != 'q')
            return INSPECT_USAGE;
        quick = true;
    }
    if (optind != argc)
        return inspect_usage("shards takes no argument");
    show_directory(in);
    return inspect_each_shard(in, true, show_shard, &quick);
}

/* --- store --- */

static void show_file(struct out *out, const struct inspect_shard *sh,
                      const struct files_info *info)
{
    out_begin(out, "file", OUT_LINE);
    out_u64(out, "shard", sh->index);
    out_format(out, "file", "%s%s", sh->store_dir, info->name);
    out_i64(out, "level", info->level);
    out_u64(out, "bytes", info->bytes);
    out_u64(out, "entries", info->entries);
    out_u64(out, "deletions", info->deletions);
    out_bytes(out, "smallest", info->smallest);
    out_bytes(out, "largest", info->largest);
    out_end(out);
}

static int show_files(struct out *out, const struct inspect_shard *sh)
{
    char why[INSPECT_PATH_BYTES + 512];
    struct files *files;
    struct files_info info;

    const int err = files_open(sh->store_dir, &files, why, sizeof(why));
    if (err != 0) {
        inspect_say("shard %u: %s", sh->index, why);
        return inspect_exit_of(err);
    }
    for (int i = 0; i < files_count(files); i++) {
        files_get(files, i, &info);
        show_file(out, sh, &info);
    }
    files_close(files);
    return INSPECT_OK;
}

static void show_level(struct out *out, const struct inspect_shard *sh, unsigned level,
                       const struct store_stats *stats)
{
    out_begin(out, "level", OUT_LINE);
    out_u64(out, "shard", sh->index);
    out_u64(out, "level", level);
    out_u64(out, "files", stats->level_files[level]);
    out_u64(out, "bytes", stats->level_bytes[level]);
    out_end(out);
}

static int show_store(struct inspect *in, struct inspect_shard *sh, void *ctx)
{
    const bool files = *(const bool *)ctx;
    struct store_stats stats;
    struct out *out = &in->out;
    unsigned sorted_runs = 0;

    store_stats(sh->store, &stats);
    for (unsigned i = 0; i < STORE_LEVELS_MAX; i++)
        sorted_runs +=
            i == 0 ? (unsigned)stats.level_files[0] : (unsigned)(stats.level_files[i] != 0);
    out_begin(out, "store", OUT_BLOCK);
    out_u64(out, "shard", sh->index);
    out_text(out, "dir", sh->store_dir);
    out_u64(out, "sst_bytes", stats.total_sst_bytes);
    out_u64(out, "sst_live_bytes", stats.live_sst_bytes);
    out_u64(out, "rows_estimate", rows_estimate(sh));
    out_u64(out, "data_bytes_estimate", stats.live_data_bytes_estimate);
    /* What is stored for each byte that counts, and how many places a read may have to look at. */
    out_format(out, "space_amplification", "%.3f",
               stats.live_data_bytes_estimate == 0
                   ? 1.0
                   : (double)stats.live_sst_bytes / (double)stats.live_data_bytes_estimate);
    out_u64(out, "sorted_runs", sorted_runs);
    out_u64(out, "pending_compaction_bytes", stats.pending_compaction_bytes);
    out_u64(out, "covered_lsn", sh->covered_lsn);
    out_end(out);
    for (unsigned i = 0; i < STORE_LEVELS_MAX; i++) {
        if (stats.level_files[i] != 0)
            show_level(out, sh, i, &stats);
    }
    return files ? show_files(out, sh) : INSPECT_OK;
}

int inspect_cmd_store(struct inspect *in, int argc, char **argv)
{
    static const struct option options[] = {{"files", no_argument, NULL, 'f'}, {NULL, 0, NULL, 0}};
    bool files = false;
    int c;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    while ((c = getopt_long(argc, argv, "f", options, NULL)) != -1) {
        if (c != 'f')
            return INSPECT_USAGE;
        files = true;
    }
    if (optind != argc)
        return inspect_usage("store takes no argument");
    return inspect_each_shard(in, true, show_store, &files);
}
