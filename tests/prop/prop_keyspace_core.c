/* The core of the property test of the keyspace: prop_keyspace_core.h. */
#include "tests/prop/prop_keyspace_core.h"

#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/io/pool.h"
#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/keyfile.h"
#include "engine/space/keymerge.h"
#include "engine/space/keyspace.h"
#include "engine/space/ks_state.h"
#include "engine/space/recover.h"
#include "engine/space/resident.h"
#include "engine/space/strval.h"
#include "engine/store/store.h"
#include "engine/store/store_mem.h"
#include "engine/value/rowkey.h"

#include "replication/mutate.h"
#include "replication/oplog.h"
#include "replication/replay.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

static void on_durable(void *ctx, uint64_t lsn)
{
    struct core *c = ctx;

    if (c->ks != NULL)
        ks_flush_on_durable(c->ks, lsn);
}

static void request_sync(void *ctx)
{
    struct core *c = ctx;

    oplog_request_sync(c->log);
}

/* The next slice of the batch that is being built. */
void flush_step(struct core *c)
{
    if (ks_flush_step(c->ks))
        ks_flush_on_durable(c->ks, oplog_durable_lsn(c->log));
}

void turn(struct core *c)
{
    flush_step(c);
    oplog_turn_end(c->log);
    ks_submit_reads(c->ks);
    rig_turn(&c->rig);
}

struct ks_key key_of(unsigned k, char name[16])
{
    const int len = snprintf(name, 16, "key:%u", k);

    return ks_key_of(bytes_of(name, (size_t)len), HASH_SEED);
}

static void open_log(struct core *c)
{
    char why[512];
    const struct oplog_options options = {.dir = c->log_dir,
                                          .reactor = c->rig.reactor,
                                          .policy = OPLOG_SYNC_NO,
                                          .segment_bytes = 1u << 20,
                                          .on_durable = on_durable,
                                          .ctx = c};

    if (oplog_open(&options, &c->log, why, sizeof(why)) != 0)
        fail_msg("%s", why);
}

/* What the key rows of the store say, against what was loaded from the checkpoint. */
static void check_table(struct core *c)
{
    char why[512], name[16];
    struct keyspace *ks;
    struct ks_options options = rig_options(&c->rig, HASH_SEED);

    options.maintainer = c->scratch_pool;
    assert_int_equal(ks_create(&options, &ks), 0);
    if (ks_recover_table(ks, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    assert_int_equal(ks_count(c->ks), ks_count(ks));
    assert_int_equal(ks_count_expiring(c->ks), ks_count_expiring(ks));
    for (unsigned k = 0; k < KEYS; k++) {
        const struct ks_key key = key_of(k, name);
        assert_int_equal(ks_type(c->ks, &key, NOW_MS), ks_type(ks, &key, NOW_MS));
    }
    ks_destroy(ks);
}

struct observed_replay {
    struct replay r;
    struct core *c;
};

static int replay_observed(void *ctx, const struct oplog_record *record)
{
    struct observed_replay *o = ctx;
    const int err = replay_record(&o->r, record);

    o->c->replay_bytes_seen = u64_max(o->c->replay_bytes_seen, ks_recover_held(o->c->ks));
    return err;
}

static void recover(struct core *c)
{
    char why[512];
    uint64_t covered;
    struct buf vv;
    struct observed_replay o = {.r = {.ks = c->ks,
                                      .origin = ORIGIN,
                                      .bytes_max = c->replay_bytes_max,
                                      .room_bytes_min = REPLAY_ROOM_BYTES_MIN},
                                .c = c};
    struct replay *r = &o.r;

    buf_init(&vv, VV_BYTES_MAX);
    assert_int_equal(store_covered(c->rig.store, true, &covered, &vv), 0);
    struct bytes in = buf_bytes(&vv);
    if (in.len != 0)
        assert_int_equal(vv_decode(&in, &r->vv), 0);
    buf_deinit(&vv);
    if (ks_recover_table(c->ks, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    check_table(c);
    r->lsn = covered;
    c->replay_bytes_seen = 0;
    if (oplog_recover(c->log, covered, replay_observed, &o, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    assert_int_equal(ks_recover_done(c->ks, r->lsn, &r->vv), 0);
    c->replay_rooms = r->rooms;
    const struct mut_options options = {
        .ks = c->ks, .log = c->log, .origin = ORIGIN, .seq_seen = r->seq, .vv = r->vv};
    mut_create(&options, &c->mut);
}

void core_open(struct core *c)
{
    const struct pool_options scratch = {.name = "s", .threads = 1};

    rig_open(&c->rig, c->disk, 3);
    assert_int_equal(pool_create(&scratch, &c->scratch_pool), 0);
    struct ks_options options = rig_options(&c->rig, HASH_SEED);
    options.origin = ORIGIN;
    options.keys_path = c->keys_path;
    options.request_sync = request_sync;
    options.ctx = c;
    assert_int_equal(ks_create(&options, &c->ks), 0);
    ks_keys_set_due(c->ks, 1);
    c->wait = (struct ks_wait){.on_ready = rig_on_ready};
    open_log(c);
    recover(c);
    ks_gather_reads(c->ks);
    ks_set_reap_above(c->ks, 2);
}

void wait_ready(struct core *c)
{
    c->waits += c->wait.pending != 0;
    while (c->wait.pending != 0)
        turn(c);
    assert_int_equal(c->wait.err, 0);
}

void need_key(struct core *c, const struct ks_key *key)
{
    while (ks_need_key(c->ks, key, &c->wait) != 0)
        wait_ready(c);
}

void settle(struct core *c)
{
    while (ks_busy(c->ks))
        turn(c);
}

/* Ends it without writing anything back: what the store did not flush is lost with the store. */
void core_close(struct core *c)
{
    while (ks_busy(c->ks))
        turn(c);
    ks_wait_cancel(&c->wait);
    mut_destroy(c->mut);
    assert_int_equal(oplog_close(c->log), 0);
    pool_destroy(c->scratch_pool);
    rig_close(&c->rig, c->ks);
    c->ks = NULL;
}

void core_init(struct core *c)
{
    seed_rng(&c->rng, 1);
    c->dir = tmpdir_create();
    c->log_dir = tmpdir_path(c->dir, "oplog");
    c->keys_path = tmpdir_path(c->dir, "keys");
    c->keys_old = tmpdir_path(c->dir, "keys-old");
    c->keys_alien = tmpdir_path(c->dir, "keys-alien");
    c->disk = store_mem_disk_create();
    c->replay_bytes_max = 20000;
    core_open(c);
}

void core_deinit(struct core *c)
{
    core_close(c);
    store_mem_disk_destroy(c->disk);
    mem_free(c->log_dir);
    mem_free(c->keys_path);
    mem_free(c->keys_old);
    mem_free(c->keys_alien);
    tmpdir_remove(c->dir);
}
