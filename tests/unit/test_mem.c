/*
 * Allocation, checked arithmetic, figures, injected faults.
 */
#include "engine/base/mem.h"

#include "tests/lib/tcase.h"

static void blocks_hold_what_was_asked_for(void **state UNUSED)
{
    uint8_t *ptr = mem_alloc(100);

    memset(ptr, 0xaa, 100);
    assert_true(mem_usable(ptr) >= 100);
    ptr = mem_realloc(ptr, 10000);
    expect_u64(ptr[99], 0xaa);
    assert_true(mem_usable(ptr) >= 10000);
    mem_free(ptr);
    mem_free(NULL);
    expect_u64(mem_usable(NULL), 0);
}

static void a_block_of_no_bytes_can_be_freed(void **state UNUSED)
{
    void *ptr = mem_alloc(0);

    assert_non_null(ptr);
    ptr = mem_realloc(ptr, 0);
    assert_non_null(ptr);
    mem_free(ptr);
    void *tried = mem_try_realloc(NULL, 0);
    assert_non_null(tried);
    mem_free(tried);
}

static void zeroed_blocks_are_zero(void **state UNUSED)
{
    static const uint8_t zeros[300];
    uint8_t *block = mem_zalloc(300);
    uint8_t *array = mem_zalloc_array(3, 100);
    uint8_t *tried = mem_try_zalloc(300);

    assert_memory_equal(block, zeros, 300);
    assert_memory_equal(array, zeros, 300);
    assert_non_null(tried);
    assert_memory_equal(tried, zeros, 300);
    mem_free(block);
    mem_free(array);
    mem_free(tried);
}

static void aligned_blocks_are_aligned(void **state UNUSED)
{
    for (size_t alignment = sizeof(void *); alignment <= 65536; alignment *= 2) {
        void *ptr = mem_alloc_aligned(alignment, 100);
        expect_u64((uintptr_t)ptr % alignment, 0);
        mem_free(ptr);
    }
}

static void copies_of_text_are_their_own(void **state UNUSED)
{
    const char *text = "text";
    char *copy = mem_strdup(text);

    assert_ptr_not_equal(copy, text);
    expect_str(copy, "text");
    mem_free(copy);
}

static void overflow_of_sizes_is_noticed(void **state UNUSED)
{
    size_t out = 0;

    assert_false(size_add_overflow(SIZE_MAX - 1, 1, &out));
    expect_u64(out, SIZE_MAX);
    assert_true(size_add_overflow(SIZE_MAX, 1, &out));
    assert_false(size_mul_overflow(SIZE_MAX / 3, 3, &out));
    assert_true(size_mul_overflow(SIZE_MAX / 2, 3, &out));
    assert_false(size_mul_overflow(SIZE_MAX, 0, &out));
    expect_u64(out, 0);
}

/* Bit i is set if call number i + 1 failed. */
static unsigned try_calls(unsigned count)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < count; i++) {
        void *ptr = mem_try_alloc(8);
        failed |= (ptr == NULL ? 1u : 0u) << i;
        mem_free(ptr);
    }
    return failed;
}

static void the_nth_try_fails_and_the_repeats_after_it(void **state UNUSED)
{
    mem_fault_set(3, 0);
    expect_u64(try_calls(6), 0x04);
    expect_u64(mem_fault_hits(), 1);
    mem_fault_set(2, 2);
    expect_u64(try_calls(6), 0x0e);
    expect_u64(mem_fault_hits(), 3);
    mem_fault_set(10, 0);
    expect_u64(try_calls(6), 0);
    expect_u64(mem_fault_hits(), 0);
    mem_fault_set(0, 0);
    expect_u64(try_calls(6), 0);
}

static void faults_strike_all_try_functions_and_no_others(void **state UNUSED)
{
    void *ptr = mem_alloc(8);

    mem_fault_set(1, 100);
    assert_null(mem_try_alloc(8));
    assert_null(mem_try_zalloc(8));
    assert_null(mem_try_realloc(ptr, 800));
    mem_free(mem_alloc(8));
    mem_free(mem_zalloc(8));
    mem_fault_set(0, 0);

    /* The block is still there: the sanitizer would tell. */
    ptr = mem_try_realloc(ptr, 800);
    assert_non_null(ptr);
    mem_free(ptr);
}

static void figures_follow_a_large_block(void **state UNUSED)
{
    const size_t size = 64 << 20;
    struct mem_stats before;
    struct mem_stats after;

    mem_stats(&before);
    const uint64_t rss_before = mem_rss_bytes();
    uint8_t *ptr = mem_alloc(size);
    memset(ptr, 1, size);
    mem_stats(&after);

    assert_true(rss_before > 0);
    assert_true(mem_rss_bytes() >= rss_before + size / 2);
    /* The heap of a sanitizer answers with zeros. */
    if (before.allocated != 0)
        assert_true(after.allocated >= before.allocated + size);
    mem_free(ptr);
    mem_purge();
    assert_true(strlen(mem_allocator()) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_hold_what_was_asked_for),
        cmocka_unit_test(a_block_of_no_bytes_can_be_freed),
        cmocka_unit_test(zeroed_blocks_are_zero),
        cmocka_unit_test(aligned_blocks_are_aligned),
        cmocka_unit_test(copies_of_text_are_their_own),
        cmocka_unit_test(overflow_of_sizes_is_noticed),
        cmocka_unit_test(the_nth_try_fails_and_the_repeats_after_it),
        cmocka_unit_test(faults_strike_all_try_functions_and_no_others),
        cmocka_unit_test(figures_follow_a_large_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
