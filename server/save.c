/* Saves; save.h tells the steps. */
#include "server/save.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/log.h"

#include "engine/io/file.h"
#include "engine/space/flush.h"
#include "engine/store/store.h"

#include "replication/mutate.h"
#include "replication/oplog.h"

#include "server/conn.h"
#include "server/datadir.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/shard_store.h"

#define CHECKPOINTS "checkpoints"
/* How often a command that waits for a save looks again. */
#define SAVE_LOOK_MS 5

void save_init(struct save *save, uint64_t now_s)
{
    save->saved_s = now_s;
    save->kind_s[SAVE_FLUSH] = save->kind_s[SAVE_CHECKPOINT] = UINT64_MAX;
}

static uint64_t changes_now(const struct node *node)
{
    uint64_t changes = 0;

    for (uint32_t i = 1; i < node->shards_count; i++)
        changes += atomic_load_explicit(&node->shards[i]->published.changes, memory_order_relaxed);
    return changes + mut_changes(node->shards[0]->mut);
}

void save_figures(const struct node *node, struct save_figures *out)
{
    const struct save *s = &node->save;

    *out = (struct save_figures){.running = s->running,
                                 .flush_scheduled = s->flush_scheduled,
                                 .kind = s->kind,
                                 .kind_err = {s->kind_err[0], s->kind_err[1]},
                                 .kind_count = {s->kind_count[0], s->kind_count[1]},
                                 .kind_s = {s->kind_s[0], s->kind_s[1]},
                                 .started_s = s->started_s,
                                 .saved_s = s->saved_s,
                                 .changes = s->changes};
}

/* --- on the maintenance threads --- */

/* The first error of a save, and its text, stay. */
static void fails(struct save *save, int err, const char *why)
{
    int none = 0;

    if (atomic_compare_exchange_strong(&save->err, &none, err))
        (void)snprintf(save->why, sizeof(save->why), "%s", why);
}

/* The layout is that of shard_store.h. */
static int checkpoint_shard(const struct shard *sh)
{
    char dir[SAVE_PATH_BYTES + 64];
    char path[SAVE_PATH_BYTES + 128];
    char keys[SAVE_PATH_BYTES + 64];
    char current[DATADIR_CURRENT_BYTES];

    (void)snprintf(dir, sizeof(dir), "%s.tmp/" DATADIR_SHARD, sh->node->save.path, sh->id);
    int err = file_mkdir(dir);
    (void)snprintf(path, sizeof(path), "%s/" DATADIR_STORE, dir, sh->store_number);
    if (err == 0)
        err = store_checkpoint(sh->store, path);
    /* Where there is none, or it cannot be linked, the copy's first start reads its key rows. */
    (void)snprintf(path, sizeof(path), "%s/" DATADIR_KEYS, dir, sh->store_number);
    shard_keys_path(sh, keys, sizeof(keys));
    if (err == 0)
        IGNORE_RESULT(file_link(keys, path));
    (void)snprintf(path, sizeof(path), "%s/" DATADIR_CURRENT_FILE, dir);
    const struct bytes text = bytes_of(current, datadir_current_print(current, sh->store_number));
    return err == 0 ? file_write_atomic(path, text) : err;
}

struct others {
    const char *dir;
    const char *keep;
};

static int remove_other(void *ctx, const char *name)
{
    const struct others *o = ctx;
    char path[SAVE_PATH_BYTES + 64];

    if (strcmp(name, o->keep) == 0)
        return 0;
    (void)snprintf(path, sizeof(path), "%s/%s", o->dir, name);
    return file_remove_tree(path);
}

/* The format file makes it a data directory; the rename makes it whole. */
static int finish_checkpoint(const struct node *node)
{
    char dir[SAVE_PATH_BYTES];
    char from[SAVE_PATH_BYTES + 64];
    char to[SAVE_PATH_BYTES + 64];
    struct buf text;

    (void)snprintf(from, sizeof(from), "%s/" DATADIR_FORMAT_FILE, node->dir);
    (void)snprintf(to, sizeof(to), "%s.tmp/" DATADIR_FORMAT_FILE, node->save.path);
    buf_init(&text, 4096);
    int err = file_read_all(from, &text);
    if (err == 0)
        err = file_write_atomic(to, buf_bytes(&text));
    buf_deinit(&text);
    (void)snprintf(dir, sizeof(dir), "%s/" CHECKPOINTS, node->dir);
    (void)snprintf(from, sizeof(from), "%s.tmp", node->save.path);
    if (err == 0)
        err = file_rename(from, node->save.path);
    if (err == 0)
        err = file_sync_dir(dir);
    struct others others = {.dir = dir, .keep = strrchr(node->save.path, '/') + 1};
    if (err == 0)
        err = file_list_dir(dir, remove_other, &others);
    return err;
}

static void run_job(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct shard *sh = ctx;
    struct save *save = &sh->node->save;
    int err = 0;

    (void)jobs;
    (void)n;
    if (sh->save.vain)
        fails(save, -EIO, sh->save.vain_why);
    else
        err = save->kind == SAVE_CHECKPOINT ? checkpoint_shard(sh) : store_flush(sh->store);
    if (err != 0)
        fails(save, err, err_str(err));
    if (atomic_fetch_sub(&save->left, 1) != 2)
        return;
    /* The last one; the count began one higher, so that zero means that this is done too. */
    if (save->kind == SAVE_CHECKPOINT && atomic_load(&save->err) == 0) {
        err = finish_checkpoint(sh->node);
        if (err != 0)
            fails(save, err, err_str(err));
    }
    atomic_store(&save->left, 0);
}

static void on_job(struct mail *mail)
{
    struct save_shard *s =
        container_of(container_of(mail, struct pool_job, mail), struct save_shard, job);

    s->busy = false;
}

void save_shard_init(struct shard *sh)
{
    struct save_shard *s = &sh->save;

    s->sh = sh;
    s->cls = (struct pool_class){.name = "save",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = run_job,
                                 .ctx = sh};
    pool_add_class(sh->maintainer, &s->cls);
    s->job = (struct pool_job){.mail = {.fn = on_job}, .reply_to = &sh->mailbox};
}

/* --- on the shards' threads --- */

bool save_start(struct node *node, enum save_kind kind)
{
    struct save *save = &node->save;
    char path[SAVE_PATH_BYTES + 64];
    int err = 0;

    if (save->running)
        return false;
    save->running = true;
    save->kind = kind;
    save->started_s = clock_wall_ms() / 1000;
    save->changes_at_start = changes_now(node);
    if (kind == SAVE_CHECKPOINT) {
        (void)snprintf(path, sizeof(path), "%s/" CHECKPOINTS, node->dir);
        (void)snprintf(save->path, sizeof(save->path), "%s/" CHECKPOINTS "/%llu", node->dir,
                       (unsigned long long)clock_wall_ms());
        err = file_mkdir(path);
        (void)snprintf(path, sizeof(path), "%s.tmp", save->path);
        if (err == 0)
            err = file_mkdir(path);
    }
    atomic_store(&save->err, 0);
    if (err != 0)
        fails(save, err, err_str(err));
    atomic_store(&save->left, err != 0 ? 0 : node->shards_count + 1);
    atomic_fetch_add(&save->ticket, 1);
    return true;
}

/* Shard 0: all shards have ended it. */
static void end(struct node *node)
{
    struct save *save = &node->save;
    const uint64_t now_s = clock_wall_ms() / 1000;
    const int err = atomic_load(&save->err);

    save->running = false;
    save->done = atomic_load(&save->ticket);
    save->last_err = save->kind_err[save->kind] = err;
    save->kind_s[save->kind] = now_s - save->started_s;
    if (err != 0) {
        (void)snprintf(save->last_why, sizeof(save->last_why), "%s", save->why);
        LOG_ERROR("server", "a save failed kind=%s why=\"%s\"",
                  save->kind == SAVE_CHECKPOINT ? "checkpoint" : "flush", save->why);
    } else {
        save->kind_count[save->kind]++;
        if (save->kind == SAVE_CHECKPOINT) {
            save->saved_s = now_s;
            save->changes = save->changes_at_start;
            LOG_NOTICE("server", "checkpoint taken path=%s", save->path);
        }
    }
    if (save->flush_scheduled) {
        save->flush_scheduled = false;
        (void)save_start(node, SAVE_FLUSH);
    } else if (save->save_scheduled) {
        save->save_scheduled = false;
        (void)save_start(node, SAVE_CHECKPOINT);
    }
}

bool save_wants_flush(const struct shard *sh)
{
    return sh->save.flushing || sh->save.here_lsn > ks_flush_covered(sh->ks);
}

void save_flush_up_to(struct shard *sh, uint64_t lsn)
{
    sh->save.here_lsn = u64_max(sh->save.here_lsn, lsn);
}

bool save_flush_here(struct request *rq)
{
    struct conn *c = rq->conn;
    struct shard *sh = rq->sh;

    if (c->save_ticket == 0)
        c->save_ticket = 1 + oplog_applied_lsn(sh->log);
    const uint64_t lsn = c->save_ticket - 1;
    if (!ks_flush_busy(sh->ks) && (!ks_flush_needed(sh->ks) || ks_flush_covered(sh->ks) >= lsn)) {
        c->save_ticket = 0;
        sh->save.here_lsn = 0;
        return true;
    }
    sh->save.here_lsn = u64_max(sh->save.here_lsn, lsn);
    rq->parked = true;
    shard_retry_after(sh, c, SAVE_LOOK_MS);
    return false;
}

static void set_vain_why(struct shard *sh)
{
    struct save_shard *s = &sh->save;

    if (sh->fenced)
        (void)snprintf(s->vain_why, sizeof(s->vain_why), "the op log failed; restart");
    else
        (void)snprintf(s->vain_why, sizeof(s->vain_why), "%s", sh->mend.why);
}

void save_step(struct shard *sh)
{
    struct save_shard *s = &sh->save;
    struct save *save = &sh->node->save;
    const uint64_t ticket = atomic_load(&save->ticket);

    if (ticket != s->ticket && !s->busy && atomic_load(&save->left) != 0) {
        s->ticket = ticket;
        s->target_lsn = oplog_applied_lsn(sh->log);
        s->flushing = true;
    }
    const bool vain = sh->mend.ailing || sh->fenced;
    if (s->flushing && !ks_flush_busy(sh->ks) &&
        (vain || !ks_flush_needed(sh->ks) || ks_flush_covered(sh->ks) >= s->target_lsn)) {
        s->flushing = false;
        s->vain = vain;
        if (vain)
            set_vain_why(sh);
        s->busy = true;
        pool_submit(&s->cls, &s->job);
    }
    if (sh->id == 0 && save->running && !s->busy && atomic_load(&save->left) == 0)
        end(sh->node);
}

bool save_wait(struct request *rq, enum save_kind kind)
{
    struct conn *c = rq->conn;
    struct node *node = rq->sh->node;

    if (c->save_ticket != 0 && node->save.done >= c->save_ticket) {
        c->save_ticket = 0;
        return true;
    }
    if (c->save_ticket == 0 && save_start(node, kind))
        c->save_ticket = node->save.ticket;
    rq->parked = true;
    shard_retry_after(rq->sh, c, SAVE_LOOK_MS);
    return false;
}
