/*
 * The clocks: order, units, and the replaceable source.
 */
#include <time.h>

#include "engine/base/clock.h"

#include "tests/lib/tcase.h"

static void monotonic_time_never_goes_back(void **state UNUSED)
{
    uint64_t last_ns = clock_mono_ns();

    for (int i = 0; i < 10000; i++) {
        const uint64_t now_ns = clock_mono_ns();
        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
}

static void wall_time_is_that_of_the_system(void **state UNUSED)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    const uint64_t before_us = (uint64_t)now.tv_sec * 1000000u;
    const uint64_t got_us = clock_wall_us();
    const uint64_t got_ms = clock_wall_ms();

    /* The margin is for a machine that stops this process for a while. */
    assert_true(got_us >= before_us && got_us < before_us + 60 * UINT64_C(1000000));
    assert_true(got_ms >= got_us / 1000 && got_ms < got_us / 1000 + 60 * 1000);
}

static void the_real_source_reads_the_same_clocks(void **state UNUSED)
{
    const struct clock_source *source = clock_real();
    const uint64_t mono_ns = clock_mono_ns();
    const uint64_t wall_ms = clock_wall_ms();

    assert_true(clock_source_mono_ns(source) >= mono_ns);
    assert_true(clock_source_wall_us(source) / 1000 >= wall_ms);
    assert_true(clock_source_wall_ms(source) >= wall_ms);
}

static uint64_t fake_ns(void *ctx)
{
    return *(const uint64_t *)ctx;
}

static uint64_t fake_us(void *ctx)
{
    return *(const uint64_t *)ctx / 1000;
}

static void a_source_can_be_replaced(void **state UNUSED)
{
    uint64_t now_ns = 5000000;
    const struct clock_source source = {.mono_ns = fake_ns, .wall_us = fake_us, .ctx = &now_ns};

    expect_u64(clock_source_mono_ns(&source), 5000000);
    expect_u64(clock_source_wall_us(&source), 5000);
    expect_u64(clock_source_wall_ms(&source), 5);
}

static void a_time_prints_as_iso_8601(void **state UNUSED)
{
    char text[CLOCK_ISO_BYTES];

    clock_iso(text, 1764419113007);
    assert_string_equal(text, "2025-11-29T12:25:13.007Z");
    clock_iso(text, 0);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_iso(text, UINT64_MAX);
    assert_string_equal(text, "584556019-04-03T14:25:51.615Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(wall_time_is_that_of_the_system),
        cmocka_unit_test(the_real_source_reads_the_same_clocks),
        cmocka_unit_test(a_source_can_be_replaced),
        cmocka_unit_test(a_time_prints_as_iso_8601),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
