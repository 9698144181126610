/*
 * The op log on a file system that is full: a small tmpfs (needs the right to mount; else skipped).
 */
#include <sched.h>
#include <sys/mount.h>

#include "engine/base/log.h"

#include "tests/unit/test_oplog_fixture.h"

#define MOUNT_OPTIONS "size=600k"

static void a_full_file_system_refuses_growth_and_never_fences(void **state)
{
    struct fx fx;
    uint64_t low_at = 0;

    (void)state;
    fx_setup(&fx, REACTOR_AUTO);
    /* In a mount namespace of our own, so that nothing stays behind. */
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tierra-test", fx.root, "tmpfs", 0, MOUNT_OPTIONS) != 0) {
        fx_teardown(&fx);
        skip();
    }
    fx_start(&fx);
    while (oplog_can_append(fx.log, FX_LEN_MAX) != -ENOSPC) {
        fx_append_many(&fx, 1, 1);
        if (oplog_space_low(fx.log) && low_at == 0)
            low_at = oplog_applied_lsn(fx.log);
    }
    expect_i64(oplog_can_append(fx.log, FX_LEN_MAX), -ENOSPC);
    assert_false(oplog_fenced(fx.log, NULL));
    /* It was said in time: for deletes and what else must go on. */
    assert_true(low_at != 0);
    assert_true(oplog_applied_lsn(fx.log) - low_at > 150);
    /* A long record would not fit either. */
    expect_i64(oplog_can_append(fx.log, 4 * FX_SEGMENT_BYTES), -ENOSPC);

    /* What the store has covered makes room without a new block. */
    const uint64_t covered_lsn = oplog_applied_lsn(fx.log) / 2;
    assert_true(oplog_trim(fx.log, covered_lsn) > 0);
    fx_append_many(&fx, 200, 5);
    const uint64_t applied_lsn = oplog_applied_lsn(fx.log);
    fx_close(&fx);

    expect_i64(fx_open(&fx), 0);
    expect_i64(fx_recover(&fx, covered_lsn), 0);
    expect_u64(fx.last_lsn, applied_lsn);
    fx_close(&fx);
    expect_i64(umount(fx.root), 0);
    fx_teardown(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_file_system_refuses_growth_and_never_fences),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
