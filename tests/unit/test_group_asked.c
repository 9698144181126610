/* Questions to all shards: which answers count. */
#include <string.h>

#include "server/group_asked.h"

#include "tests/lib/tcase.h"

static void the_last_answer_ends_a_question(void **state)
{
    struct group_asked asked = {0};

    (void)state;
    assert_false(group_asked_answer(&asked, 2, 0, 0, 7)); /* Nobody has asked. */
    const uint32_t round = group_asked_begin(&asked);
    assert_false(group_asked_answer(&asked, 2, 1, round, 5));
    assert_false(group_asked_answer(&asked, 2, 1, round, 6)); /* Of the same shard. */
    assert_true(group_asked_answer(&asked, 2, 0, round, 7));
    expect_u64(asked.seqs[0], 7);
    expect_u64(asked.seqs[1], 6);
    assert_false(group_asked_answer(&asked, 2, 0, round, 8));
}

static void an_answer_to_an_earlier_question_does_not_count(void **state)
{
    struct group_asked asked = {0};

    (void)state;
    const uint32_t first = group_asked_begin(&asked);
    assert_false(group_asked_answer(&asked, 2, 0, first, 3));
    const uint32_t second = group_asked_begin(&asked);
    assert_false(group_asked_answer(&asked, 2, 1, first, 4)); /* It was in the mailbox. */
    assert_false(group_asked_answer(&asked, 2, 0, second, 9));
    assert_true(group_asked_answer(&asked, 2, 1, second, 8));
    expect_u64(asked.seqs[0], 9);
    expect_u64(asked.seqs[1], 8);
}

static void a_round_is_never_zero(void **state)
{
    struct group_asked asked = {.round = UINT32_MAX};

    (void)state;
    expect_u64(group_asked_begin(&asked), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_answer_ends_a_question),
        cmocka_unit_test(an_answer_to_an_earlier_question_does_not_count),
        cmocka_unit_test(a_round_is_never_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
