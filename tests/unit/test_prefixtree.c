/*
 * The tree of texts against a plain list of them.
 */
#include <string.h>

#include "engine/base/rng.h"

#include "server/prefixtree.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define TEXTS     200
#define BYTES_MAX 12
#define DEPTH     5000

struct text {
    uint8_t bytes[BYTES_MAX];
    size_t len;
    bool there;
};

/* Of few letters, so that many begin alike; some the same. */
static void make(struct rng *rng, struct text *texts)
{
    static const char letters[] = {'a', 'b', '\0', (char)0xff};

    for (uint32_t i = 0; i < TEXTS; i++) {
        texts[i] = (struct text){.len = (size_t)rng_below(rng, BYTES_MAX + 1)};
        for (size_t k = 0; k < texts[i].len; k++)
            texts[i].bytes[k] = (uint8_t)letters[rng_below(rng, rng_below(rng, 2) == 0 ? 1 : 4)];
    }
}

static struct bytes of(const struct text *text)
{
    return bytes_of(text->bytes, text->len);
}

/* Whether another entry with the same bytes is in the tree. */
static bool there(const struct text *texts, struct bytes text)
{
    for (uint32_t i = 0; i < TEXTS; i++) {
        if (texts[i].there && bytes_eq(of(&texts[i]), text))
            return true;
    }
    return false;
}

static void expect_heads(const struct prefixtree *t, const struct text *texts, struct bytes text)
{
    struct prefixtree_heads heads = prefixtree_heads(t, text);

    for (size_t len = 0; len <= text.len; len++) {
        const struct bytes head = bytes_of(text.ptr, len);
        if (!there(texts, head))
            continue;
        const struct text *found = prefixtree_heads_next(&heads);
        assert_non_null(found);
        expect_bytes(of(found), head);
    }
    assert_null(prefixtree_heads_next(&heads));
}

static void expect_first(const struct prefixtree *t, const struct text *texts, struct bytes head)
{
    const struct text *least = NULL, *found = prefixtree_first_of(t, head);

    for (uint32_t i = 0; i < TEXTS; i++) {
        if (texts[i].there && bytes_starts(of(&texts[i]), head) &&
            (least == NULL || bytes_cmp(of(&texts[i]), of(least)) < 0))
            least = &texts[i];
    }
    assert_ptr_equal(found, least);
}

struct order {
    const struct text *last;
    uint64_t count;
};

static void on_text(void *ctx, void *value)
{
    struct order *order = ctx;
    const struct text *text = value;

    if (order->last != NULL)
        assert_true(bytes_cmp(of(order->last), of(text)) < 0);
    order->last = text;
    order->count++;
}

static void expect_all(const struct prefixtree *t, const struct text *texts)
{
    struct order order = {0};
    uint64_t count = 0;

    for (uint32_t i = 0; i < TEXTS; i++)
        count += texts[i].there;
    prefixtree_each(t, on_text, &order);
    expect_u64(order.count, count);
    expect_u64(t->count, count);
    assert_int_equal(t->bytes == 0, count == 0);
}

static void random_changes_agree_with_a_list(void **state UNUSED)
{
    struct prefixtree t = {0};
    struct text texts[TEXTS];
    struct rng rng;

    seed_rng(&rng, 1);
    make(&rng, texts);
    for (uint32_t n = 0; n < 20000; n++) {
        struct text *text = &texts[rng_below(&rng, TEXTS)];
        /* Now more, now fewer of them. */
        const bool adds = rng_below(&rng, 10) < (n / 2000 % 2 == 0 ? 7 : 3);
        if (text->there && !adds) {
            assert_ptr_equal(prefixtree_remove(&t, of(text)), text);
            text->there = false;
        } else if (!there(texts, of(text))) {
            assert_null(prefixtree_get(&t, of(text)));
            assert_null(prefixtree_remove(&t, of(text)));
            if (adds) {
                prefixtree_add(&t, of(text), text);
                text->there = true;
            }
        }
        const struct bytes other = of(&texts[rng_below(&rng, TEXTS)]);
        expect_heads(&t, texts, other);
        expect_first(&t, texts, other);
        if (n % 100 == 0)
            expect_all(&t, texts);
    }
    prefixtree_deinit(&t);
    expect_all(&t, memset(texts, 0, sizeof(texts)));
}

static void a_tree_may_be_as_deep_as_its_texts_are_long(void **state UNUSED)
{
    static uint8_t text[DEPTH];
    struct prefixtree t = {0};
    uint64_t heads_count = 0;

    memset(text, 'a', sizeof(text));
    for (size_t len = 1; len <= DEPTH; len++)
        prefixtree_add(&t, bytes_of(text, len), text);
    struct prefixtree_heads heads = prefixtree_heads(&t, bytes_of(text, DEPTH));
    while (prefixtree_heads_next(&heads) != NULL)
        heads_count++;
    expect_u64(heads_count, DEPTH);
    for (size_t len = 1; len <= DEPTH; len += 2)
        assert_ptr_equal(prefixtree_remove(&t, bytes_of(text, len)), text);
    expect_u64(t.count, DEPTH / 2);
    prefixtree_deinit(&t);
    expect_u64(t.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_agree_with_a_list),
        cmocka_unit_test(a_tree_may_be_as_deep_as_its_texts_are_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
