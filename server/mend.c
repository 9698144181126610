/* What the shard does when its store fails; mend.h tells the plan. */
#include "server/mend.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/log.h"

#include "engine/io/file.h"

#include "server/group_shard.h"
#include "server/shard.h"

/* Between two attempts. */
#define PAUSE_MS_MIN    100
#define PAUSE_MS_MAX    30000
#define PAUSE_DOUBLINGS 9
/* An error that comes back so soon goes on with the pauses of the last one. */
#define COMES_BACK_MS 60000
/* Reads under way are waited for; they take as long as the disk. */
#define READERS_WAIT_MS 10000
/* Of the file that tries the disk: what an open writes, roughly. */
#define TRIAL_BYTES (64u << 10)

/* --- on the maintenance thread --- */

/* Whether the disk takes a file. */
static int try_disk(struct shard *sh)
{
    struct mend *m = &sh->mend;
    char path[sizeof(sh->dir) + 32];
    struct buf content;

    (void)snprintf(path, sizeof(path), "%s/trial", sh->dir);
    buf_init(&content, TRIAL_BYTES);
    int err = buf_reserve(&content, TRIAL_BYTES);
    if (err == 0) {
        memset(buf_end(&content), 0, TRIAL_BYTES);
        buf_commit(&content, TRIAL_BYTES);
        err = file_write_atomic(path, buf_bytes(&content));
        const int gone = file_unlink(path);
        err = err != 0 ? err : gone;
    }
    buf_deinit(&content);
    if (err != 0)
        (void)snprintf(m->job_why, sizeof(m->job_why), "the disk takes no file in %.400s: %s",
                       sh->dir, err_str(err));
    return err;
}

static int flush_again(struct shard *sh)
{
    struct mend *m = &sh->mend;
    const int err = store_flush(sh->store);

    if (err != 0 && store_health(sh->store, m->job_why, sizeof(m->job_why)) == 0)
        (void)snprintf(m->job_why, sizeof(m->job_why), "%s", err_str(err));
    return err;
}

static void run_attempt(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct shard *sh = ctx;
    struct mend *m = &sh->mend;

    (void)jobs;
    (void)n;
    m->job_reopened = false;
    m->job_err = flush_again(sh);
    if (m->job_err == 0)
        return;
    m->job_err = try_disk(sh);
    if (m->job_err == 0)
        m->job_err = store_reopen(sh->store, READERS_WAIT_MS, m->job_why, sizeof(m->job_why));
    m->job_reopened = m->job_err == 0;
    if (m->job_err == 0)
        m->job_err = flush_again(sh);
}

void mend_look(struct shard *sh)
{
    struct store_stats stats;

    store_stats(sh->store, &stats);
    if (stats.background_errors > sh->mend.errors_seen)
        IGNORE_RESULT(store_flush(sh->store)); /* The timer asks for the store's health. */
    sh->mend.errors_seen = stats.background_errors;
}

/* --- on the shard's thread --- */

/* RocksDB's texts may have several lines. */
static void set_why(struct mend *m, const char *why)
{
    (void)snprintf(m->why, sizeof(m->why), "%s", why);
    for (char *at = m->why; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ')
            *at = ' ';
    }
}

static void pause_until_next(struct shard *sh)
{
    struct mend *m = &sh->mend;
    const uint64_t pause_ms =
        u64_min((uint64_t)PAUSE_MS_MIN << u64_min(m->attempts, PAUSE_DOUBLINGS), PAUSE_MS_MAX);

    m->attempts++;
    m->next_ms = reactor_now_ms(sh->reactor) + pause_ms;
}

static void falls_ill(struct shard *sh, const char *why)
{
    struct mend *m = &sh->mend;
    const uint64_t now_ms = reactor_now_ms(sh->reactor);

    set_why(m, why);
    m->ailing = true;
    m->ailing_at_ms = now_ms;
    if (m->well_at_ms == 0 || now_ms - m->well_at_ms > COMES_BACK_MS)
        m->attempts = 0;
    pause_until_next(sh);
    LOG_ERROR("server",
              "the store failed, growth is refused until it takes writes again shard=%u why=\"%s\"",
              sh->id, m->why);
}

static void on_attempt(struct mail *mail)
{
    struct shard *sh =
        container_of(container_of(mail, struct pool_job, mail), struct shard, mend.job);
    struct mend *m = &sh->mend;
    const uint64_t now_ms = reactor_now_ms(sh->reactor);

    m->busy = false;
    m->reopens += m->job_reopened;
    if (m->job_err != 0) {
        set_why(m, m->job_why);
        pause_until_next(sh);
        LOG_WARN("server",
                 "the store does not take writes yet shard=%u attempt=%u next_ms=%" PRIu64
                 " open=%d why=\"%s\"",
                 sh->id, m->attempts - 1, m->next_ms - now_ms, store_is_open(sh->store), m->why);
        return;
    }
    m->ailing = false;
    m->well_at_ms = now_ms;
    LOG_NOTICE("server", "the store takes writes again shard=%u reopened=%d after_ms=%" PRIu64,
               sh->id, m->job_reopened, now_ms - m->ailing_at_ms);
}

void mend_step(struct shard *sh)
{
    struct mend *m = &sh->mend;
    char why[STORE_WHY_BYTES];

    /* Copies that peers are being given would keep the old files open for as long as they take. */
    const bool released = !m->ailing || sh->group == NULL || group_shard_release_store(sh->group);
    if (m->busy)
        return;
    if (!m->ailing) {
        if (store_health(sh->store, why, sizeof(why)) != 0)
            falls_ill(sh, why);
        return;
    }
    if (reactor_now_ms(sh->reactor) < m->next_ms || sh->flushing || !released)
        return;
    m->busy = true;
    m->job = (struct pool_job){.mail = {.fn = on_attempt}, .reply_to = &sh->mailbox};
    pool_submit(&m->cls, &m->job);
}

void mend_init(struct shard *sh)
{
    struct mend *m = &sh->mend;

    m->cls = (struct pool_class){.name = "mend",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = run_attempt,
                                 .ctx = sh};
    pool_add_class(sh->maintainer, &m->cls);
}
