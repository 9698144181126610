/* The directory of a shard's store; shard_store.h tells the layout. */
#include "server/shard_store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"

#include "engine/io/file.h"
#include "engine/space/keylog.h"
#include "engine/space/keyspace.h"
#include "engine/store/store.h"

#include "server/config.h"
#include "server/datadir.h"
#include "server/node.h"
#include "server/shard.h"

#define PATH_ROOM 4400

static void store_path(const struct shard *sh, uint64_t number, char out[PATH_ROOM])
{
    (void)snprintf(out, PATH_ROOM, "%s/" DATADIR_STORE, sh->dir, number);
}

void shard_keys_path(const struct shard *sh, char *out, size_t out_len)
{
    (void)snprintf(out, out_len, "%s/" DATADIR_KEYS, sh->dir, sh->store_number);
}

static int current_read(struct shard *sh, uint64_t *out)
{
    char path[PATH_ROOM];
    struct buf text;

    (void)snprintf(path, sizeof(path), "%s/" DATADIR_CURRENT_FILE, sh->dir);
    buf_init(&text, DATADIR_CURRENT_BYTES);
    int err = file_read_all(path, &text);
    if (err == 0 && !datadir_current_parse(buf_bytes(&text), out))
        err = -ERR_FORMAT;
    buf_deinit(&text);
    return err;
}

static int current_write(struct shard *sh, uint64_t number)
{
    char path[PATH_ROOM], line[DATADIR_CURRENT_BYTES];

    (void)snprintf(path, sizeof(path), "%s/" DATADIR_CURRENT_FILE, sh->dir);
    return file_write_atomic(path, bytes_of(line, datadir_current_print(line, number)));
}

/* `dir`: the path of the store of that number. */
static struct store_options options_of(const struct shard *sh, const char *dir, bool must_exist)
{
    return (struct store_options){
        .dir = dir,
        .merge = {.merge = shard_merge_rows},
        .cache = sh->node->cache,
        .memtable_bytes = node_memtable_bytes(sh->node),
        .buffered_reads = !sh->cfg->store_direct_reads,
        .must_exist = must_exist,
    };
}

struct opening {
    struct store_options options;
    struct store **out;
    char *why;
    size_t why_len;
    int err;
};

static void open_lowered(void *arg)
{
    struct opening *o = arg;

    thread_lower_self(NODE_MAINTAINER_NICE);
    o->err = store_open(&o->options, o->out, o->why, o->why_len);
}

/* The store's own threads, which compact and flush, have the priority of the one that opens it. */
static int open_number(struct shard *sh, uint64_t number, bool must_exist, struct store **out,
                       char *why, size_t why_len)
{
    char dir[PATH_ROOM];
    struct thread thread = {0};

    store_path(sh, number, dir);
    struct opening opening = {
        .options = options_of(sh, dir, must_exist), .out = out, .why = why, .why_len = why_len};
    const int err = thread_start(&thread, "flash-open", open_lowered, &opening);
    if (err != 0) {
        (void)snprintf(why, why_len, "cannot start a thread: %s", err_str(err));
        return err;
    }
    thread_join(&thread);
    return opening.err;
}

/* Removes the stores that do not count. */
static int remove_other(void *ctx, const char *name)
{
    struct shard *sh = ctx;
    char path[PATH_ROOM];
    uint64_t number;

    if ((!datadir_number(bytes_cstr(name), "store-", &number) &&
         !datadir_number(bytes_cstr(name), "keys-", &number)) ||
        number == sh->store_number)
        return 0;
    (void)snprintf(path, sizeof(path), "%s/%s", sh->dir, name);
    LOG_NOTICE("server", "removing what a flush left behind dir=%s", path);
    return file_remove_tree(path);
}

/* Of a shard that was never complete there can be only the first. */
static int find_later(void *ctx, const char *name)
{
    (void)ctx;
    uint64_t number;

    return datadir_number(bytes_cstr(name), "store-", &number) && number != 1 ? -ERR_LOST : 0;
}

int shard_store_open(struct shard *sh, char *why, size_t why_len)
{
    uint64_t number = 0;

    int err = current_read(sh, &number);
    sh->store_first = err == -ENOENT;
    if (sh->store_first) {
        number = 1;
        err = file_list_dir(sh->dir, find_later, NULL);
    }
    if (err != 0) {
        (void)snprintf(why, why_len, "%s/" DATADIR_CURRENT_FILE ": %s", sh->dir,
                       sh->store_first ? "missing, although there is data: restore it"
                                       : err_str(err));
        return err;
    }
    sh->store_number = number;
    err = open_number(sh, number, !sh->store_first, &sh->store, why, why_len);
    if (err == 0)
        err = file_list_dir(sh->dir, remove_other, sh);
    if (err != 0 && why[0] == '\0')
        (void)snprintf(why, why_len, "%s: %s", sh->dir, err_str(err));
    return err;
}

int shard_store_keep(struct shard *sh, char *why, size_t why_len)
{
    const int err = sh->store_first ? current_write(sh, sh->store_number) : 0;

    if (err != 0)
        (void)snprintf(why, why_len, "%s: %s", sh->dir, err_str(err));
    sh->store_first = false;
    return err;
}

/* How far the log is covered, and what is kept with that. */
struct position {
    uint64_t lsn;
    struct bytes covered;
};

/* --- the next one, opened in the background --- */

/* Maintenance thread. */
static void open_next(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct shard_next_store *next = ctx;
    char why[STORE_WHY_BYTES];

    (void)jobs;
    CHECK(n == 1);
    next->err = store_open(&next->options, &next->store, why, sizeof(why));
}

static void on_opened(struct mail *mail)
{
    struct pool_job *job = container_of(mail, struct pool_job, mail);

    container_of(job, struct shard_next_store, job)->busy = false;
}

bool shard_store_prepare(struct shard *sh)
{
    struct shard_next_store *next = &sh->next_store;

    if (next->busy || next->store != NULL || next->err != 0)
        return !next->busy;
    next->number = sh->store_number + 1;
    store_path(sh, next->number, next->dir);
    next->options = options_of(sh, next->dir, false);
    next->busy = true;
    pool_submit(&next->open_class, &next->job);
    return false;
}

void shard_store_drop_next(struct shard *sh)
{
    struct shard_next_store *next = &sh->next_store;

    if (next->store == NULL)
        return;
    store_close(next->store);
    next->store = NULL;
    IGNORE_RESULT(file_remove_tree(next->dir)); /* Removed at the next start if it stays. */
}

/* The store of this number: the one that is open already, or opens it here. */
static int open_empty(struct shard *sh, uint64_t number, struct store **out, char *why,
                      size_t why_len)
{
    struct shard_next_store *next = &sh->next_store;

    CHECK(!next->busy);
    next->err = 0;
    if (next->store == NULL)
        return open_number(sh, number, false, out, why, why_len);
    CHECK(next->number == number);
    *out = next->store;
    next->store = NULL;
    return 0;
}

/* An empty store that is persistent, with its covered position. */
static int make_empty(struct shard *sh, uint64_t number, const struct position *at,
                      struct store **out, char *why, size_t why_len)
{
    struct store_batch batch;

    int err = open_empty(sh, number, out, why, why_len);
    if (err != 0)
        return err;
    struct keylog_head head = {0};
    err = keylog_new_id(&head.id);
    store_batch_init(&batch, 4096);
    keylog_put_head(&batch, &head);
    if (err == 0)
        err = store_batch_set_covered(&batch, at->lsn, at->covered);
    if (err == 0)
        err = store_write(*out, &batch, 0);
    if (err == 0)
        err = store_flush(*out);
    store_batch_deinit(&batch);
    return err;
}

int shard_store_restart(struct shard *sh, struct bytes covered, char *why, size_t why_len)
{
    struct store *fresh = NULL;
    char dir[PATH_ROOM];
    const uint64_t old = sh->store_number;
    const struct position at = {.covered = covered};

    int err = make_empty(sh, old + 1, &at, &fresh, why, why_len);
    if (err == 0)
        err = current_write(sh, old + 1);
    if (err != 0) {
        store_close(fresh);
        if (why[0] == '\0')
            (void)snprintf(why, why_len, "%s: cannot make a new store: %s", sh->dir, err_str(err));
        return err;
    }
    store_close(sh->store);
    store_path(sh, old, dir);
    IGNORE_RESULT(file_remove_tree(dir)); /* Removed at the next start if it stays. */
    sh->store = fresh;
    sh->store_number = old + 1;
    return 0;
}

/* The store that is open is to be closed and removed, by the retire job. */
static void retire_open(struct shard *sh)
{
    sh->retired = sh->store;
    sh->retired_number = sh->store_number;
}

static void use_store(struct shard *sh, struct store *fresh, uint64_t number)
{
    char path[PATH_ROOM];

    sh->store = fresh;
    sh->store_number = number;
    shard_keys_path(sh, path, sizeof(path));
    ks_set_store(sh->ks, fresh, path);
}

/* A new store that could not be made, or not be named. `why`: kept if there is something. */
static void drop_new(struct store *fresh, const char *dir, int err, char *why, size_t why_len)
{
    store_close(fresh);
    IGNORE_RESULT(file_remove_tree(dir)); /* Removed at the next start if it stays. */
    if (why[0] == '\0')
        (void)snprintf(why, why_len, "cannot make a new store: %s", err_str(err));
}

int shard_store_renew(struct shard *sh, uint64_t lsn, struct bytes covered, char *why,
                      size_t why_len)
{
    char new_dir[PATH_ROOM], path[PATH_ROOM];
    struct store *fresh = NULL;
    const uint64_t number = sh->store_number + 1;
    const struct position at = {.lsn = lsn, .covered = covered};

    CHECK(sh->retired == NULL);
    store_path(sh, number, new_dir);
    int err = make_empty(sh, number, &at, &fresh, why, why_len);
    if (err == 0)
        err = current_write(sh, number);
    if (err != 0) {
        drop_new(fresh, new_dir, err, why, why_len);
        return err;
    }
    ks_clear(sh->ks);
    shard_keys_path(sh, path, sizeof(path));
    keyfile_remove(path);
    retire_open(sh);
    if (sh->kept != NULL) {
        sh->retired_too = sh->kept;
        sh->retired_too_number = sh->kept_number;
        sh->kept = NULL;
    }
    use_store(sh, fresh, number);
    pool_submit(&sh->retire_class, &sh->retire_job);
    return 0;
}

int shard_store_set_aside(struct shard *sh, uint64_t lsn, struct bytes covered, char *why,
                          size_t why_len)
{
    char new_dir[PATH_ROOM];
    struct store *fresh = NULL;
    const uint64_t number = sh->store_number + 1;
    const struct position at = {.lsn = lsn, .covered = covered};

    CHECK(sh->retired == NULL);
    store_path(sh, number, new_dir);
    const int err = make_empty(sh, number, &at, &fresh, why, why_len);
    if (err != 0) {
        drop_new(fresh, new_dir, err, why, why_len);
        return err;
    }
    ks_clear(sh->ks);
    if (sh->kept == NULL) {
        sh->kept = sh->store;
        sh->kept_number = sh->store_number;
    } else {
        retire_open(sh);
        pool_submit(&sh->retire_class, &sh->retire_job);
    }
    use_store(sh, fresh, number);
    return 0;
}

int shard_store_keep_new(struct shard *sh)
{
    char path[PATH_ROOM];

    CHECK(sh->kept != NULL && sh->retired == NULL);
    const int err = current_write(sh, sh->store_number);
    if (err != 0)
        return err;
    (void)snprintf(path, sizeof(path), "%s/" DATADIR_KEYS, sh->dir, sh->kept_number);
    keyfile_remove(path);
    sh->retired = sh->kept;
    sh->retired_number = sh->kept_number;
    sh->kept = NULL;
    pool_submit(&sh->retire_class, &sh->retire_job);
    return 0;
}

/* Maintenance thread. Compactions have to end first, and gigabytes to be deleted. */
static void retire(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct shard *sh = ctx;
    char dir[PATH_ROOM];

    (void)jobs;
    CHECK(n == 1);
    store_path(sh, sh->retired_number, dir);
    store_close(sh->retired);
    sh->retired_err = file_remove_tree(dir);
    if (sh->retired_too == NULL)
        return;
    store_path(sh, sh->retired_too_number, dir);
    store_close(sh->retired_too);
    IGNORE_RESULT(file_remove_tree(dir)); /* Removed at the next start if it stays. */
}

static void on_retired(struct mail *mail)
{
    struct shard *sh =
        container_of(container_of(mail, struct pool_job, mail), struct shard, retire_job);

    sh->retired = sh->retired_too = NULL;
    if (sh->retired_err != 0)
        LOG_WARN("server", "cannot remove the old store shard=%u err=\"%s\"", sh->id,
                 err_str(sh->retired_err));
}

void shard_store_init(struct shard *sh)
{
    sh->retire_class = (struct pool_class){.name = "retire",
                                           .priority = POOL_BACKGROUND,
                                           .batch_max = 1,
                                           .run_batch = retire,
                                           .ctx = sh};
    sh->next_store.open_class = (struct pool_class){.name = "next-store",
                                                    .priority = POOL_BACKGROUND,
                                                    .batch_max = 1,
                                                    .run_batch = open_next,
                                                    .ctx = &sh->next_store};
    pool_add_class(sh->maintainer, &sh->next_store.open_class);
    sh->next_store.job = (struct pool_job){.mail = {.fn = on_opened}, .reply_to = &sh->mailbox};
    pool_add_class(sh->maintainer, &sh->retire_class);
    sh->retire_job = (struct pool_job){.mail = {.fn = on_retired}, .reply_to = &sh->mailbox};
}
