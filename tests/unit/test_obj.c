/*
 * Resident blocks: where name, row and collection stand, and changing the length of rows.
 */
#include "engine/base/mem.h"

#include "engine/space/obj.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#ifdef TIERRA_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

static void fill(uint8_t *row, size_t len, uint8_t seed)
{
    for (size_t i = 0; i < len; i++)
        row[i] = (uint8_t)(seed + i * 7);
}

static void check(struct bytes row, size_t len, uint8_t seed)
{
    for (size_t i = 0; i < len; i++)
        expect_u64(row.ptr[i], (uint8_t)(seed + i * 7));
}

static void an_object_has_its_key_row_and_collection(void **state UNUSED)
{
    int anything;
    struct coll *coll = (struct coll *)(void *)&anything;
    struct obj *plain = obj_new(BYTES_LIT("name"), 3, 0, NULL, 5);
    struct obj *with = obj_new(BYTES_LIT("name"), 4, BLK_COLL, coll, 0);

    fill(obj_row_ptr(plain), 5, 1);
    expect_bytes(obj_key(plain), BYTES_LIT("name"));
    expect_u64(obj_row(plain).len, 5);
    check(obj_row(plain), 5, 1);
    expect_u64(plain->h.dirty, 0);
    expect_u64(plain->heat, 0);
    expect_bytes(obj_key(with), BYTES_LIT("name"));
    expect_u64(obj_row(with).len, 0);
    assert_ptr_equal(obj_coll(with), coll);
    mem_free(plain);
    mem_free(with);
}

static void blocks_are_aligned_as_the_tables_want_it(void **state UNUSED)
{
    for (size_t len = 0; len < 300; len++) {
        struct obj *obj = obj_new(bytes_of(NULL, 0), 0, 0, NULL, len);
        struct elem *elem = elem_new(bytes_of(NULL, 0), 0, 0, len);

        expect_u64((uintptr_t)obj & 15, 0);
        expect_u64((uintptr_t)elem & 15, 0);
        mem_free(obj);
        mem_free(elem);
    }
}

static void a_row_keeps_what_both_lengths_have(void **state UNUSED)
{
    uint8_t name[300];
    struct rng rng;

    seed_rng(&rng, 1);
    fill(name, sizeof(name), 9);
    for (int i = 0; i < 300; i++) {
        const struct bytes key = bytes_of(name, rng_below(&rng, sizeof(name)));
        size_t len = rng_below(&rng, 500);
        struct obj *obj = obj_new(key, 1, i % 2 == 0 ? BLK_COLL : 0, NULL, len);
        struct elem *elem = elem_new(key, 1, 0, len);
        fill(obj_row_ptr(obj), len, 5);
        fill(elem_row_ptr(elem), len, 6);
        for (int k = 0; k < 20; k++) {
            const size_t before = len;
            len = rng_below(&rng, k % 5 == 0 ? 20000 : 500);
            obj = obj_resize(obj, len);
            elem = elem_resize(elem, len);
            expect_bytes(obj_key(obj), key);
            expect_bytes(elem_sub(elem), key);
            expect_u64(obj_row(obj).len, len);
            check(obj_row(obj), size_min(before, len), 5);
            check(elem_row(elem), size_min(before, len), 6);
            fill(obj_row_ptr(obj), len, 5);
            fill(elem_row_ptr(elem), len, 6);
#ifdef TIERRA_HAVE_JEMALLOC
            expect_u64(obj_bytes(obj), mem_usable(obj));
            expect_u64(elem_bytes(elem), mem_usable(elem));
#endif
        }
        obj_free(obj);
        elem_free(elem);
    }
}

#ifdef TIERRA_HAVE_JEMALLOC
static void size_classes_are_those_of_the_allocator(void **state UNUSED)
{
    for (size_t size = 1; size < 200000; size++)
        expect_u64(mem_class_bytes(size), nallocx(size, 0));
    for (size_t size = 200000; size < (size_t)1 << 34; size += size / 9)
        expect_u64(mem_class_bytes(size), nallocx(size, 0));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_object_has_its_key_row_and_collection),
        cmocka_unit_test(blocks_are_aligned_as_the_tables_want_it),
        cmocka_unit_test(a_row_keeps_what_both_lengths_have),
#ifdef TIERRA_HAVE_JEMALLOC
        cmocka_unit_test(size_classes_are_those_of_the_allocator),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
