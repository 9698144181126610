/*
 * Chunks of long strings in DRAM: a value that is set is found whole, and takes little beyond
 * itself.
 */
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/space/chunks.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define LEN_MIN (16u * 1024 + 1)
#define LEN_MAX (200u * 1024)
/* The struct of a leaf, and the array of them. */
#define LEAF_BYTES_MAX 2048u

static uint8_t *random_value(size_t len)
{
    struct rng rng;
    uint8_t *value = mem_alloc(len);

    seed_rng(&rng, 1);
    for (size_t i = 0; i < len; i++)
        value[i] = (uint8_t)rng_below(&rng, 256);
    return value;
}

/* The value from `offset` on, run by run; then zeros up to the end of its last chunk. */
static void expect_chunks(const struct chunks *c, const uint8_t *value, size_t offset, size_t len)
{
    static const uint8_t zeros[ROW_CHUNK_BYTES];
    const size_t end = (size_t)chunks_count(len) * ROW_CHUNK_BYTES;

    while (offset < end) {
        const size_t left = offset < len ? len - offset : end - offset;
        const struct bytes run = chunks_run(c, offset, left);
        assert_non_null(run.ptr);
        assert_true(run.len != 0 && run.len <= left);
        assert_true(memcmp(run.ptr, offset < len ? value + offset : zeros, run.len) == 0);
        offset += run.len;
    }
}

static void a_value_is_found_whole_whatever_its_length(void **state UNUSED)
{
    const struct tag tag = tag_of(77, 1);
    uint8_t *value = random_value(LEN_MAX);

    for (size_t len = LEN_MIN; len <= LEN_MAX; len += 509) {
        struct chunks c;
        chunks_init(&c);
        chunks_set(&c, bytes_of(value, len), tag);
        expect_u64(c.dirty, chunks_count(len));
        for (uint32_t i = 0; i < chunks_count(len); i++)
            assert_true(chunks_known(&c, i));
        expect_chunks(&c, value, 0, len);
        expect_chunks(&c, value, len / 2, len);
        chunks_deinit(&c);
    }
    mem_free(value);
}

static void a_value_takes_little_beyond_its_chunks(void **state UNUSED)
{
    uint8_t *value = random_value(LEN_MAX);

    for (size_t len = LEN_MIN; len <= LEN_MAX; len += 1024) {
        struct chunks c;
        chunks_init(&c);
        chunks_set(&c, bytes_of(value, len), tag_of(77, 1));
        const size_t data = (size_t)chunks_count(len) * ROW_CHUNK_BYTES;
        const size_t leaves = (chunks_count(len) + CHUNKS_PER_LEAF - 1) / CHUNKS_PER_LEAF;
        if (chunks_bytes(&c) > data + data / 16 + leaves * LEAF_BYTES_MAX)
            fail_msg("%zu bytes take %zu", len, chunks_bytes(&c));
        chunks_deinit(&c);
    }
    mem_free(value);
}

static void parts_of_it_are_changed_in_place(void **state UNUSED)
{
    uint8_t *value = random_value(LEN_MAX);

    for (size_t len = LEN_MIN; len <= LEN_MAX; len += 7919) {
        struct chunks c;
        chunks_init(&c);
        chunks_set(&c, bytes_of(value, len), tag_of(77, 1));
        for (uint32_t i = 0; i < chunks_count(len); i += 3) {
            uint8_t *data = chunks_edit(&c, i, tag_of(78, 1));
            data[0] ^= 0xff;
            value[(size_t)i * ROW_CHUNK_BYTES] ^= 0xff;
        }
        expect_u64(c.dirty, chunks_count(len));
        expect_chunks(&c, value, 0, len);
        chunks_deinit(&c);
    }
    mem_free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_found_whole_whatever_its_length),
        cmocka_unit_test(a_value_takes_little_beyond_its_chunks),
        cmocka_unit_test(parts_of_it_are_changed_in_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
