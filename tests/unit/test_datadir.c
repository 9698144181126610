/* The small text files of a data directory. */
#include <stdio.h>

#include "server/datadir.h"

#include "tests/lib/tcase.h"

static void what_is_printed_is_parsed(void **state)
{
    const struct datadir_format f = {.version = 4, .shards = 256, .seed = 0x00f00000000000ffu};
    struct datadir_format got;
    char text[DATADIR_FORMAT_BYTES];

    (void)state;
    const size_t len = datadir_format_print(text, &f);
    expect_bytes(bytes_of(text, len),
                 BYTES_LIT("tierra-format 4\nshards 256\nseed 00f00000000000ff\n"));
    assert_true(datadir_format_parse(bytes_of(text, len), &got));
    expect_u64(got.version, f.version);
    expect_u64(got.shards, f.shards);
    expect_u64(got.seed, f.seed);
}

static void a_member_has_the_name_of_its_group(void **state)
{
    const struct datadir_format f = {.version = 4, .shards = 1, .seed = 1, .group = "earth-2"};
    struct datadir_format got;
    char text[DATADIR_FORMAT_BYTES];

    (void)state;
    const size_t len = datadir_format_print(text, &f);
    expect_bytes(bytes_of(text, len),
                 BYTES_LIT("tierra-format 4\nshards 1\nseed 0000000000000001\ngroup earth-2\n"));
    assert_true(datadir_format_parse(bytes_of(text, len), &got));
    assert_string_equal(got.group, "earth-2");
    /* Without its last line it is that of a node that stands alone. */
    const size_t alone = len - (sizeof("group earth-2\n") - 1);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(datadir_format_parse(bytes_of(text, cut), &got), cut == alone);
    assert_false(datadir_format_parse(
        BYTES_LIT("tierra-format 4\nshards 1\nseed 0000000000000001\ngroup -\n"), &got));
}

static void a_format_in_part_or_with_more_is_refused(void **state)
{
    const struct bytes text = BYTES_LIT("tierra-format 4\nshards 1\nseed 00000000000000a1\n");
    struct datadir_format got;

    (void)state;
    for (size_t len = 0; len < text.len; len++)
        assert_false(datadir_format_parse(bytes_of(text.ptr, len), &got));
    assert_false(datadir_format_parse(
        BYTES_LIT("tierra-format 4\nshards 1\nseed 00000000000000a1\n\n"), &got));
    assert_false(datadir_format_parse(BYTES_LIT("tierra-format -4\nshards 1\nseed a\n"), &got));
    assert_false(datadir_format_parse(BYTES_LIT("tierra-format 4\nshards x\nseed a\n"), &got));
    assert_false(datadir_format_parse(
        BYTES_LIT("tierra-format 4\nshards 18446744073709551616\nseed a\n"), &got));
    assert_false(datadir_format_parse(
        BYTES_LIT("tierra-format 4\nshards 1\nseed 10000000000000000\n"), &got));
}

static void names_have_a_number(void **state)
{
    uint64_t number = 7;

    (void)state;
    assert_true(datadir_number(BYTES_LIT("store-000042"), "store-", &number));
    expect_u64(number, 42);
    assert_true(datadir_number(BYTES_LIT("keys-1234567.tmp"), "keys-", &number));
    expect_u64(number, 1234567);
    assert_false(datadir_number(BYTES_LIT("store-"), "store-", &number));
    assert_false(datadir_number(BYTES_LIT("store-x1"), "store-", &number));
    assert_false(datadir_number(BYTES_LIT("stor"), "store-", &number));
    expect_u64(number, 1234567);
}

static void current_is_one_line(void **state)
{
    uint64_t number;

    (void)state;
    char text[DATADIR_CURRENT_BYTES];

    expect_bytes(bytes_of(text, datadir_current_print(text, 9)), BYTES_LIT("store-000009\n"));
    assert_true(datadir_current_parse(BYTES_LIT("store-000009\n"), &number));
    expect_u64(number, 9);
    assert_false(datadir_current_parse(BYTES_LIT("store-000009"), &number));
    assert_false(datadir_current_parse(BYTES_LIT("store-000009\n\n"), &number));
    assert_false(datadir_current_parse(BYTES_LIT("\n"), &number));
    assert_false(datadir_current_parse(BYTES_LIT(""), &number));
}

static void ids_are_parsed_whole_or_not_at_all(void **state)
{
    static struct datadir_ids ids, got;
    static char text[DATADIR_IDS_BYTES];

    (void)state;
    ids.count = DATADIR_IDS_MAX;
    for (uint32_t i = 0; i < ids.count; i++)
        (void)snprintf(ids.id[i], sizeof(ids.id[i]), "%040x", i * 0x1234567u);
    const size_t len = datadir_ids_print(text, &ids);
    assert_true(datadir_ids_parse(bytes_of(text, len), &got));
    assert_memory_equal(&got, &ids, sizeof(ids));
    expect_bytes(bytes_of(text, 66), BYTES_LIT("tierra-cluster 1\nshard 0 "
                                               "0000000000000000000000000000000000000000\n"));
    for (size_t n = 0; n < len; n++) {
        /* What ends with a line is one of fewer nodes. */
        const bool whole = n >= 17 && text[n - 1] == '\n';
        assert_true(datadir_ids_parse(bytes_of(text, n), &got) == whole);
    }
    assert_false(datadir_ids_parse(BYTES_LIT("tierra-cluster 1\nshard 1 "
                                             "0000000000000000000000000000000000000000\n"),
                                   &got));
    assert_false(datadir_ids_parse(BYTES_LIT("tierra-cluster 1\nshard 0 "
                                             "000000000000000000000000000000000000000A\n"),
                                   &got));
    assert_false(datadir_ids_parse(BYTES_LIT("tierra-cluster 2\nshard 0 "
                                             "0000000000000000000000000000000000000000\n"),
                                   &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed_is_parsed),
        cmocka_unit_test(a_member_has_the_name_of_its_group),
        cmocka_unit_test(a_format_in_part_or_with_more_is_refused),
        cmocka_unit_test(names_have_a_number),
        cmocka_unit_test(current_is_one_line),
        cmocka_unit_test(ids_are_parsed_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
