/*
 * Glob patterns, by example and against the recursive definition.
 */
#include <ctype.h>

#include "engine/base/mem.h"

#include "server/glob.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

struct glob_case {
    struct bytes pattern;
    struct bytes text;
    bool match;
};

static void patterns_match_as_in_redis(void **state UNUSED)
{
    static const struct glob_case cases[] = {
        {BYTES_INIT("*"), BYTES_INIT("anything"), true},
        {BYTES_INIT("foo*"), BYTES_INIT("foobar"), true},
        {BYTES_INIT("foo*"), BYTES_INIT("foo"), true},
        {BYTES_INIT("foo*"), BYTES_INIT("fo"), false},
        {BYTES_INIT("*foo*bar**"), BYTES_INIT("xxfooyybar"), true},
        {BYTES_INIT("h?llo"), BYTES_INIT("hello"), true},
        {BYTES_INIT("h?llo"), BYTES_INIT("hllo"), false},
        {BYTES_INIT("h[ae]llo"), BYTES_INIT("hallo"), true},
        {BYTES_INIT("h[ae]llo"), BYTES_INIT("hillo"), false},
        {BYTES_INIT("h[^e]llo"), BYTES_INIT("hallo"), true},
        {BYTES_INIT("h[^e]llo"), BYTES_INIT("hello"), false},
        {BYTES_INIT("h[a-c]llo"), BYTES_INIT("hbllo"), true},
        {BYTES_INIT("h[c-a]llo"), BYTES_INIT("hbllo"), true},
        {BYTES_INIT("a\\*c"), BYTES_INIT("a*c"), true},
        {BYTES_INIT("a\\*c"), BYTES_INIT("abc"), false},
        {BYTES_INIT("a[\\]]c"), BYTES_INIT("a]c"), true},
        {BYTES_INIT("a[\\-x]c"), BYTES_INIT("a-c"), true},
        {BYTES_INIT("a\0*"), BYTES_INIT("a\0b"), true},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(glob_match(cases[i].pattern, cases[i].text, false), cases[i].match);
}

static void odd_patterns_get_the_answers_of_redis(void **state UNUSED)
{
    static const struct glob_case cases[] = {
        {BYTES_INIT(""), BYTES_INIT(""), true},
        {BYTES_INIT("*"), BYTES_INIT(""), false},
        {BYTES_INIT(""), BYTES_INIT("a"), false},
        {BYTES_INIT("["), BYTES_INIT("["), false},
        {BYTES_INIT("[^"), BYTES_INIT("x"), true},
        {BYTES_INIT("[abc"), BYTES_INIT("c"), true},
        {BYTES_INIT("[a-"), BYTES_INIT("-"), true},
        {BYTES_INIT("[]a]"), BYTES_INIT("a"), false},
        {BYTES_INIT("a\\"), BYTES_INIT("a\\"), true},
        {BYTES_INIT("[\\"), BYTES_INIT("\\"), true},
        {BYTES_INIT("[a-\xff]"), BYTES_INIT("b"), false},
        {BYTES_INIT("[a-\xff]"), BYTES_INIT("0"), true},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(glob_match(cases[i].pattern, cases[i].text, false), cases[i].match);
}

static void case_is_ignored_on_request(void **state UNUSED)
{
    assert_true(glob_match(BYTES_LIT("MAX*"), BYTES_LIT("maxmemory"), true));
    assert_false(glob_match(BYTES_LIT("MAX*"), BYTES_LIT("maxmemory"), false));
    assert_true(glob_match(BYTES_LIT("[A-C]x"), BYTES_LIT("bX"), true));
    assert_false(glob_match(BYTES_LIT("[\\A]"), BYTES_LIT("a"), true));
}

static void prefixes_end_at_the_first_special_byte(void **state UNUSED)
{
    expect_u64(glob_prefix_len(BYTES_LIT("user:*")), 5);
    expect_u64(glob_prefix_len(BYTES_LIT("a\\*")), 1);
    expect_u64(glob_prefix_len(BYTES_LIT("")), 0);
    assert_true(glob_is_literal(BYTES_LIT("abc")));
    assert_false(glob_is_literal(BYTES_LIT("a?c")));
}

static void hostile_patterns_take_bounded_time(void **state UNUSED)
{
    const size_t len = 60000;
    uint8_t *pattern = mem_alloc(len);
    uint8_t *text = mem_alloc(len);

    memset(text, 'a', len);
    /* The exponential case of a recursive matcher. */
    for (size_t i = 0; i < len; i++)
        pattern[i] = i % 2 == 0 ? 'a' : '*';
    pattern[len - 1] = 'b';
    assert_false(glob_match(bytes_of(pattern, len), bytes_of(text, len), false));
    /* The quadratic case of this one. */
    memset(pattern, 'a', len);
    pattern[0] = '*';
    pattern[len / 2] = 'b';
    assert_false(glob_match(bytes_of(pattern, len), bytes_of(text, len), false));
    /* A class is as expensive as it is long. */
    pattern[1] = '[';
    memset(pattern + 2, 'x', len - 2);
    assert_false(glob_match(bytes_of(pattern, len), bytes_of(text, len), false));
    mem_free(pattern);
    mem_free(text);
}

/* "*?" or "**?" so many times. */
static size_t fill_stars(uint8_t *pattern, size_t times, bool twice)
{
    size_t len = 0;

    for (size_t i = 0; i < times; i++) {
        pattern[len++] = '*';
        if (twice)
            pattern[len++] = '*';
        pattern[len++] = '?';
    }
    return len;
}

static void as_many_stars_count_as_in_redis(void **state UNUSED)
{
    const size_t max = GLOB_STARS_MAX;
    uint8_t *pattern = mem_alloc(3 * max + 8);
    uint8_t *text = mem_alloc(2 * max);

    memset(text, 'a', 2 * max);
    for (int twice = 0; twice < 2; twice++) {
        size_t len = fill_stars(pattern, max, twice != 0);
        assert_true(glob_match(bytes_of(pattern, len), bytes_of(text, max), false));
        assert_true(glob_match(bytes_of(pattern, len), bytes_of(text, 2 * max), false));
        /* The last one of a pattern asks for nothing behind it. */
        pattern[len] = '*';
        assert_true(glob_match(bytes_of(pattern, len + 1), bytes_of(text, 2 * max), false));
        len = fill_stars(pattern, max + 1, twice != 0);
        assert_false(glob_match(bytes_of(pattern, len), bytes_of(text, 2 * max), false));
    }
    mem_free(pattern);
    mem_free(text);
}

/*
 * The definition, by recursion over the pattern, for short patterns: what each element means is
 * decided here on its own.
 */
static bool model_class(const char **p, uint8_t c, bool nocase)
{
    const char *at = *p;
    const bool negated = *at == '^';
    bool match = false;

    at += negated;
    for (; *at != '\0' && *at != ']'; at++) {
        const int low = nocase ? tolower(at[0]) : at[0];
        if (at[0] == '\\' && at[1] != '\0') {
            at++;
            match |= (uint8_t)*at == c;
        } else if (at[1] == '-' && at[2] != '\0') {
            const int first = at[0] > at[2] ? at[2] : at[0];
            const int last = at[0] > at[2] ? at[0] : at[2];
            const int value = nocase ? tolower(c) : c;
            match |= value >= (nocase ? tolower(first) : first) &&
                     value <= (nocase ? tolower(last) : last);
            at += 2;
        } else {
            match |= low == (nocase ? tolower(c) : c);
        }
    }
    *p = *at == ']' ? at + 1 : at;
    return match != negated;
}

/* NOLINTNEXTLINE(misc-no-recursion): the naive definition is the point. */
static bool model_match(const char *p, const char *t, bool nocase)
{
    if (*p == '\0')
        return *t == '\0';
    if (*p == '*') {
        for (;; t++) {
            if (model_match(p + 1, t, nocase))
                return true;
            if (*t == '\0')
                return false;
        }
    }
    if (*t == '\0')
        return false;
    if (*p == '?')
        return model_match(p + 1, t + 1, nocase);
    if (*p == '[') {
        p++;
        const bool match = model_class(&p, (uint8_t)*t, nocase);
        return match && model_match(p, t + 1, nocase);
    }
    if (*p == '\\' && p[1] != '\0')
        p++;
    if ((nocase ? tolower(*p) : *p) != (nocase ? tolower(*t) : *t))
        return false;
    return model_match(p + 1, t + 1, nocase);
}

static void random_patterns_match_what_the_definition_says(void **state UNUSED)
{
    static const char pattern_letters[] = "aabB***??[[]]^-\\c";
    static const char text_letters[] = "aaabBc-]\\";
    uint64_t matches = 0;
    struct rng rng;

    seed_rng(&rng, 1);
    for (int round = 0; round < 300000; round++) {
        char pattern[12] = {0};
        char text[8] = {0};
        const size_t pattern_len = rng_below(&rng, sizeof(pattern));
        const size_t text_len = 1 + rng_below(&rng, sizeof(text) - 1);
        const bool nocase = rng_below(&rng, 2) == 0;

        for (size_t i = 0; i < pattern_len; i++)
            pattern[i] = pattern_letters[rng_below(&rng, sizeof(pattern_letters) - 1)];
        for (size_t i = 0; i < text_len; i++)
            text[i] = text_letters[rng_below(&rng, sizeof(text_letters) - 1)];
        const bool want = model_match(pattern, text, nocase);
        matches += want;
        if (glob_match(bytes_cstr(pattern), bytes_cstr(text), nocase) != want)
            fail_msg("pattern '%s' text '%s' nocase %d want %d", pattern, text, nocase, want);
    }
    /* The letters are chosen so that both answers are frequent. */
    assert_true(matches > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_in_redis),
        cmocka_unit_test(odd_patterns_get_the_answers_of_redis),
        cmocka_unit_test(case_is_ignored_on_request),
        cmocka_unit_test(prefixes_end_at_the_first_special_byte),
        cmocka_unit_test(hostile_patterns_take_bounded_time),
        cmocka_unit_test(as_many_stars_count_as_in_redis),
        cmocka_unit_test(random_patterns_match_what_the_definition_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
