/*
 * Rows of string chunks that are joined as bytes (row_chunk_plain.h) become what they do decoded,
 * and show it: random images and bits of few generations and tags, so that they meet.
 */
#include <string.h>

#include "engine/value/row_chunk.h"
#include "engine/value/row_chunk_plain.h"
#include "engine/value/row_plain.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define RUNS_DEFAULT 20000
#define HLC_MAX      40
#define ROW_MAX      (ROW_CHUNK_BITS_BYTES_MAX + ROW_CHUNK_IMAGE_AT + ROW_CHUNK_BYTES)

static unsigned pick(struct rng *rng, unsigned n)
{
    return (unsigned)rng_below(rng, n);
}

static struct tag random_generation(struct rng *rng)
{
    return tag_of(1 + (pick(rng, 40) == 0), (uint8_t)(1 + (pick(rng, 40) == 0)));
}

/* An operand as an op makes it. What a tag stands for is a function of the tag, as in a batch. */
static struct bytes random_operand(struct rng *rng, uint8_t *dst)
{
    const struct tag tag = tag_of(3 + pick(rng, HLC_MAX), (uint8_t)(1 + pick(rng, 3)));
    const struct tag generation = random_generation(rng);
    uint8_t image[ROW_CHUNK_BYTES];

    if (pick(rng, 4) == 0) {
        const size_t len = pick(rng, 3) == 0 ? ROW_CHUNK_BYTES : tag.hlc * 5 % 9;
        memset(image, (int)(tag.hlc + tag.origin), sizeof(image));
        return bytes_of(dst, row_chunk_store(dst, generation, tag, bytes_of(image, len)));
    }
    const uint32_t count = 1 + (pick(rng, 2) == 0 ? 0 : pick(rng, 64));
    const uint32_t range = pick(rng, 2) == 0 ? 200 : ROW_CHUNK_BITS;
    const struct row_chunk_bits bits = {.first = pick(rng, range - count + 1),
                                        .count = count,
                                        .value = rng_u64(rng) >> (64 - count)};
    return bytes_of(dst, row_chunk_store_bits(dst, generation, tag, bits));
}

static void put_join(struct buf *row, struct bytes operand)
{
    const struct bytes both[2] = {buf_bytes(row), operand};
    struct buf out;

    buf_init(&out, SIZE_MAX);
    assert_int_equal(row_chunk_join(both, 2, &out), 0);
    assert_int_equal(row_chunk_check(buf_bytes(&out)), 0);
    buf_deinit(row);
    *row = out;
}

/* True if it was joined as bytes. */
static bool expect_same_join(struct bytes a, struct bytes b)
{
    const struct bytes both[2] = {a, b};
    struct buf plain, decoded;

    buf_init(&plain, SIZE_MAX);
    buf_init(&decoded, SIZE_MAX);
    const int did = row_chunk_plain_join(a, b, &plain);
    assert_true(did == 1 || (did == 0 && plain.len == 0));
    assert_int_equal(row_chunk_join(both, 2, &decoded), 0);
    if (did == 1)
        expect_bytes(buf_bytes(&plain), buf_bytes(&decoded));
    buf_clear(&plain);
    assert_int_equal(row_merge_fold(a, &b, 1, &plain), 0);
    expect_bytes(buf_bytes(&plain), buf_bytes(&decoded));
    buf_clear(&plain);
    assert_int_equal(row_merge_partial(both, 2, &plain), 0);
    expect_bytes(buf_bytes(&plain), buf_bytes(&decoded));
    buf_deinit(&plain);
    buf_deinit(&decoded);
    return did == 1;
}

static void image_of(struct bytes row, struct tag generation, uint8_t image[ROW_CHUNK_BYTES])
{
    size_t len;
    struct tag tag;

    memset(image, 0, ROW_CHUNK_BYTES);
    assert_int_equal(row_chunk_read(row, generation, image, &len, &tag), 0);
    memset(image + len, 0, ROW_CHUNK_BYTES - len);
}

/* True if it was shown without reading the row. */
static bool expect_same_image(struct bytes row, struct bytes operand, struct bytes joined,
                              struct tag generation)
{
    uint8_t image[ROW_CHUNK_BYTES], before[ROW_CHUNK_BYTES], read[ROW_CHUNK_BYTES];

    image_of(row, generation, image);
    memcpy(before, image, sizeof(before));
    if (!row_chunk_show_bits(joined, operand, generation, image)) {
        assert_memory_equal(image, before, sizeof(image));
        return false;
    }
    image_of(joined, generation, read);
    assert_memory_equal(image, read, sizeof(image));
    return true;
}

static void chunks_join_as_bytes_as_they_do_decoded(void **state)
{
    static uint8_t raw[ROW_MAX];
    struct rng rng;
    struct buf row, other;
    unsigned joined = 0, shown = 0;
    const uint64_t runs = seed_number("TIERRA_PROP_RUNS", RUNS_DEFAULT);

    (void)state;
    seed_rng(&rng, 1);
    buf_init(&row, SIZE_MAX);
    buf_init(&other, SIZE_MAX);
    for (uint64_t run = 0; run < runs; run++) {
        const struct bytes operand = random_operand(&rng, raw);
        if (pick(&rng, 12) == 0)
            buf_clear(&row);
        if (pick(&rng, 12) == 0)
            buf_clear(&other);
        joined += expect_same_join(buf_bytes(&row), operand);
        if (other.len != 0)
            joined += expect_same_join(buf_bytes(&row), buf_bytes(&other));
        struct buf before;
        buf_init(&before, SIZE_MAX);
        assert_int_equal(buf_append_bytes(&before, buf_bytes(&row)), 0);
        put_join(&row, operand);
        shown += expect_same_image(buf_bytes(&before), operand, buf_bytes(&row),
                                   random_generation(&rng));
        buf_deinit(&before);
        if (pick(&rng, 2) == 0)
            put_join(&other, random_operand(&rng, raw));
    }
    /* 0.7 and 0.45 of the runs as a rule. */
    assert_true(joined > runs / 3);
    assert_true(shown > runs / 5);
    buf_deinit(&row);
    buf_deinit(&other);
}

/* Whatever the bytes are, none outside of them are read, and nothing is left behind by a refusal.
 */
static void damaged_rows_are_refused_or_joined(void **state)
{
    static uint8_t raw[ROW_MAX];
    struct rng rng;
    struct buf row, out, image;
    const uint64_t runs = seed_number("TIERRA_PROP_RUNS", RUNS_DEFAULT);

    (void)state;
    seed_rng(&rng, 2);
    buf_init(&row, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    buf_init(&image, SIZE_MAX);
    assert_int_equal(buf_reserve(&image, ROW_CHUNK_BYTES), 0);
    memset(image.ptr, 0, ROW_CHUNK_BYTES);
    for (uint64_t run = 0; run < runs; run++) {
        if (pick(&rng, 8) == 0)
            buf_clear(&row);
        put_join(&row, random_operand(&rng, raw));
        struct buf bad;
        buf_init(&bad, SIZE_MAX);
        const size_t len = pick(&rng, 2) == 0 ? row.len : pick(&rng, (unsigned)row.len + 1);
        assert_int_equal(buf_append_bytes(&bad, bytes_of(row.ptr, len)), 0);
        for (unsigned i = pick(&rng, 3); i != 0 && len != 0; i--)
            bad.ptr[pick(&rng, pick(&rng, 2) == 0 ? (unsigned)len : (unsigned)size_min(len, 32))] =
                (uint8_t)rng_u64(&rng);
        const struct bytes operand = random_operand(&rng, raw);
        buf_clear(&out);
        const int did = row_chunk_plain_join(buf_bytes(&bad), operand, &out);
        assert_true(did == 1 || (did == 0 && out.len == 0));
        buf_clear(&out);
        const int back = row_chunk_plain_join(operand, buf_bytes(&bad), &out);
        assert_true(back == 1 || (back == 0 && out.len == 0));
        IGNORE_RESULT(
            row_chunk_show_bits(buf_bytes(&bad), operand, random_generation(&rng), image.ptr));
        IGNORE_RESULT(
            row_chunk_show_bits(operand, buf_bytes(&bad), random_generation(&rng), image.ptr));
        buf_deinit(&bad);
    }
    buf_deinit(&row);
    buf_deinit(&out);
    buf_deinit(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_join_as_bytes_as_they_do_decoded),
        cmocka_unit_test(damaged_rows_are_refused_or_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
