/*
 * Chunks of strings: their bytes, and what they join to.
 */
#include "engine/value/row_chunk.h"

#include "tests/lib/tcase.h"

#define GENERATION tag_of(100, 1)

struct fixture {
    struct buf out;
    uint8_t image[ROW_CHUNK_BYTES];
    size_t len;
    struct tag tag;
};

static int setup(void **state)
{
    static struct fixture f;

    buf_init(&f.out, SIZE_MAX);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buf_deinit(&f->out);
    return 0;
}

/* A row in static memory: up to four at a time. */
static struct bytes image_row(struct tag generation, struct tag tag, const char *text)
{
    static uint8_t rows[4][64];
    static unsigned next;
    uint8_t *row = rows[next++ % 4];

    return bytes_of(row, row_chunk_store(row, generation, tag, bytes_cstr(text)));
}

static struct bytes bits_row(struct tag generation, struct tag tag, struct row_chunk_bits bits)
{
    static uint8_t rows[4][ROW_CHUNK_BITS_BYTES_MAX];
    static unsigned next;
    uint8_t *row = rows[next++ % 4];

    return bytes_of(row, row_chunk_store_bits(row, generation, tag, bits));
}

/* Joins both ways, and reads the generation. */
static struct bytes joined(struct fixture *f, struct bytes a, struct bytes b, struct tag generation)
{
    struct buf other;

    buf_init(&other, SIZE_MAX);
    buf_clear(&f->out);
    assert_int_equal(row_merge(a, b, &f->out), 0);
    assert_int_equal(row_merge(b, a, &other), 0);
    expect_bytes(buf_bytes(&f->out), buf_bytes(&other));
    buf_deinit(&other);
    assert_int_equal(row_check(buf_bytes(&f->out)), 0);
    assert_int_equal(row_chunk_read(buf_bytes(&f->out), generation, f->image, &f->len, &f->tag), 0);
    return bytes_of(f->image, f->len);
}

static void an_image_has_the_bytes_that_the_header_tells(void **state)
{
    static const uint8_t want[] = {6, 100, 0, 0, 0, 0, 0, 0, 0,   1,  200,
                                   0, 0,   0, 0, 0, 0, 0, 2, 'h', 'i'};
    struct fixture *f = *state;
    const struct bytes row = image_row(GENERATION, tag_of(200, 2), "hi");

    expect_bytes(row, bytes_of(want, sizeof(want)));
    assert_int_equal(row_check(row), 0);
    assert_int_equal(row_chunk_read(row, GENERATION, f->image, &f->len, &f->tag), 0);
    expect_bytes(bytes_of(f->image, f->len), BYTES_LIT("hi"));
    assert_true(tag_eq(f->tag, tag_of(200, 2)));
    assert_int_equal(row_chunk_read(row, tag_of(99, 1), f->image, &f->len, &f->tag), 0);
    assert_true(tag_is_none(f->tag));
}

static void the_image_with_the_greatest_tag_wins(void **state)
{
    struct fixture *f = *state;

    expect_bytes(joined(f, image_row(GENERATION, tag_of(200, 1), "older and longer"),
                        image_row(GENERATION, tag_of(201, 2), "new"), GENERATION),
                 BYTES_LIT("new"));
    assert_int_equal(f->out.ptr[0], ROW_CHUNK);
}

static void bits_stand_on_the_image_that_they_have_seen(void **state)
{
    struct fixture *f = *state;
    const struct row_chunk_bits upper = {.first = 2, .count = 1, .value = 0};

    /* 'a' is 0x61: without bit 2 it is 'A'. */
    expect_bytes(joined(f, image_row(GENERATION, tag_of(200, 1), "a"),
                        bits_row(GENERATION, tag_of(201, 1), upper), GENERATION),
                 BYTES_LIT("A"));
    assert_int_equal(f->out.ptr[0], ROW_CHUNKS);
    expect_bytes(joined(f, image_row(GENERATION, tag_of(202, 1), "a"),
                        bits_row(GENERATION, tag_of(201, 1), upper), GENERATION),
                 BYTES_LIT("a"));
    assert_int_equal(f->out.ptr[0], ROW_CHUNK);
}

static void the_later_change_of_a_bit_wins_and_others_stay(void **state)
{
    struct fixture *f = *state;
    const struct row_chunk_bits all = {.first = 0, .count = 16, .value = 0xffff};
    const struct row_chunk_bits one = {.first = 8, .count = 2, .value = 1};

    expect_bytes(joined(f, bits_row(GENERATION, tag_of(200, 1), all),
                        bits_row(GENERATION, tag_of(201, 2), one), GENERATION),
                 bytes_of("\xff\x7f", 2));
    expect_bytes(joined(f, bits_row(GENERATION, tag_of(202, 1), all),
                        bits_row(GENERATION, tag_of(201, 2), one), GENERATION),
                 bytes_of("\xff\xff", 2));
}

static void a_row_knows_which_change_has_written_a_bit(void **state)
{
    struct fixture *f = *state;
    const struct tag early = tag_of(200, 1), late = tag_of(300, 1);
    const struct row_chunk_bits bits = {.first = 10, .count = 4, .value = 5};
    (void)joined(f, image_row(GENERATION, early, "abc"), bits_row(GENERATION, late, bits),
                 GENERATION);
    const struct bytes row = buf_bytes(&f->out);

    assert_true(row_chunk_has(row, GENERATION, late, 13, 1));
    assert_true(row_chunk_has(row, GENERATION, late, 0, 11));
    assert_false(row_chunk_has(row, GENERATION, late, 14, 64));
    assert_false(row_chunk_has(row, GENERATION, late, 0, 10));
    assert_true(row_chunk_has(row, GENERATION, early, 8000, 1)); /* With the image. */
    assert_false(row_chunk_has(row, GENERATION, tag_of(250, 1), 10, 4));
    assert_false(row_chunk_has(row, tag_of(101, 1), late, 10, 4));
    assert_false(row_chunk_has(bytes_of(NULL, 0), GENERATION, late, 10, 4));
}

static void an_origin_has_one_generation_and_others_have_theirs(void **state)
{
    struct fixture *f = *state;
    const struct tag later = tag_of(150, 1), other = tag_of(120, 2);
    unsigned count;
    struct tag latest;

    expect_bytes(joined(f, image_row(GENERATION, tag_of(300, 2), "gone"),
                        image_row(later, later, "now"), later),
                 BYTES_LIT("now"));
    expect_bytes(
        joined(f, image_row(other, other, "beside"), image_row(later, later, "now"), other),
        BYTES_LIT("beside"));
    assert_int_equal(row_chunk_latest(buf_bytes(&f->out), &latest, &count), 0);
    assert_int_equal(count, 2);
    assert_true(tag_eq(latest, later));
}

/* --- garbage --- */

/* What is left of the row; it must have changed, or (`same`) must not have. */
static struct bytes collected(struct fixture *f, struct bytes row, const struct vv *stable,
                              const struct row_generations *generations, bool same)
{
    static uint8_t copy[512];
    const struct bytes in = bytes_of(copy, row.len);

    assert_true(row.len <= sizeof(copy));
    memcpy(copy, row.ptr, row.len);
    buf_clear(&f->out);
    assert_int_equal(row_chunk_collect(in, stable, generations, &f->out),
                     same ? ROW_UNCHANGED : ROW_CHANGED);
    if (same)
        return in;
    assert_int_equal(row_check(buf_bytes(&f->out)), 0);
    return buf_bytes(&f->out);
}

static struct vv vector(uint8_t origin, uint64_t hlc)
{
    struct vv vv;

    vv_init(&vv);
    if (hlc != 0)
        assert_int_equal(vv_raise(&vv, tag_of(hlc, origin)), 0);
    return vv;
}

static void stable_bits_go_into_the_image_which_keeps_its_tag(void **state)
{
    struct fixture *f = *state;
    const struct row_chunk_bits upper = {.first = 2, .count = 1, .value = 0};
    const struct row_chunk_bits next = {.first = 14, .count = 2, .value = 3};
    const struct row_chunk_bits last = {.first = 8 * 3 + 7, .count = 1, .value = 1};
    struct vv stable = vector(1, 200);

    (void)joined(f, image_row(GENERATION, tag_of(200, 1), "a"),
                 bits_row(GENERATION, tag_of(203, 1), upper), GENERATION);
    struct buf all;
    buf_init(&all, SIZE_MAX);
    assert_int_equal(
        row_merge(buf_bytes(&f->out), bits_row(GENERATION, tag_of(202, 2), next), &all), 0);
    (void)collected(f, buf_bytes(&all), &stable, NULL, true);
    /* The later bit is stable, the earlier one is not yet. */
    stable = vector(1, 203);
    const struct bytes row = collected(f, buf_bytes(&all), &stable, NULL, false);
    assert_int_equal(row.ptr[0], ROW_CHUNKS);
    assert_int_equal(row_chunk_read(row, GENERATION, f->image, &f->len, &f->tag), 0);
    expect_bytes(bytes_of(f->image, f->len), bytes_of("A\3", 2));
    assert_true(tag_eq(f->tag, tag_of(202, 2)));
    /* Beside one that was not folded, and with a bit that comes later. */
    buf_clear(&all);
    assert_int_equal(row_merge(row, image_row(GENERATION, tag_of(200, 1), "a"), &all), 0);
    (void)joined(f, buf_bytes(&all), bits_row(GENERATION, tag_of(203, 1), upper), GENERATION);
    buf_clear(&all);
    assert_int_equal(buf_append_bytes(&all, buf_bytes(&f->out)), 0);
    (void)joined(f, buf_bytes(&all), bits_row(GENERATION, tag_of(204, 1), last), GENERATION);
    expect_bytes(bytes_of(f->image, f->len), bytes_of("A\3\0\1", 4));
    assert_int_equal(vv_raise(&stable, tag_of(204, 1)), 0);
    assert_int_equal(vv_raise(&stable, tag_of(202, 2)), 0);
    expect_bytes(collected(f, buf_bytes(&f->out), &stable, NULL, false),
                 bytes_of("\6\x64\0\0\0\0\0\0\0\1\xc8\0\0\0\0\0\0\0\1"
                          "A\3\0\1",
                          23));
    buf_deinit(&all);
}

static void bits_without_an_image_become_one_of_the_age_of_the_string(void **state)
{
    struct fixture *f = *state;
    const struct row_chunk_bits bits = {.first = 6, .count = 2, .value = 3};
    struct vv stable = vector(2, 300);

    const struct bytes row =
        collected(f, bits_row(GENERATION, tag_of(300, 2), bits), &stable, NULL, false);
    expect_bytes(row, image_row(GENERATION, GENERATION, "\3"));
    /* Bits older than their string are damage. */
    stable = vector(2, 80);
    (void)joined(f, bits_row(GENERATION, tag_of(80, 2), bits),
                 bits_row(GENERATION, tag_of(90, 1), (struct row_chunk_bits){.count = 1}),
                 GENERATION);
    (void)collected(f, buf_bytes(&f->out), &stable, NULL, true);
}

static void generations_that_nothing_shows_go_when_they_are_stable(void **state)
{
    struct fixture *f = *state;
    const struct tag other = tag_of(120, 2);
    struct row_generations generations = {.count = 1, .alive = {other}};
    struct vv stable = vector(1, 99);

    (void)joined(f, image_row(other, other, "beside"), image_row(GENERATION, GENERATION, "gone"),
                 other);
    assert_true(row_chunk_waits(buf_bytes(&f->out), &generations));
    const struct bytes both = collected(f, buf_bytes(&f->out), &stable, &generations, true);
    stable = vector(1, 100);
    (void)collected(f, both, &stable, NULL, true);
    /* The value that took its place is not what all show yet. */
    generations.tags[0] = tag_of(150, 2);
    (void)collected(f, both, &stable, &generations, true);
    assert_int_equal(vv_raise(&stable, tag_of(150, 2)), 0);
    const struct bytes left = collected(f, both, &stable, &generations, false);
    expect_bytes(left, image_row(other, other, "beside"));
    assert_false(row_chunk_waits(left, &generations));
    generations.count = 0;
    assert_true(row_chunk_waits(left, &generations));
    stable = vector(1, 100);
    (void)collected(f, left, &stable, &generations, true);
    assert_int_equal(vv_raise(&generations.clear, other), 0);
    expect_bytes(collected(f, image_row(other, other, "beside"), &stable, &generations, false),
                 bytes_of("\0", 1));
}

static void a_key_row_tells_the_generations_of_its_values(void **state)
{
    struct row_generations generations;
    uint8_t a[ROW_CHUNKED_BYTES], b[ROW_CHUNKED_BYTES];
    struct fixture *f = *state;

    (void)row_chunked_store(a, tag_of(200, 1), GENERATION, 70000, 0);
    (void)row_chunked_store(b, tag_of(120, 2), tag_of(120, 2), 20000, 0);
    buf_clear(&f->out);
    assert_int_equal(row_merge(bytes_of(a, sizeof(a)), bytes_of(b, sizeof(b)), &f->out), 0);
    assert_int_equal(row_generations(buf_bytes(&f->out), &generations), 0);
    assert_int_equal(generations.count, 2);
    assert_true(tag_eq(generations.alive[0], GENERATION));
    assert_true(tag_eq(generations.tags[0], tag_of(200, 1)));
    assert_true(tag_eq(generations.alive[1], tag_of(120, 2)));
    assert_true(tag_eq(generations.tags[1], tag_of(120, 2)));
    assert_true(vv_empty(&generations.clear));
    assert_int_equal(row_generations(bytes_of(NULL, 0), &generations), 0);
    assert_int_equal(generations.count, 0);
    assert_int_equal(row_generations(bytes_of("\xf\3", 2), &generations), -ERR_POISON);
}

/* The longest value of a string loses against another string, and another value of it wins. */
static void a_length_is_kept_for_the_values_that_share_it(void **state)
{
    uint8_t rows[3][ROW_CHUNKED_BYTES];
    struct bytes all[3];
    struct fixture *f = *state;
    struct vv stable = vector(1, 200);
    const struct row_horizons horizons = {.stable = &stable};
    struct row_view view;
    struct buf out;
    uint16_t sweep;

    (void)row_chunked_store(rows[0], tag_of(200, 1), tag_of(200, 1), 20000, 0);
    (void)row_chunked_store(rows[1], tag_of(120, 2), GENERATION, 40000, 0);
    (void)row_chunked_store(rows[2], tag_of(300, 3), GENERATION, 30000, 0);
    for (unsigned i = 0; i < 3; i++)
        all[i] = bytes_of(rows[i], ROW_CHUNKED_BYTES);
    buf_clear(&f->out);
    assert_int_equal(row_merge_fold(bytes_of(NULL, 0), all, 3, &f->out), 0);
    assert_int_equal(row_view(buf_bytes(&f->out), 0, &view), 0);
    expect_u64(view.count, 40000);
    assert_int_equal(vv_raise(&stable, tag_of(120, 2)), 0);
    buf_init(&out, SIZE_MAX);
    assert_int_equal(row_collect(buf_bytes(&f->out), &horizons, &out, &sweep), ROW_CHANGED);
    assert_int_equal(row_view(buf_bytes(&out), 0, &view), 0);
    assert_true(tag_eq(view.generation, GENERATION));
    expect_u64(view.count, 40000);
    buf_deinit(&out);
}

static void damage_is_refused(void **state)
{
    struct fixture *f = *state;
    static const uint8_t poison[] = {ROW_POISON, 3};
    uint8_t row[ROW_CHUNK_BITS_BYTES_MAX];
    const struct row_chunk_bits bits = {.first = 1, .count = 2, .value = 3};
    const size_t len = row_chunk_store_bits(row, GENERATION, tag_of(200, 1), bits);
    struct buf out;

    for (size_t cut = 1; cut < len; cut++)
        assert_int_equal(row_check(bytes_of(row, cut)), -ERR_CORRUPT);
    le16_store(row + 2 + TAG_BYTES + 4, 2); /* Not in order any more. */
    assert_int_equal(row_check(bytes_of(row, len)), -ERR_CORRUPT);
    buf_init(&out, SIZE_MAX);
    assert_int_equal(row_merge(image_row(GENERATION, GENERATION, "x"),
                               bytes_of("\1\7\0\0\0\0\0\0\0\3v", 11), &out),
                     -ERR_CORRUPT);
    assert_int_equal(row_merge(image_row(GENERATION, GENERATION, "x"), bytes_of(poison, 2), &out),
                     0);
    expect_bytes(buf_bytes(&out), bytes_of(poison, 2));
    buf_deinit(&out);
    (void)f;
}

static void a_key_row_of_a_string_in_chunks_shows_its_length_and_generation(void **state)
{
    uint8_t row[ROW_CHUNKED_BYTES];
    struct fixture *f = *state;
    struct row_view view;

    const size_t len = row_chunked_store(row, tag_of(200, 1), GENERATION, 70000, 5000);
    assert_int_equal(row_check(bytes_of(row, len)), 0);
    assert_int_equal(row_view(bytes_of(row, len), 4999, &view), 0);
    assert_true(view.present);
    assert_int_equal(view.type, VT_STRING);
    assert_int_equal(view.kind, ROW_KIND_CHUNKS);
    expect_u64(view.count, 70000);
    assert_true(tag_eq(view.generation, GENERATION));
    assert_int_equal(row_view(bytes_of(row, len), 5000, &view), 0);
    assert_true(view.expired);
    buf_clear(&f->out);
    assert_int_equal(row_set_expiry_alone(bytes_of(row, len), 0, &f->out), 0);
    assert_int_equal(f->out.ptr[0], ROW_CHUNKED);
    assert_int_equal(row_view(buf_bytes(&f->out), 9999, &view), 0);
    assert_true(view.present);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_has_the_bytes_that_the_header_tells),
        TEST(the_image_with_the_greatest_tag_wins),
        TEST(bits_stand_on_the_image_that_they_have_seen),
        TEST(the_later_change_of_a_bit_wins_and_others_stay),
        TEST(a_row_knows_which_change_has_written_a_bit),
        TEST(an_origin_has_one_generation_and_others_have_theirs),
        TEST(stable_bits_go_into_the_image_which_keeps_its_tag),
        TEST(bits_without_an_image_become_one_of_the_age_of_the_string),
        TEST(generations_that_nothing_shows_go_when_they_are_stable),
        TEST(a_key_row_tells_the_generations_of_its_values),
        TEST(a_length_is_kept_for_the_values_that_share_it),
        TEST(damage_is_refused),
        TEST(a_key_row_of_a_string_in_chunks_shows_its_length_and_generation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
