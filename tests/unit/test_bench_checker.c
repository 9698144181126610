/*
 * Verification of replies: right and wrong values, in any pieces; and the reading of INFO.
 */
#include "engine/base/mem.h"

#include "bench/load/bench_checker.h"
#include "bench/load/bench_server.h"
#include "bench/load/bench_value.h"
#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define VALUE_BYTES 100

struct fixture {
    struct bench_value_pool pool;
    struct rng rng;
    struct buf reply;
};

static void fixture_start(struct fixture *f)
{
    seed_rng(&f->rng, 1);
    bench_value_pool_init(&f->pool, 7, true, true);
    buf_init(&f->reply, 1 << 16);
}

static void fixture_stop(struct fixture *f)
{
    bench_value_pool_deinit(&f->pool);
    buf_deinit(&f->reply);
}

static void add_bulk(struct fixture *f, struct bytes data)
{
    assert_int_equal(buf_printf(&f->reply, "$%zu\r\n", data.len), 0);
    assert_int_equal(buf_append_bytes(&f->reply, data), 0);
    assert_int_equal(buf_append(&f->reply, "\r\n", 2), 0);
}

static void add_value(struct fixture *f, uint64_t owner)
{
    uint8_t value[VALUE_BYTES];

    bench_value_write(&f->pool, &f->rng, owner, value, sizeof(value));
    add_bulk(f, bytes_of(value, sizeof(value)));
}

/* Checks f->reply in pieces of `step` bytes; the number of wrong values. */
static uint64_t check(struct fixture *f, enum bench_verify how, const uint64_t *owners,
                      size_t owner_count, size_t step)
{
    struct bench_checker checker;
    struct bench_reply reply;
    size_t used;

    bench_checker_init(&checker);
    bench_checker_begin(&checker, how, owners, owner_count);
    bench_reply_init(&reply, bench_checker_on_piece, &checker);
    for (size_t at = 0; at < f->reply.len; at += step) {
        const size_t len = size_min(step, f->reply.len - at);
        assert_true(bench_reply_feed(&reply, f->reply.ptr + at, len, &used) >= 0);
        expect_u64(used, len);
    }
    const uint64_t wrong = checker.wrong;
    bench_checker_deinit(&checker);
    return wrong;
}

static void many_values_are_checked_against_their_own_keys(void **state UNUSED)
{
    const uint64_t owners[] = {11, 22, 33};
    const uint64_t swapped[] = {11, 33, 22};
    struct fixture f;

    fixture_start(&f);
    assert_int_equal(buf_printf(&f.reply, "*3\r\n"), 0);
    add_value(&f, 11);
    assert_int_equal(buf_printf(&f.reply, "$-1\r\n"), 0);
    add_value(&f, 33);
    for (size_t step = 1; step <= f.reply.len; step++) {
        expect_u64(check(&f, BENCH_VERIFY_BULKS, owners, 3, step), 0);
        expect_u64(check(&f, BENCH_VERIFY_BULKS, swapped, 3, step), 1);
        expect_u64(check(&f, BENCH_VERIFY_NONE, swapped, 3, step), 0);
    }
    /* More values than were asked for. */
    expect_u64(check(&f, BENCH_VERIFY_BULKS, owners, 2, 1000), 1);
    fixture_stop(&f);
}

static void pairs_are_checked_by_their_field(void **state UNUSED)
{
    const uint64_t owner = 99;
    const uint64_t other = 98;
    struct fixture f;

    fixture_start(&f);
    assert_int_equal(buf_printf(&f.reply, "*4\r\n"), 0);
    add_bulk(&f, BYTES_LIT("elem:b"));
    add_value(&f, bench_value_owner_field(owner, BYTES_LIT("elem:b")));
    add_bulk(&f, BYTES_LIT("elem:a"));
    add_value(&f, bench_value_owner_field(owner, BYTES_LIT("elem:c")));
    for (size_t step = 1; step <= 50; step++) {
        expect_u64(check(&f, BENCH_VERIFY_PAIRS, &owner, 1, step), 1);
        expect_u64(check(&f, BENCH_VERIFY_PAIRS, &other, 1, step), 2);
    }
    fixture_stop(&f);
}

static void elements_of_a_list_belong_to_its_key(void **state UNUSED)
{
    const uint64_t owner = 5;
    struct fixture f;

    fixture_start(&f);
    assert_int_equal(buf_printf(&f.reply, "*2\r\n"), 0);
    add_value(&f, 5);
    add_bulk(&f, BYTES_LIT(""));
    expect_u64(check(&f, BENCH_VERIFY_SAME, &owner, 1, 7), 1);
    fixture_stop(&f);
}

static void info_is_read_by_sections(void **state UNUSED)
{
    static const char text[] = "# Server\r\nredis_version:7.0.15\r\nprocess_id:123\r\n\r\n"
                               "# Tiering\r\ncold_reads:5\r\nratio:0.25\r\nline without\r\n"
                               "# Stats\r\nkeyspace_hits:9\r\nother:1\r\n";
    struct bench_info *info = mem_zalloc(sizeof(*info));
    double number;

    bench_info_parse(bytes_cstr(text), info);
    expect_u64(info->count, 6);
    expect_str(bench_info_text(info, "redis_version"), "7.0.15");
    assert_true(bench_info_number(info, "cold_reads", &number));
    expect_u64((uint64_t)number, 5);
    assert_false(bench_info_number(info, "redis_version", &number));
    assert_null(bench_info_text(info, "missing"));
    assert_false(bench_info_interesting(&info->fields[1]));
    assert_true(bench_info_interesting(&info->fields[2]));
    assert_true(bench_info_interesting(&info->fields[4]));
    assert_false(bench_info_interesting(&info->fields[5]));
    mem_free(info);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_values_are_checked_against_their_own_keys),
        cmocka_unit_test(pairs_are_checked_by_their_field),
        cmocka_unit_test(elements_of_a_list_belong_to_its_key),
        cmocka_unit_test(info_is_read_by_sections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
