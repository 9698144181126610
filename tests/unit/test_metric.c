/*
 * Metric tables: the struct and the table agree.
 */
#include "engine/base/metric.h"

#include "tests/lib/tcase.h"

/* clang-format off */
#define SAMPLE_METRICS(X)                                      \
    X(reads,       METRIC_COUNTER, "Rows asked for.")          \
    X(queue_count, METRIC_GAUGE,   "Reads that wait.")         \
    X(failures,    METRIC_COUNTER, "Reads that failed.")
/* clang-format on */

METRIC_STRUCT(sample_metrics, SAMPLE_METRICS);
METRIC_TABLE(sample_table, SAMPLE_METRICS);

STATIC_ASSERT(ARRAY_COUNT(sample_table) == 3);
STATIC_ASSERT(sizeof(struct sample_metrics) == 3 * sizeof(uint64_t));

static void the_table_describes_the_fields_in_order(void **state UNUSED)
{
    expect_str(sample_table[0].name, "reads");
    expect_str(sample_table[1].name, "queue_count");
    expect_str(sample_table[1].help, "Reads that wait.");
    assert_int_equal(sample_table[0].type, METRIC_COUNTER);
    assert_int_equal(sample_table[1].type, METRIC_GAUGE);
}

static void values_are_read_by_index(void **state UNUSED)
{
    const struct sample_metrics metrics = {.reads = 5, .queue_count = 6, .failures = UINT64_MAX};

    expect_u64(metric_value(&metrics, 0), 5);
    expect_u64(metric_value(&metrics, 1), 6);
    expect_u64(metric_value(&metrics, 2), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_describes_the_fields_in_order),
        cmocka_unit_test(values_are_read_by_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
