/* One member of a group for tests: prop_group_member.h. */
#include "tests/prop/prop_group_member.h"

#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/group.h"
#include "engine/space/recover.h"
#include "engine/store/store.h"
#include "engine/store/store_mem.h"
#include "engine/value/rowkey.h"

#include "replication/apply.h"
#include "replication/mutate.h"
#include "replication/oplog.h"
#include "replication/oplog_cursor.h"
#include "replication/replay.h"

#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

static void on_durable(void *ctx, uint64_t lsn)
{
    struct prop_member *m = ctx;

    if (m->ks != NULL)
        ks_flush_on_durable(m->ks, lsn);
}

static void request_sync(void *ctx)
{
    struct prop_member *m = ctx;

    oplog_request_sync(m->log);
}

static void on_change(void *ctx, const struct ks_key *key)
{
    struct prop_member *m = ctx;

    (void)key;
    m->changes++;
}

void member_create(struct prop_member *m, uint8_t origin)
{
    *m = (struct prop_member){.origin = origin, .dir = tmpdir_create(), .cursor_lsn = 1};
    m->log_dir = tmpdir_path(m->dir, "log");
    m->keys_path = tmpdir_path(m->dir, "keys");
    m->disk = store_mem_disk_create();
    m->now_ms = 1000000;
}

void member_destroy(struct prop_member *m)
{
    store_mem_disk_destroy(m->disk);
    mem_free(m->log_dir);
    mem_free(m->keys_path);
    tmpdir_remove(m->dir);
}

static void open_log(struct prop_member *m)
{
    char why[512];
    const struct oplog_options options = {.dir = m->log_dir,
                                          .reactor = m->rig.reactor,
                                          .policy = OPLOG_SYNC_NO,
                                          .segment_bytes = 1u << 20,
                                          .on_durable = on_durable,
                                          .ctx = m};

    if (oplog_open(&options, &m->log, why, sizeof(why)) != 0)
        fail_msg("%s", why);
}

static void recover(struct prop_member *m)
{
    char why[512];
    uint64_t covered;
    struct buf vv;
    struct replay r = {.ks = m->ks,
                       .origin = m->origin,
                       .group = true,
                       .bytes_max = 20000,
                       .room_bytes_min = 1000};

    buf_init(&vv, 2 * VV_BYTES_MAX);
    assert_int_equal(store_covered(m->rig.store, true, &covered, &vv), 0);
    assert_int_equal(replay_covered(&r, buf_bytes(&vv)), 0);
    buf_deinit(&vv);
    if (ks_recover_table(m->ks, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    r.lsn = covered;
    if (oplog_recover(m->log, covered, replay_record, &r, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    assert_int_equal(ks_recover_done(m->ks, r.lsn, &r.vv), 0);
    const struct mut_options options = {.ks = m->ks,
                                        .log = m->log,
                                        .origin = m->origin,
                                        .group = true,
                                        .seq_seen = r.seq,
                                        .seqs = r.seqs,
                                        .vv = r.vv,
                                        .on_change = on_change,
                                        .ctx = m};
    mut_create(&options, &m->mut);
}

void member_open(struct prop_member *m)
{
    rig_open(&m->rig, m->disk, 1);
    struct ks_options options = rig_options(&m->rig, GROUP_SEED);
    options.origin = m->origin;
    options.group = true;
    options.small_bytes_max = m->loads_small ? 0 : 1;
    options.dram_bytes = 16u << 20; /* The least of what is bounded by a share of it. */
    options.keys_path = m->keys_path;
    options.request_sync = request_sync;
    options.ctx = m;
    assert_int_equal(ks_create(&options, &m->ks), 0);
    m->wait = (struct ks_wait){.on_ready = rig_on_ready};
    open_log(m);
    recover(m);
}

void member_close(struct prop_member *m)
{
    while (ks_busy(m->ks))
        member_turn(m);
    member_turn(m);
    ks_wait_cancel(&m->wait);
    mut_destroy(m->mut);
    oplog_cursor_close(m->cursor);
    m->cursor = NULL;
    assert_int_equal(oplog_close(m->log), 0);
    rig_close(&m->rig, m->ks);
    m->ks = NULL;
    m->recoveries++;
}

/* Own records that the log has written. */
static void show_records(struct prop_member *m)
{
    struct oplog_record record;

    if (m->on_record == NULL)
        return;
    if (m->cursor == NULL && oplog_cursor_open(m->log_dir, m->cursor_lsn, &m->cursor) != 0) {
        m->cursor = NULL;
        return;
    }
    for (;;) {
        const int step = oplog_cursor_next(m->cursor, UINT64_MAX, &record);
        assert_true(step >= 0);
        if (step != OPLOG_CURSOR_RECORD)
            break;
        m->cursor_lsn = record.lsn + 1;
        if (record.origin == m->origin)
            m->on_record(m->ctx, &record);
    }
}

static void flush_step(struct prop_member *m)
{
    ks_flush_point(m->ks, oplog_applied_lsn(m->log), mut_vv(m->mut));
    if (ks_flush_step(m->ks))
        ks_flush_on_durable(m->ks, oplog_durable_lsn(m->log));
}

void member_turn(struct prop_member *m)
{
    flush_step(m);
    oplog_turn_end(m->log);
    rig_turn(&m->rig);
    show_records(m);
}

void member_show_all(struct prop_member *m)
{
    do {
        member_turn(m);
    } while (m->cursor_lsn <= oplog_applied_lsn(m->log));
}

void member_idle(struct prop_member *m)
{
    do {
        member_turn(m);
    } while (ks_busy(m->ks));
}

void member_write_back(struct prop_member *m, uint64_t bytes_max)
{
    ks_flush_point(m->ks, oplog_applied_lsn(m->log), mut_vv(m->mut));
    (void)ks_flush_start(m->ks, bytes_max, m->now_ms);
    flush_step(m);
}

void member_persist(struct prop_member *m)
{
    /* A store has one writer at a time. */
    while (ks_busy(m->ks))
        member_turn(m);
    assert_int_equal(store_flush(m->rig.store), 0);
}

void member_cover(struct prop_member *m, struct vv *out)
{
    struct buf covered;
    uint64_t lsn;

    while (ks_flush_needed(m->ks)) {
        member_write_back(m, 1u << 20);
        while (ks_flush_busy(m->ks))
            member_turn(m);
    }
    member_persist(m);
    buf_init(&covered, 2 * VV_BYTES_MAX);
    assert_int_equal(store_covered(m->rig.store, true, &lsn, &covered), 0);
    struct bytes in = buf_bytes(&covered);
    vv_init(out);
    if (in.len != 0)
        assert_int_equal(vv_decode(&in, out), 0);
    buf_deinit(&covered);
}

void member_collect(struct prop_member *m, const struct vv *stable, uint64_t lst, uint64_t now_ms)
{
    const struct row_horizons h = {.stable = stable, .lst = lst, .now_ms = now_ms};

    ks_group_set_horizons(m->ks, &h);
    while (ks_group_collect_some(m->ks, 16) || ks_busy(m->ks))
        member_turn(m);
}

void member_demote(struct prop_member *m)
{
    for (int i = 0; i < 8; i++)
        (void)ks_demote_some(m->ks, UINT64_MAX, 10000000);
}

void member_need(struct prop_member *m, const struct ks_key *keys, size_t n)
{
    for (;;) {
        int waiting = 0;
        for (size_t i = 0; i < n; i++)
            waiting += ks_need_key(m->ks, &keys[i], &m->wait);
        if (waiting == 0)
            break;
        while (m->wait.pending != 0)
            member_turn(m);
        assert_int_equal(m->wait.err, 0);
    }
    ks_wait_unpin(&m->wait);
}

void member_need_rows(struct prop_member *m, const struct ks_key *keys, size_t n)
{
    for (;;) {
        int waiting = 0;
        for (size_t i = 0; i < n; i++)
            waiting += ks_need_row(m->ks, &keys[i], &m->wait);
        if (waiting == 0)
            break;
        for (size_t i = 0; i < n; i++)
            ks_wait_pin(m->ks, &keys[i], &m->wait);
        while (m->wait.pending != 0)
            member_turn(m);
        assert_int_equal(m->wait.err, 0);
    }
}

void member_settle(struct prop_member *m)
{
    while (ks_group_step(m->ks))
        member_turn(m);
    assert_int_equal(ks_group_unsettled(m->ks), 0);
}

struct ks_key member_key(const char *name)
{
    return ks_key_of(bytes_of(name, strlen(name)), GROUP_SEED);
}
