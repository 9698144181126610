/*
 * Sums of keys: alike for what shows the same, however it is kept; different for what does not.
 */
#include "engine/base/err.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_sum.h"
#include "engine/value/rowkey.h"

#include "tests/lib/tcase.h"

#define AT_MS 5000u

struct row_text {
    uint8_t bytes[256];
    size_t len;
};

static struct bytes bytes_in(const struct row_text *row)
{
    return bytes_of(row->bytes, row->len);
}

static struct row_text value(uint64_t hlc, const char *text, uint64_t at_ms)
{
    struct row_text row;

    row.len = row_value_store(row.bytes, tag_of(hlc, 1), bytes_cstr(text), at_ms);
    return row;
}

static struct row_text coll(uint64_t hlc, uint8_t type)
{
    struct row_text row;

    row.len = row_coll_store(row.bytes, type, tag_of(hlc, 2), 9, 9);
    return row;
}

static struct row_text score(uint64_t hlc, double number)
{
    struct row_text row;
    uint8_t bytes[ROW_SCORE_BYTES];

    row_score_store(bytes, number);
    row.len = row_value_store(row.bytes, tag_of(hlc, 1), bytes_of(bytes, sizeof(bytes)), 0);
    return row;
}

static uint64_t sum_of_row(struct bytes row)
{
    struct row_sum s;

    row_sum_init(&s, AT_MS);
    assert_int_equal(row_sum_key(&s, BYTES_LIT("k"), row), 0);
    const uint64_t sum = row_sum_end(&s);
    row_sum_deinit(&s);
    return sum;
}

static uint64_t sum_of(struct row_text row)
{
    return sum_of_row(bytes_in(&row));
}

struct element {
    const char *sub;
    struct row_text row;
};

static uint64_t sum_of_all(struct bytes key, struct row_text row, uint8_t kind,
                           const struct element *elements, unsigned count)
{
    struct row_sum s;

    row_sum_init(&s, AT_MS);
    assert_int_equal(row_sum_key(&s, key, bytes_in(&row)), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(
            row_sum_elem(&s, kind, bytes_cstr(elements[i].sub), bytes_in(&elements[i].row)), 0);
    const uint64_t sum = row_sum_end(&s);
    row_sum_deinit(&s);
    return sum;
}

static void strings_with_one_text_are_alike_and_their_tags_do_not_count(void **state UNUSED)
{
    struct row_text count;

    count.len = row_count_store(count.bytes, 3, tag_of(4, 2), -17);
    expect_u64(sum_of(value(7, "-17", 0)), sum_of(value(9, "-17", 0)));
    expect_u64(sum_of(value(7, "-17", 0)), sum_of(count));
    assert_true(sum_of(value(7, "-17", 0)) != sum_of(value(7, "-18", 0)));
    assert_true(sum_of(value(7, "", 0)) != 0);
}

static void a_deadline_counts_and_beyond_it_nothing_shows(void **state UNUSED)
{
    assert_true(sum_of(value(7, "v", AT_MS + 1)) != sum_of(value(7, "v", 0)));
    assert_true(sum_of(value(7, "v", AT_MS + 1)) != sum_of(value(7, "v", AT_MS + 2)));
    expect_u64(sum_of(value(7, "v", AT_MS)), 0);
    expect_u64(sum_of_row(bytes_of(NULL, 0)), 0);
}

static void what_lost_does_not_count(void **state UNUSED)
{
    struct row_text low = value(7, "low", 0), high = value(8, "high", 0);
    struct buf merged;

    high.bytes[ROW_TAG_AT + 8] = 2; /* Of another origin. */
    buf_init(&merged, SIZE_MAX);
    assert_int_equal(row_merge(bytes_in(&low), bytes_in(&high), &merged), 0);
    assert_true(merged.len > high.len);
    expect_u64(sum_of_row(buf_bytes(&merged)), sum_of(high));
    buf_deinit(&merged);
}

static void elements_count_in_any_order_and_only_those_that_are_there(void **state UNUSED)
{
    const struct element ab[] = {{"a", value(7, "1", 0)}, {"b", value(8, "2", 0)}};
    const struct element ba[] = {
        {"b", value(9, "2", 0)}, {"dead", {{0}, 1}}, {"a", value(7, "1", 0)}};
    const struct element swapped[] = {{"a", value(7, "2", 0)}, {"b", value(8, "1", 0)}};
    const uint64_t sum = sum_of_all(BYTES_LIT("k"), coll(5, VT_HASH), ROWKEY_KIND_HASH, ab, 2);

    expect_u64(sum, sum_of_all(BYTES_LIT("k"), coll(6, VT_HASH), ROWKEY_KIND_HASH, ba, 3));
    assert_true(sum != sum_of_all(BYTES_LIT("k"), coll(5, VT_HASH), ROWKEY_KIND_HASH, swapped, 2));
    assert_true(sum != sum_of_all(BYTES_LIT("l"), coll(5, VT_HASH), ROWKEY_KIND_HASH, ab, 2));
    assert_true(sum != sum_of_all(BYTES_LIT("k"), coll(5, VT_HASH), ROWKEY_KIND_HASH, ab, 1));
    /* Rows of a type that the key once was are garbage, and without elements it is nothing. */
    expect_u64(sum_of_all(BYTES_LIT("k"), coll(5, VT_SET), ROWKEY_KIND_HASH, ab, 2), 0);
}

static void scores_count_as_numbers(void **state UNUSED)
{
    const struct element one[] = {{"m", score(7, 1.5)}}, other[] = {{"m", score(8, 2.5)}};
    const struct element later[] = {{"m", score(9, 1.5)}};
    const uint64_t sum = sum_of_all(BYTES_LIT("z"), coll(5, VT_ZSET), ROWKEY_KIND_ZSET, one, 1);

    assert_true(sum != sum_of_all(BYTES_LIT("z"), coll(5, VT_ZSET), ROWKEY_KIND_ZSET, other, 1));
    expect_u64(sum, sum_of_all(BYTES_LIT("z"), coll(5, VT_ZSET), ROWKEY_KIND_ZSET, later, 1));
}

static uint64_t sum_of_chunks(struct tag shown, uint64_t len, struct tag made, const char *text)
{
    struct row_text row;
    uint8_t key_row[ROW_CHUNKED_BYTES];
    static const uint8_t sub[ROW_CHUNK_SUB_BYTES] = {0, 0, 0, 1};
    struct row_sum s;

    row_sum_init(&s, AT_MS);
    const size_t size = row_chunked_store(key_row, tag_of(20, 1), shown, len, 0);
    assert_int_equal(row_sum_key(&s, BYTES_LIT("s"), bytes_of(key_row, size)), 0);
    row.len = row_chunk_store(row.bytes, made, tag_of(21, 1), bytes_cstr(text));
    assert_int_equal(
        row_sum_elem(&s, ROWKEY_KIND_CHUNK, bytes_of(sub, sizeof(sub)), bytes_in(&row)), 0);
    const uint64_t sum = row_sum_end(&s);
    row_sum_deinit(&s);
    return sum;
}

static void of_a_long_string_count_length_and_bytes_of_what_shows(void **state UNUSED)
{
    const struct tag gen = tag_of(10, 1), old = tag_of(9, 2);
    const uint64_t len = 20000, sum = sum_of_chunks(gen, len, gen, "text");

    assert_true(sum != sum_of_chunks(gen, len, gen, "test"));
    assert_true(sum != sum_of_chunks(gen, len + 1, gen, "text"));
    /* Another generation is garbage, and so is what lies beyond the end. */
    expect_u64(sum_of_chunks(gen, len, old, "text"), sum_of_chunks(gen, len, gen, ""));
    expect_u64(sum_of_chunks(gen, ROW_CHUNK_BYTES + 2, gen, "text"),
               sum_of_chunks(gen, ROW_CHUNK_BYTES + 2, gen, "te"));
}

static void damage_is_told(void **state UNUSED)
{
    static const uint8_t bad[] = {ROW_GENERAL, 0xff, 0xff};
    struct row_sum s;
    struct row_text row = coll(5, VT_HASH);

    row_sum_init(&s, AT_MS);
    assert_int_equal(row_sum_key(&s, BYTES_LIT("k"), bytes_of(bad, sizeof(bad))), -ERR_CORRUPT);
    expect_u64(row_sum_end(&s), 0);
    assert_int_equal(row_sum_key(&s, BYTES_LIT("k"), bytes_in(&row)), 0);
    assert_int_equal(row_sum_elem(&s, ROWKEY_KIND_HASH, BYTES_LIT("f"), bytes_of(bad, sizeof(bad))),
                     -ERR_CORRUPT);
    row_sum_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_with_one_text_are_alike_and_their_tags_do_not_count),
        cmocka_unit_test(a_deadline_counts_and_beyond_it_nothing_shows),
        cmocka_unit_test(what_lost_does_not_count),
        cmocka_unit_test(elements_count_in_any_order_and_only_those_that_are_there),
        cmocka_unit_test(scores_count_as_numbers),
        cmocka_unit_test(of_a_long_string_count_length_and_bytes_of_what_shows),
        cmocka_unit_test(damage_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
