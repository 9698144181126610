/* One member for prop_replica: prop_replica_node.h. */
#include "tests/prop/prop_replica_node.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/io/file.h"
#include "engine/io/reactor.h"
#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/group.h"
#include "engine/space/keylog.h"
#include "engine/space/keymerge.h"
#include "engine/store/store.h"
#include "engine/store/store_mem.h"
#include "engine/value/row_sum.h"

#include "replication/apply.h"
#include "replication/mutate.h"
#include "replication/oplog.h"
#include "replication/oplog_cursor.h"

#include "tests/lib/rig.h"
#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

#define WALL_BASE_MS 1700000000000u

static unsigned below(const struct node *n, unsigned max)
{
    return (unsigned)rng_below(n->rng, max);
}

uint64_t node_wall_ms(const struct node *n)
{
    return (uint64_t)((int64_t)(WALL_BASE_MS + n->mono_ms) + n->skew_ms);
}

struct ks_key node_key(const struct node *n, const char *name)
{
    return ks_key_of(bytes_of(name, strlen(name)), n->seed);
}

/* --- callbacks of the parts --- */

static void on_durable(void *ctx, uint64_t lsn)
{
    struct node *n = ctx;

    if (n->m.ks != NULL)
        ks_flush_on_durable(n->m.ks, lsn);
    if (n->replica != NULL && !n->cut_off)
        replica_durable(n->replica, lsn);
}

static void on_logged(void *ctx, uint64_t lsn, const struct batch *batch, struct bytes bytes)
{
    struct node *n = ctx;

    replica_logged(n->replica, lsn, batch, bytes);
}

static void request_sync(void *ctx)
{
    struct node *n = ctx;

    oplog_request_sync(n->m.log);
}

static const struct store_options store_options = {.merge = {.merge = rig_merge_rows}};

/* --- the store's persistence --- */

static void run_persist(void *ctx, struct pool_job **jobs, uint32_t count)
{
    struct node *n = ctx;

    (void)jobs;
    CHECK(count == 1);
    n->persist_err = store_flush(n->m.rig.store);
    if (n->persist_err == 0)
        n->persist_err = store_covered(n->m.rig.store, true, &n->persist_lsn, &n->persist_covered);
}

static void on_persisted(struct mail *mail)
{
    struct node *n =
        container_of(container_of(mail, struct pool_job, mail), struct node, persist_job);

    n->persisting = false;
    assert_int_equal(n->persist_err, 0);
    n->covered_lsn = n->persist_lsn;
    if (n->replica != NULL && !n->cut_off)
        assert_int_equal(
            replica_covered(n->replica, n->persist_lsn, buf_bytes(&n->persist_covered)), 0);
}

static void persist(struct node *n)
{
    if (n->persisting)
        return;
    n->persisting = true;
    buf_clear(&n->persist_covered);
    n->persist_job = (struct pool_job){.mail = {.fn = on_persisted}, .reply_to = &n->m.rig.mailbox};
    pool_submit(&n->persist_class, &n->persist_job);
}

/* --- a new store --- */

static void set_keys_path(struct node *n)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "keys-%llu", (unsigned long long)n->store_number);
    mem_free(n->m.keys_path);
    n->m.keys_path = tmpdir_path(n->m.dir, name);
}

/* As server/shard_store.c does. */
static void fill_empty(struct store *store, uint64_t lsn, struct bytes note)
{
    struct keylog_head head = {0};
    struct store_batch batch;

    assert_int_equal(keylog_new_id(&head.id), 0);
    store_batch_init(&batch, 4096);
    keylog_put_head(&batch, &head);
    assert_int_equal(store_batch_set_covered(&batch, lsn, note), 0);
    assert_int_equal(store_write(store, &batch, 0), 0);
    assert_int_equal(store_flush(store), 0);
    store_batch_deinit(&batch);
}

static struct store *new_store(struct node *n, uint64_t lsn, struct bytes note,
                               struct store_mem_disk **out_disk)
{
    struct store *fresh;

    *out_disk = store_mem_disk_create();
    assert_int_equal(store_mem_open(*out_disk, &store_options, &fresh), 0);
    fill_empty(fresh, lsn, note);
    n->store_number++;
    set_keys_path(n);
    return fresh;
}

int node_empty(struct node *n, uint64_t lsn, struct bytes note, struct store **out)
{
    struct store_mem_disk *disk;

    if (ks_busy(n->m.ks) || n->persisting)
        return -ERR_BUSY;
    if (below(n, 4) == 0)
        return -EIO;
    struct store *fresh = new_store(n, lsn, note, &disk);
    ks_clear(n->m.ks);
    store_close(n->m.rig.store);
    store_mem_disk_destroy(n->m.disk);
    n->m.disk = disk;
    n->m.rig.store = *out = fresh;
    ks_set_store(n->m.ks, fresh, n->m.keys_path);
    n->empties++;
    return 0;
}

/* --- life --- */

void node_create(struct node *n, uint8_t origin, uint64_t seed)
{
    member_create(&n->m, origin);
    n->seed = seed;
    buf_init(&n->persist_covered, UINT32_MAX);
}

void node_destroy(struct node *n)
{
    buf_deinit(&n->persist_covered);
    member_destroy(&n->m);
}

static void open_parts(struct node *n, uint8_t origin)
{
    struct prop_member *m = &n->m;
    char why[512];

    n->persist_class = (struct pool_class){.name = "persist",
                                           .priority = POOL_BACKGROUND,
                                           .batch_max = 1,
                                           .run_batch = run_persist,
                                           .ctx = n};
    pool_add_class(m->rig.maintainer, &n->persist_class);
    struct ks_options options = rig_options(&m->rig, n->seed);
    options.origin = origin;
    options.group = true;
    options.keys_path = m->keys_path;
    options.request_sync = request_sync;
    options.ctx = n;
    assert_int_equal(ks_create(&options, &m->ks), 0);
    m->wait = (struct ks_wait){.on_ready = rig_on_ready};
    const struct oplog_options log = {.dir = m->log_dir,
                                      .reactor = m->rig.reactor,
                                      .policy = OPLOG_SYNC_NO,
                                      .segment_bytes = 64u << 10,
                                      .on_durable = on_durable,
                                      .ctx = n};
    if (oplog_open(&log, &m->log, why, sizeof(why)) != 0)
        fail_msg("%s", why);
}

/* A part of a copy goes before anything is read. */
static void open_store(struct node *n)
{
    uint8_t bytes[REPLICA_NOTE_BYTES_MAX];
    struct replica_note note;
    struct store_mem_disk *disk;

    set_keys_path(n);
    rig_open(&n->m.rig, n->m.disk, 2);
    assert_int_equal(replica_look(n->m.rig.store, &note), 0);
    if (!note.copying)
        return;
    store_close(n->m.rig.store);
    store_mem_disk_destroy(n->m.disk);
    n->m.rig.store = new_store(n, 0, bytes_of(bytes, replica_empty_note(&note, bytes)), &disk);
    n->m.disk = disk;
    n->emptied_at_start++;
}

static void open_replica(struct node *n)
{
    static const struct core_options limits = {.window_bytes = 16u << 10,
                                               .frame_bytes = 1024,
                                               .parked_bytes_max = 8192,
                                               .tail_bytes_max = 2048,
                                               .sync_bytes = 200,
                                               .history_bytes = 4096,
                                               .timeout_ms = 3000};
    const struct replica_options options = {.ks = n->m.ks,
                                            .mut = n->m.mut,
                                            .log = n->m.log,
                                            .store = n->m.rig.store,
                                            .log_dir = n->m.log_dir,
                                            .dir = n->m.dir,
                                            .readers = n->m.rig.readers,
                                            .maintainer = n->m.rig.maintainer,
                                            .mailbox = &n->m.rig.mailbox,
                                            .rng = n->rng,
                                            .origin = n->m.origin,
                                            .incarnation = 100u + n->m.origin,
                                            .group_id = {7},
                                            .state = &n->state,
                                            .members = &n->members,
                                            .host = n->host,
                                            .ctx = n->ctx,
                                            .limits = &limits,
                                            .index_bytes = 4096,
                                            .horizons_ms = 50};
    char why[512];

    if (replica_create(&options, &n->replica, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    replica_tick(n->replica, n->mono_ms, node_wall_ms(n));
    replica_set_members(n->replica, &n->members);
    if (n->joining)
        replica_join(n->replica);
}

void node_open(struct node *n)
{
    struct prop_member *m = &n->m;
    char why[512];
    /* A new node is opened before it knows its origin. */
    const uint8_t origin = n->joining && m->recoveries == 0 ? 0 : m->origin;

    open_store(n);
    open_parts(n, origin);
    const struct replica_recovery recovery = {.ks = m->ks,
                                              .store = m->rig.store,
                                              .log = m->log,
                                              .origin = origin,
                                              .room_bytes = 20000,
                                              .room_bytes_min = 4096};
    if (replica_recover(&recovery, &n->state, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    const struct mut_options options = {.ks = m->ks,
                                        .log = m->log,
                                        .origin = origin,
                                        .group = true,
                                        .seq_seen = n->state.seq,
                                        .seqs = n->state.seqs,
                                        .vv = n->state.vv,
                                        .flush = n->state.note.flush,
                                        .on_logged = on_logged,
                                        .ctx = n};
    assert_true(vv_leq(&n->durable_seqs, &n->state.seqs));
    mut_create(&options, &m->mut);
    if (origin == 0)
        mut_set_origin(m->mut, m->origin);
    n->covered_lsn = n->state.note.covered_lsn;
    n->up = true;
    n->cut_off = n->full = false;
    open_replica(n);
}

/* Until nothing is under way; the replica is gone then. */
static void stop(struct node *n)
{
    while (!replica_stop(n->replica) || n->persisting || ks_busy(n->m.ks)) {
        ks_flush_point(n->m.ks, oplog_applied_lsn(n->m.log), mut_vv(n->m.mut));
        if (ks_flush_step(n->m.ks))
            ks_flush_on_durable(n->m.ks, oplog_durable_lsn(n->m.log));
        oplog_request_sync(n->m.log);
        oplog_turn_end(n->m.log);
        reactor_run_once(n->m.rig.reactor, 1);
    }
    replica_destroy(n->replica);
    n->replica = NULL;
}

static void close_parts(struct node *n)
{
    struct prop_member *m = &n->m;

    ks_wait_cancel(&m->wait);
    mut_destroy(m->mut);
    assert_int_equal(oplog_close(m->log), 0);
    rig_close(&m->rig, m->ks);
    m->ks = NULL;
    m->recoveries++;
    n->up = false;
}

void node_close(struct node *n)
{
    n->cut_off = true;
    stop(n);
    close_parts(n);
}

/* --- crash --- */

struct copying {
    const char *from;
    const char *to;
};

static int copy_file(void *ctx, const char *name)
{
    const struct copying *c = ctx;
    char *from = tmpdir_path(c->from, name);
    char *to = tmpdir_path(c->to, name);
    struct buf content;

    buf_init(&content, UINT32_MAX);
    assert_int_equal(file_read_all(from, &content), 0);
    assert_int_equal(file_write_atomic(to, buf_bytes(&content)), 0);
    buf_deinit(&content);
    mem_free(from);
    mem_free(to);
    return 0;
}

/* What comes behind the cursor was not written. */
static void cut_behind(const char *dir, const struct oplog_cursor *cursor)
{
    char *path = segment_path(dir, oplog_cursor_segment(cursor));
    const uint64_t offset = oplog_cursor_offset(cursor);
    const int fd = file_open(path, FILE_READ | FILE_WRITE);
    uint64_t size;

    assert_true(fd >= 0);
    assert_int_equal(file_size(fd, &size), 0);
    if (offset < size) {
        void *zeros = mem_zalloc(size - offset);
        assert_int_equal(file_write_full(fd, zeros, size - offset, offset), 0);
        mem_free(zeros);
    }
    assert_int_equal(file_close(fd), 0);
    mem_free(path);
}

/* Some of the records after `durable_lsn` are lost. */
static void cut(struct node *n, const char *dir, uint64_t durable_lsn)
{
    struct oplog_cursor *cursor;
    struct oplog_record record;
    uint64_t keep = below(n, 8);

    if (durable_lsn == 0 || below(n, 4) == 0 || oplog_cursor_open(dir, durable_lsn, &cursor) != 0)
        return;
    if (oplog_cursor_next(cursor, UINT64_MAX, &record) == OPLOG_CURSOR_RECORD) {
        assert_true(record.lsn == durable_lsn);
        while (keep-- != 0 && oplog_cursor_next(cursor, UINT64_MAX, &record) == OPLOG_CURSOR_RECORD)
            continue;
        cut_behind(dir, cursor);
    }
    oplog_cursor_close(cursor);
}

/* What must be there after the next start. */
static void note_durable(struct node *n, uint64_t durable_lsn)
{
    struct oplog_cursor *cursor;
    struct oplog_record record;
    const uint64_t first_lsn = oplog_first_lsn(n->m.log);

    vv_init(&n->durable_seqs);
    if (oplog_cursor_open(n->m.log_dir, first_lsn, &cursor) != 0)
        return;
    while (oplog_cursor_next(cursor, durable_lsn, &record) == OPLOG_CURSOR_RECORD)
        assert_int_equal(vv_raise(&n->durable_seqs, tag_of(record.seq, record.origin)), 0);
    oplog_cursor_close(cursor);
}

void node_crash(struct node *n)
{
    char *kept = tmpdir_path(n->m.dir, "kept");

    while (n->persisting)
        reactor_run_once(n->m.rig.reactor, 1);
    const uint64_t durable_lsn = oplog_durable_lsn(n->m.log);
    struct copying copying = {.from = n->m.log_dir, .to = kept};

    n->cut_off = true;
    note_durable(n, durable_lsn);
    assert_int_equal(file_mkdir(kept), 0);
    assert_int_equal(file_list_dir(n->m.log_dir, copy_file, &copying), 0);
    stop(n);
    close_parts(n);
    assert_int_equal(file_remove_tree(n->m.log_dir), 0);
    assert_int_equal(file_rename(kept, n->m.log_dir), 0);
    cut(n, n->m.log_dir, durable_lsn);
    mem_free(kept);
    n->crashes++;
}

/* --- turns --- */

static void write_back(struct node *n)
{
    ks_flush_point(n->m.ks, oplog_applied_lsn(n->m.log), mut_vv(n->m.mut));
    if (below(n, 10) == 0)
        (void)ks_flush_start(n->m.ks, 1u << (8 + below(n, 8)), n->mono_ms);
    if (ks_flush_step(n->m.ks))
        ks_flush_on_durable(n->m.ks, oplog_durable_lsn(n->m.log));
}

void node_turn(struct node *n, uint64_t mono_ms, bool wait)
{
    n->mono_ms = mono_ms;
    n->m.now_ms = node_wall_ms(n);
    replica_tick(n->replica, mono_ms, n->m.now_ms);
    write_back(n);
    if (below(n, 40) == 0)
        member_demote(&n->m);
    if (below(n, 100) == 0)
        ks_keys_start(n->m.ks, mono_ms);
    replica_turn(n->replica);
    if (below(n, 6) == 0)
        oplog_request_sync(n->m.log);
    oplog_turn_end(n->m.log);
    if (below(n, 30) == 0)
        persist(n);
    if (below(n, 60) == 0)
        (void)oplog_trim(n->m.log, u64_min(n->covered_lsn, replica_trim_lsn(n->replica)));
    reactor_run_once(n->m.rig.reactor, wait ? 1 : 0);
}

bool node_need(struct node *n, const struct ks_key *keys, unsigned count)
{
    for (;;) {
        int waiting = 0;

        if (replica_may_read(n->replica) != NULL)
            break;
        for (unsigned i = 0; i < count; i++)
            waiting += ks_need_key(n->m.ks, &keys[i], &n->m.wait);
        if (waiting == 0)
            break;
        while (n->m.wait.pending != 0)
            node_turn(n, n->mono_ms, true);
        assert_int_equal(n->m.wait.err, 0);
    }
    ks_wait_unpin(&n->m.wait);
    return replica_may_read(n->replica) == NULL;
}

bool node_has_sum(struct node *n, uint64_t mono_ms, uint64_t *sum)
{
    const struct replica_sums_ask ask = {.at_ms = UINT64_MAX - 1, .end = ROW_SUM_BUCKETS};
    const struct replica_sums *sums;
    uint64_t lsn;

    replica_sums_start(n->replica, &ask);
    while ((sums = replica_sums_result(n->replica)) == NULL)
        node_turn(n, mono_ms, !replica_sums_wants_flush(n->replica, &lsn));
    assert_int_equal(sums->err, 0);
    assert_true(sums->damaged == 0);
    assert_true(posv_leq(&sums->lower, &sums->upper) && posv_leq(&sums->upper, &sums->lower));
    const uint64_t found = sum64(sums->sums, ROW_SUM_BUCKETS * sizeof(sums->sums[0]));
    replica_sums_end(n->replica);
    assert_null(replica_sums_result(n->replica));
    if (*sum == 0)
        *sum = found;
    return *sum == found;
}
