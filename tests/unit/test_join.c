/*
 * Replies of several shards made one, and the ranges of slots that shards own.
 */
#include <string.h>

#include "server/join.h"
#include "server/reply.h"
#include "server/route.h"

#include "tests/lib/tcase.h"

#define PARTS_MAX 3

struct join_case {
    enum join_kind kind;
    const char *part[PARTS_MAX]; /* Up to NULL. */
    const char *joined;
};

static void check(struct join *j, const char *joined)
{
    struct reply out;

    reply_init(&out, 1 << 20, NULL);
    out.proto = 2;
    join_reply(j, &out);
    assert_false(out.failed);
    assert_int_equal(out.out.len, strlen(joined));
    assert_memory_equal(out.out.ptr, joined, strlen(joined));
    reply_deinit(&out);
    join_destroy(j);
}

static struct join *joined(enum join_kind kind, const char *const *part)
{
    uint32_t n = 0;

    while (n < PARTS_MAX && part[n] != NULL)
        n++;
    struct join *j = join_create(kind, n);
    assert_int_equal(join_parts(j), n);
    /* They come in any order. */
    for (uint32_t i = n; i-- != 0;)
        join_add(j, i, bytes_cstr(part[i]));
    return j;
}

static void replies_are_joined_by_kind(void **state UNUSED)
{
    static const struct join_case cases[] = {
        {JOIN_FIRST, {"+OK\r\n", "+OK\r\n"}, "+OK\r\n"},
        {JOIN_FIRST, {"+OK\r\n", "-OOM a\r\n", "-OOM b\r\n"}, "-OOM a\r\n"},
        {JOIN_ANY, {"-ERR no\r\n", "+OK\r\n", "-ERR no\r\n"}, "+OK\r\n"},
        {JOIN_ANY, {"-ERR a\r\n", "-ERR b\r\n"}, "-ERR a\r\n"},
        {JOIN_SUM, {":1\r\n", ":0\r\n", ":41\r\n"}, ":42\r\n"},
        {JOIN_SUM, {":1\r\n", "-ERR a\r\n"}, "-ERR a\r\n"},
        {JOIN_MAX, {":1\r\n", ":7\r\n", ":2\r\n"}, ":7\r\n"},
        {JOIN_ARRAY,
         {"*1\r\n$1\r\na\r\n", "*0\r\n", "*2\r\n$1\r\nb\r\n$0\r\n\r\n"},
         "*3\r\n$1\r\na\r\n$1\r\nb\r\n$0\r\n\r\n"},
        {JOIN_UNION,
         {"*2\r\n$1\r\nb\r\n$1\r\na\r\n", "*0\r\n", "*2\r\n$1\r\nb\r\n$0\r\n\r\n"},
         "*3\r\n$0\r\n\r\n$1\r\na\r\n$1\r\nb\r\n"},
        {JOIN_SUMS,
         {"*4\r\n$1\r\nx\r\n:1\r\n$1\r\ny\r\n:0\r\n", "*4\r\n$1\r\nx\r\n:3\r\n$1\r\ny\r\n:9\r\n"},
         "*4\r\n$1\r\nx\r\n:4\r\n$1\r\ny\r\n:9\r\n"},
        {JOIN_SUMS, {"*0\r\n", "*0\r\n"}, "*0\r\n"},
        {JOIN_LINES,
         {"$19\r\nid=3 x=y\nid=11 x=z\n\r\n", "=9\r\ntxt:id=5\n\r\n", "$0\r\n\r\n"},
         "$24\r\nid=3 x=y\nid=5\nid=11 x=z\n\r\n"},
        {JOIN_NEWEST,
         {"*2\r\n*2\r\n:9\r\n$1\r\na\r\n*2\r\n:2\r\n$1\r\nb\r\n", "*0\r\n",
          "*1\r\n*2\r\n:5\r\n*1\r\n$1\r\nc\r\n"},
         "*3\r\n*2\r\n:9\r\n$1\r\na\r\n*2\r\n:5\r\n*1\r\n$1\r\nc\r\n*2\r\n:2\r\n$1\r\nb\r\n"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        check(joined(cases[i].kind, cases[i].part), cases[i].joined);
}

static void elements_go_to_their_places(void **state UNUSED)
{
    static const char *const part[] = {"*2\r\n$1\r\na\r\n$-1\r\n", "*1\r\n$2\r\n\r\n\r\n", NULL};
    struct join *j = joined(JOIN_PLACE, part);

    join_place(j, 0);
    join_place(j, 1);
    join_place(j, 0);
    check(j, "*3\r\n$1\r\na\r\n$2\r\n\r\n\r\n$-1\r\n");
}

static void no_more_than_the_limit(void **state UNUSED)
{
    static const char *const numbers[] = {":5\r\n", ":6\r\n", NULL};
    static const char *const entries[] = {"*1\r\n*1\r\n:1\r\n", "*1\r\n*1\r\n:2\r\n", NULL};
    struct join *j = joined(JOIN_SUM, numbers);

    join_limit(j, 8);
    check(j, ":8\r\n");
    j = joined(JOIN_NEWEST, entries);
    join_limit(j, 1);
    check(j, "*1\r\n*1\r\n:2\r\n");
}

static void an_element_ends_with_all_that_it_contains(void **state UNUSED)
{
    static const struct {
        const char *text;
        size_t len;
    } cases[] = {
        {"+OK\r\nrest", 5},
        {":1\r\n", 4},
        {"$-1\r\n$1\r\n", 5},
        {"$3\r\na\r\n\r\n:1", 9},
        {"*-1\r\n", 5},
        {"*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n#t\r\n:9", 24},
        {"*2\r\n:1\r\n", 0},
        {"$5\r\nabc", 0},
        {"$5", 0},
        {"", 0},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(join_element_bytes(bytes_cstr(cases[i].text)), cases[i].len);
}

/* Every slot has one owner, owners come in the order of the slots, and first_slot is the border. */
static void shards_own_ranges_of_slots(void **state UNUSED)
{
    for (uint32_t shards = 1; shards <= 256; shards++) {
        assert_int_equal(route_first_slot(0, shards), 0);
        assert_int_equal(route_first_slot(shards, shards), KEY_SLOTS);
        uint32_t owner = 0;
        for (uint32_t slot = 0; slot < KEY_SLOTS; slot++) {
            if (slot == route_first_slot(owner + 1, shards))
                owner++;
            assert_int_equal(route_shard_of((uint16_t)slot, shards), owner);
        }
        assert_int_equal(owner, shards - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_are_joined_by_kind),
        cmocka_unit_test(elements_go_to_their_places),
        cmocka_unit_test(no_more_than_the_limit),
        cmocka_unit_test(an_element_ends_with_all_that_it_contains),
        cmocka_unit_test(shards_own_ranges_of_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
