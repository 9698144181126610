/*
 * The sums of what this shard shows (engine/space/keysums.h), taken from the store in the
 * background: first what was applied when it was asked for goes there, then it is read in slices on
 * the readers' threads. Nothing is open on the store between two slices.
 */
#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/space/flush.h"
#include "engine/space/keysums.h"

#include "replication/mutate.h"
#include "replication/oplog.h"
#include "replication/replica_impl.h"

/* A slice occupies a reader for some milliseconds. */
#define SLICE_BYTES (2u << 20)
/* A store that takes no writes would be waited for forever. */
#define WRITE_MS 60000u

static void read_slices(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)jobs;
    CHECK(n == 1);
    struct sums *s = &((struct replica *)ctx)->sums;

    s->err = keysums_next(s->walk, SLICE_BYTES);
}

static void list_key(void *ctx, uint16_t bucket, struct bytes name, uint64_t sum)
{
    struct sums *s = ctx;
    uint8_t head[REPLICA_SUMS_KEY_BYTES];

    (void)bucket;
    if (s->keys.len + sizeof(head) + name.len > s->ask.keys_bytes_max) {
        s->result.keys_cut = true;
        return;
    }
    le64_store(head, sum);
    le16_store(head + 8, (uint16_t)name.len);
    CHECK(buf_append(&s->keys, head, sizeof(head)) == 0);
    CHECK(buf_append_bytes(&s->keys, name) == 0);
}

static void end(struct replica *r, int err)
{
    struct sums *s = &r->sums;
    struct replica_sums *result = &s->result;

    s->state = SUMS_DONE;
    result->err = err;
    result->sums = NULL;
    if (s->walk == NULL)
        return;
    if (err == 0 && (r->flush != result->flush || core_syncing(r->core)))
        result->err = -ERR_BUSY;
    /* What expired in between may have gone, here or elsewhere. */
    if (result->err == 0 && mut_now_ms(r->options.mut, r->clock_ms) >= s->ask.at_ms)
        result->err = -ERR_RANGE;
    core_position(r->core, &result->upper);
    result->keys = s->walk->keys;
    result->damaged = s->walk->damaged;
    result->bytes = s->walk->bytes;
    result->sums = s->walk->sums;
    result->names = buf_bytes(&s->keys);
}

static void forget(struct sums *s)
{
    if (s->walk != NULL)
        keysums_deinit(s->walk);
    mem_free(s->walk);
    s->walk = NULL;
    buf_clear(&s->keys);
}

static void on_slice(struct mail *mail);

static void submit(struct replica *r)
{
    struct sums *s = &r->sums;

    s->state = SUMS_READING;
    s->job = (struct pool_job){.mail = {.fn = on_slice}, .reply_to = r->options.mailbox};
    r->jobs++;
    pool_submit(&s->cls, &s->job);
}

static void on_slice(struct mail *mail)
{
    struct sums *s = container_of(container_of(mail, struct pool_job, mail), struct sums, job);
    struct replica *r = container_of(s, struct replica, sums);

    r->jobs--;
    s->state = SUMS_PAUSE;
    if (s->again) {
        s->again = false;
        s->state = SUMS_IDLE;
        replica_sums_start(r, &s->next);
        return;
    }
    if (s->err < 0)
        end(r, s->err);
    else if (s->err == 0)
        end(r, 0);
}

void replica_sums_start(struct replica *r, const struct replica_sums_ask *ask)
{
    struct sums *s = &r->sums;

    if (s->state == SUMS_READING) {
        s->again = true;
        s->next = *ask;
        return;
    }
    forget(s);
    s->ask = *ask;
    s->result = (struct replica_sums){.flush = r->flush};
    s->lsn = oplog_applied_lsn(r->options.log);
    core_position(r->core, &s->result.lower);
    s->begun_ms = r->now_ms;
    s->state = SUMS_WRITING;
}

bool replica_sums_wants_flush(const struct replica *r, uint64_t *out_lsn)
{
    *out_lsn = r->sums.lsn;
    return r->sums.state == SUMS_WRITING;
}

void replica_sums_tick(struct replica *r)
{
    const struct keyspace *ks = r->options.ks;
    struct sums *s = &r->sums;

    if (s->state != SUMS_WRITING && s->state != SUMS_PAUSE)
        return;
    if (replica_flush_due(r) || core_syncing(r->core)) {
        end(r, -ERR_BUSY);
        return;
    }
    if (s->state == SUMS_WRITING) {
        if (ks_flush_busy(ks) || (ks_flush_needed(ks) && ks_flush_covered(ks) < s->lsn)) {
            if (r->now_ms - s->begun_ms > WRITE_MS)
                end(r, -ETIMEDOUT);
            return;
        }
        s->walk = mem_alloc(sizeof(*s->walk));
        keysums_init(s->walk, r->options.store, s->ask.at_ms, s->ask.first, s->ask.end);
        s->walk->fn = s->ask.keys_bytes_max != 0 ? list_key : NULL;
        s->walk->ctx = s;
    }
    submit(r);
}

const struct replica_sums *replica_sums_result(const struct replica *r)
{
    return r->sums.state == SUMS_DONE ? &r->sums.result : NULL;
}

void replica_sums_end(struct replica *r)
{
    if (r->sums.state != SUMS_DONE)
        return;
    forget(&r->sums);
    r->sums.state = SUMS_IDLE;
}

bool replica_sums_idle(const struct replica *r)
{
    return r->sums.state != SUMS_READING;
}

size_t replica_sums_bytes(const struct replica *r)
{
    return r->sums.keys.cap + (r->sums.walk == NULL ? 0 : sizeof(*r->sums.walk));
}

void replica_sums_init(struct replica *r)
{
    struct sums *s = &r->sums;

    buf_init(&s->keys, UINT32_MAX);
    s->cls = (struct pool_class){.name = "digest",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = read_slices,
                                 .ctx = r};
    pool_add_class(r->options.readers, &s->cls);
}

void replica_sums_deinit(struct replica *r)
{
    CHECK(r->sums.state != SUMS_READING);
    forget(&r->sums);
    buf_deinit(&r->sums.keys);
}
