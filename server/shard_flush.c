/* FLUSHALL of one shard: few keys one by one, many by a new store in the place of the old one. */
#include <stdio.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/log.h"

#include "engine/space/collwalk.h"
#include "engine/space/flush.h"
#include "engine/space/keymerge.h"
#include "engine/space/scan.h"

#include "server/shard.h"
#include "server/shard_store.h"
#include "server/tracking.h"
#include "server/txn.h"

/* Keys that are deleted one by one at most. */
#define FLUSH_KEYS_MAX 10000

struct all_names {
    struct buf names;
    int err;
};

static void keep_name(void *ctx, struct bytes name, uint8_t type, bool expired)
{
    struct all_names *a = ctx;
    uint8_t head[4];

    (void)type;
    (void)expired;
    le32_store(head, (uint32_t)name.len);
    if (a->err == 0)
        a->err = buf_append(&a->names, head, sizeof(head));
    if (a->err == 0)
        a->err = buf_append_bytes(&a->names, name);
}

static void delete_names(struct shard *sh, struct bytes in)
{
    struct bytes name;

    mut_begin(sh->mut, shard_now_ms(sh));
    while (in.len != 0) {
        const size_t len = le32_load(in.ptr);
        in = bytes_from(in, 4);
        CHECK(bytes_take(&in, len, &name));
        const struct ks_key key = ks_key_of(name, ks_seed(sh->ks));
        mut_del(sh->mut, &key);
    }
    (void)mut_end(sh->mut);
}

/* All keys are hot, and `max` at most. */
static bool is_small(const struct shard *sh, uint64_t max)
{
    return ks_count(sh->ks) <= max && ks_count(sh->ks) == ks_count_hot(sh->ks);
}

/* One by one; true if that was possible. */
static bool flush_small(struct shard *sh, uint64_t max)
{
    struct all_names a = {0};
    const struct ks_scan step = {.count = 1024, .fn = keep_name, .ctx = &a};
    uint64_t cursor = 0;

    if (!is_small(sh, max))
        return false;
    buf_init(&a.names, 64u << 20);
    int err;
    do {
        err = ks_scan(sh->ks, &step, &cursor);
    } while (err == 0 && a.err == 0 && cursor != 0);
    const bool ok = err == 0 && a.err == 0 && mut_check(sh->mut, a.names.len * 4) == 0;
    if (ok)
        delete_names(sh, buf_bytes(&a.names));
    buf_deinit(&a.names);
    return ok;
}

/* Nothing is on its way to or from the store, and the log has everything. */
static bool is_quiet(const struct shard *sh)
{
    return !ks_busy(sh->ks) && ks_walks(sh->ks) == 0 && sh->retired == NULL &&
           !sh->next_store.busy && !sh->persisted_busy && !sh->save.busy && !sh->relief.busy &&
           !sh->mend.busy && oplog_durable_lsn(sh->log) >= oplog_applied_lsn(sh->log);
}

static void await_quiet(struct shard *sh)
{
    sh->flushing = true;
    ks_keys_stop(sh->ks);
    oplog_request_sync(sh->log);
}

int shard_flush_group(struct shard *sh, uint64_t lsn, struct bytes covered, struct store **out)
{
    char why[512] = "";

    if (!is_quiet(sh)) {
        await_quiet(sh);
        return -ERR_BUSY;
    }
    shard_note_position(sh);
    const int err = shard_store_renew(sh, lsn, covered, why, sizeof(why));
    sh->flushing = false;
    if (err != 0) {
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "group", "cannot empty the shard shard=%u why=\"%s\"",
                     sh->id, why);
        return err;
    }
    sh->persisted_lsn = lsn;
    watch_touch_all(sh->watches);
    tracking_flushed(sh);
    *out = sh->store;
    return 0;
}

int shard_set_aside(struct shard *sh, uint64_t lsn, struct bytes covered, struct shard_aside *out)
{
    char why[512] = "";

    if (!sh->flushing && ks_flush_needed(sh->ks))
        return -ERR_BUSY; /* It is written back when the shard is idle, as it is now. */
    if (!is_quiet(sh)) {
        await_quiet(sh);
        return -ERR_BUSY;
    }
    sh->flushing = false;
    if (ks_flush_needed(sh->ks))
        return -ERR_BUSY;
    shard_note_position(sh);
    const int err = shard_store_set_aside(sh, lsn, covered, why, sizeof(why));
    if (err != 0) {
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "group", "cannot begin a resync shard=%u why=\"%s\"",
                     sh->id, why);
        return err;
    }
    watch_touch_all(sh->watches);
    tracking_flushed(sh);
    *out = (struct shard_aside){.fresh = sh->store, .kept = sh->kept};
    return 0;
}

int shard_keep_new(struct shard *sh)
{
    return sh->retired != NULL ? -ERR_BUSY : shard_store_keep_new(sh);
}

bool shard_flush_ready(struct shard *sh)
{
    if (is_small(sh, FLUSH_KEYS_MAX))
        return true;
    const bool prepared = shard_store_prepare(sh);
    const bool ready = is_quiet(sh) && prepared;
    if (!ready)
        await_quiet(sh);
    return ready;
}

void shard_flush_cancel(struct shard *sh)
{
    sh->flush_conn = NULL;
    sh->flushing = false;
}

enum shard_flush shard_flush_all(struct shard *sh, bool must, char *why, size_t why_len)
{
    if (flush_small(sh, FLUSH_KEYS_MAX))
        return SHARD_FLUSH_DONE;
    const uint64_t lsn = oplog_applied_lsn(sh->log);
    const bool prepared = must || shard_store_prepare(sh);
    const bool quiet = is_quiet(sh) && prepared;
    if (!quiet && must) {
        /* There were few when the transaction began. */
        if (flush_small(sh, UINT64_MAX))
            return SHARD_FLUSH_DONE;
        (void)snprintf(why, why_len,
                       "FLUSHALL of a large data set is not possible within MULTI behind a "
                       "command that writes");
        return SHARD_FLUSH_FAILED;
    }
    if (!quiet) {
        await_quiet(sh);
        return SHARD_FLUSH_WAIT;
    }
    sh->flushing = false;
    /* The new store covers up to here: no batch may say less, as it would from an older point. */
    shard_note_position(sh);
    uint8_t vv[VV_BYTES_MAX];
    const struct bytes covered = bytes_of(vv, vv_encode(mut_vv(sh->mut), vv));
    if (shard_store_renew(sh, lsn, covered, why, why_len) != 0)
        return SHARD_FLUSH_FAILED;
    /* What stands before it in the same transaction comes behind that position. */
    mut_forget(sh->mut);
    sh->persisted_lsn = lsn;
    return SHARD_FLUSH_DONE;
}
