/*
 * Words with quotes.
 */
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/words.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

/* The words of the line, each behind a '|'; "error" at its end if quotes are not balanced. */
static void split(struct bytes line, struct buf *out)
{
    uint8_t *copy = words_quoted(line) ? mem_alloc(line.len) : NULL;
    uint8_t *scratch = copy;
    struct bytes word;
    size_t at = 0;
    int found;

    while ((found = words_next(line, &at, &scratch, &word)) > 0) {
        assert_int_equal(buf_append_u8(out, '|'), 0);
        assert_int_equal(buf_append_bytes(out, word), 0);
        assert_true(copy == NULL || scratch <= copy + line.len);
    }
    if (found < 0) {
        assert_int_equal(found, -ERR_SYNTAX);
        assert_int_equal(buf_append(out, "error", 5), 0);
    }
    mem_free(copy);
}

static void lines_split_as_in_redis(void **state UNUSED)
{
    static const struct {
        struct bytes line;
        struct bytes words;
    } cases[] = {
        {BYTES_INIT(""), BYTES_INIT("")},
        {BYTES_INIT("  \t "), BYTES_INIT("")},
        {BYTES_INIT("a  bc\td"), BYTES_INIT("|a|bc|d")},
        {BYTES_INIT("a\vb"), BYTES_INIT("|a\vb")},
        {BYTES_INIT("\"a b\" 'c d'"), BYTES_INIT("|a b|c d")},
        {BYTES_INIT("\"\" ''"), BYTES_INIT("||")},
        {BYTES_INIT("\"\\x41\\n\\q\\x4\""), BYTES_INIT("|A\nqx4")},
        {BYTES_INIT("'\\x41\\'\\ '"), BYTES_INIT("|\\x41'\\ ")},
        {BYTES_INIT("a\"b c\""), BYTES_INIT("|ab c")},
        {BYTES_INIT("\"a\"b"), BYTES_INIT("error")},
        {BYTES_INIT("x \"a"), BYTES_INIT("|xerror")},
        {BYTES_INIT("\"a\\"), BYTES_INIT("error")},
        {BYTES_INIT("'a\\'"), BYTES_INIT("error")},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buf out;
        buf_init(&out, 4096);
        split(cases[i].line, &out);
        expect_bytes(buf_bytes(&out), cases[i].words);
        buf_deinit(&out);
    }
}

static void quoting_is_undone_by_splitting(void **state UNUSED)
{
    struct rng rng;

    seed_rng(&rng, 1);
    for (int round = 0; round < 5000; round++) {
        uint8_t value[64];
        struct buf line;
        struct buf out;
        const size_t len = rng_below(&rng, sizeof(value));

        rng_bytes(&rng, value, len);
        buf_init(&line, 4096);
        buf_init(&out, 4096);
        assert_int_equal(words_quote(&line, bytes_of(value, len)), 0);
        split(buf_bytes(&line), &out);
        expect_bytes(bytes_from(buf_bytes(&out), 1), bytes_of(value, len));
        buf_deinit(&line);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_split_as_in_redis),
        cmocka_unit_test(quoting_is_undone_by_splitting),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
