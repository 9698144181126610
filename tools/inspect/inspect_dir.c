/*
 * The data directory: its format file, its shards, their stores.
 *
 *     FORMAT                    what it is (server/datadir.h)
 *     LOCK                      held by the server while it runs
 *     shard-NNN/CURRENT         "store-NNNNNN\n"
 *     shard-NNN/store-NNNNNN/   RocksDB
 *     shard-NNN/oplog/          the log; a saved copy has none
 *
 * Everything is opened for reading. The lock is not touched, not even to look whether it is free:
 * a server that starts at that moment would find it taken.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/num.h"

#include "engine/io/file.h"
#include "engine/value/row.h"

#include "replication/replica.h"

#include "server/datadir.h"

#include "tools/inspect/inspect.h"

#define TEXT_BYTES  256
#define CACHE_BYTES (64u << 20)

void inspect_say(const char *format, ...)
{
    va_list args;

    (void)fputs("tierra-inspect: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

int inspect_usage(const char *format, ...)
{
    va_list args;

    (void)fputs("tierra-inspect: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputs("; see tierra-inspect --help\n", stderr);
    return INSPECT_USAGE;
}

bool inspect_number(const char *option, const char *text, uint64_t *out)
{
    if (text != NULL && num_parse_u64(bytes_cstr(text), out))
        return true;
    (void)inspect_usage("%s needs a number", option);
    return false;
}

int inspect_exit_of(int err)
{
    switch (-err) {
    case 0:
        return INSPECT_OK;
    case ERR_CORRUPT:
    case ERR_TRUNCATED:
    case ERR_POISON:
    case ERR_LOST:
        return INSPECT_DAMAGE;
    default:
        return INSPECT_UNREADABLE;
    }
}

/* A small text file as a string. 0 or an error. */
static int read_text(const char *path, char text[TEXT_BYTES])
{
    struct buf content;

    buf_init(&content, TEXT_BYTES - 1);
    const int err = file_read_all(path, &content);
    if (err == 0 && content.len != 0)
        memcpy(text, content.ptr, content.len);
    text[err == 0 ? content.len : 0] = '\0';
    buf_deinit(&content);
    return err;
}

/* Whether somebody holds a lock on the file, by the kernel's list: "... MAJOR:MINOR:INODE ...". */
static bool lock_held(const char *path)
{
    struct stat st;
    char line[256], inode[32];
    bool held = false;

    if (stat(path, &st) != 0)
        return false;
    (void)snprintf(inode, sizeof(inode), ":%" PRIuMAX " ", (uintmax_t)st.st_ino);
    FILE *locks = fopen("/proc/locks", "re");
    if (locks == NULL)
        return false;
    while (!held && fgets(line, sizeof(line), locks) != NULL)
        held = strstr(line, inode) != NULL;
    (void)fclose(locks); /* Read only. */
    return held;
}

/* The store keeps all its files open. */
static void raise_open_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* Then with fewer. */
    }
}

int inspect_open(struct inspect *in)
{
    char path[INSPECT_PATH_BYTES], text[TEXT_BYTES];
    struct datadir_format format;

    (void)snprintf(path, sizeof(path), "%s/" DATADIR_FORMAT_FILE, in->dir);
    const int err = read_text(path, text);
    if (err != 0) {
        inspect_say("%s: %s; is --dir a data directory of Tierra?", path, err_str(err));
        return INSPECT_UNREADABLE;
    }
    if (!datadir_format_parse(bytes_cstr(text), &format)) {
        inspect_say("%s: not a format file of Tierra", path);
        return INSPECT_DAMAGE;
    }
    if (format.version != DATADIR_FORMAT_VERSION || format.shards == 0 ||
        format.shards > INSPECT_SHARDS_MAX) {
        inspect_say("%s: format %" PRIu64 " with %" PRIu64 " shards is unknown here", path,
                    format.version, format.shards);
        return INSPECT_UNREADABLE;
    }
    in->shards_count = (uint32_t)format.shards;
    in->seed = format.seed;
    in->group = format.group[0] != '\0';
    if (in->shard >= (int64_t)format.shards)
        return inspect_usage("there is no shard %" PRId64 ": %" PRIu64 " shards", in->shard,
                             format.shards);
    (void)snprintf(path, sizeof(path), "%s/LOCK", in->dir);
    in->running = lock_held(path);
    in->copy = access(path, F_OK) != 0;
    raise_open_files();
    return INSPECT_OK;
}

static int merge_rows(void *ctx, struct bytes key, struct bytes existing,
                      const struct bytes *operands, size_t n, struct buf *out)
{
    (void)ctx;
    (void)key;
    return row_merge_store(existing, operands, n, out);
}

static int read_covered(struct inspect_shard *sh)
{
    struct buf vv;

    buf_init(&vv, REPLICA_NOTE_BYTES_MAX);
    int err = store_covered(sh->store, true, &sh->covered_lsn, &vv);
    struct bytes in = buf_bytes(&vv);
    vv_init(&sh->covered_vv);
    if (err == 0 && in.len != 0)
        err = vv_decode(&in, &sh->covered_vv);
    buf_deinit(&vv);
    return err;
}

/* A table that is not there RocksDB names by the name that tables had long ago. */
static void name_tables(char *why)
{
    static const char now[] = {'.', 's', 's', 't'};

    for (char *at = why; (at = strstr(at, ".ldb")) != NULL; at++)
        memcpy(at, now, sizeof(now));
}

int inspect_store_open(struct inspect_shard *sh)
{
    const struct store_options options = {.dir = sh->store_dir,
                                          .merge = {.merge = merge_rows},
                                          .block_cache_bytes = CACHE_BYTES,
                                          .buffered_reads = true,
                                          .read_only = true,
                                          .must_exist = true};
    char why[STORE_WHY_BYTES] = "";

    int err = store_open(&options, &sh->store, why, sizeof(why));
    if (err != 0) {
        sh->store = NULL;
        name_tables(why);
        inspect_say("shard %u: cannot open the store: %s", sh->index, why);
        /* A file that is named and not there is damage; a directory that is not there is not. */
        return err == -ENOENT ? INSPECT_DAMAGE : inspect_exit_of(err);
    }
    err = read_covered(sh);
    if (err != 0)
        inspect_say("shard %u: %s: the covered position: %s", sh->index, sh->store_dir,
                    err_str(err));
    return inspect_exit_of(err);
}

int inspect_shard_open(struct inspect *in, uint32_t index, bool store, struct inspect_shard *out)
{
    char path[INSPECT_PATH_BYTES + 16], text[TEXT_BYTES];
    uint64_t number = 0;

    memset(out, 0, sizeof(*out));
    out->index = index;
    (void)snprintf(out->dir, sizeof(out->dir), "%s/" DATADIR_SHARD, in->dir, index);
    (void)snprintf(path, sizeof(path), "%s/" DATADIR_CURRENT_FILE, out->dir);
    const int err = read_text(path, text);
    if (err != 0 || !datadir_current_parse(bytes_cstr(text), &number)) {
        inspect_say("%s: %s", path, err != 0 ? err_str(err) : "does not name a store");
        return err != 0 ? INSPECT_UNREADABLE : INSPECT_DAMAGE;
    }
    if (snprintf(out->store_dir, sizeof(out->store_dir), "%s/" DATADIR_STORE, out->dir, number) >=
            (int)sizeof(out->store_dir) ||
        snprintf(out->log_dir, sizeof(out->log_dir), "%s/oplog", out->dir) >=
            (int)sizeof(out->log_dir) ||
        snprintf(out->keys_path, sizeof(out->keys_path), "%s/" DATADIR_KEYS, out->dir, number) >=
            (int)sizeof(out->keys_path)) {
        inspect_say("%s: the path is too long", out->dir);
        return INSPECT_UNREADABLE;
    }
    return store ? inspect_store_open(out) : INSPECT_OK;
}

void inspect_shard_close(struct inspect_shard *sh)
{
    if (sh->store != NULL)
        store_close(sh->store);
    sh->store = NULL;
}

int inspect_each_shard(struct inspect *in, bool store, inspect_shard_fn fn, void *ctx)
{
    static struct inspect_shard sh; /* Large. */
    int worst = INSPECT_OK;

    for (uint32_t i = 0; i < in->shards_count; i++) {
        if (in->shard >= 0 && in->shard != (int64_t)i)
            continue;
        int code = inspect_shard_open(in, i, store, &sh);
        if (code == INSPECT_OK)
            code = fn(in, &sh, ctx);
        inspect_shard_close(&sh);
        worst = inspect_worse(worst, code);
    }
    return worst;
}
