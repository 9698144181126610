/*
 * Digests of a group: messages, and which differences count.
 */
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

#include "replication/group/digest.h"

#include "tests/lib/tcase.h"

#define BUCKET 7u

struct fixture {
    struct digest_side *a;
    struct digest_side *b;
    struct digest_side *a_before;
    struct digest_side *b_before;
    struct buf message;
};

/* One shard, one origin. */
static struct digest_side *side_of(uint64_t lower, uint64_t upper, uint64_t sum)
{
    struct digest_side *side = digest_side_create();

    side->end = ROW_SUM_BUCKETS;
    side->shards_count = 1;
    side->sums[BUCKET] = sum;
    assert_int_equal(posv_set(&side->lower[0], 1, (struct pos){lower, lower}), 0);
    assert_int_equal(posv_set(&side->upper[0], 1, (struct pos){upper, upper}), 0);
    return side;
}

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){.a = NULL};
    buf_init(&f.message, SIZE_MAX);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    digest_side_destroy(f->a);
    digest_side_destroy(f->b);
    digest_side_destroy(f->a_before);
    digest_side_destroy(f->b_before);
    buf_deinit(&f->message);
    return 0;
}

static enum digest_verdict judge(const struct fixture *f)
{
    return digest_judge(BUCKET, f->a, f->b, f->a_before, f->b_before);
}

static void at_one_position_a_difference_is_one(void **state)
{
    struct fixture *f = *state;

    f->a = side_of(5, 5, 1);
    f->b = side_of(5, 5, 2);
    assert_int_equal(judge(f), DIGEST_DIFFERS);
    assert_true(digest_overlap(f->a, f->b));
    f->b->sums[BUCKET] = 1;
    assert_int_equal(judge(f), DIGEST_SAME);
}

static void while_ops_come_a_difference_may_pass(void **state)
{
    struct fixture *f = *state;

    f->a = side_of(5, 6, 1);
    f->b = side_of(5, 5, 2);
    assert_int_equal(judge(f), DIGEST_MOVING);
    assert_true(digest_overlap(f->a, f->b));
    digest_side_destroy(f->b);
    f->b = side_of(7, 8, 1);
    assert_int_equal(judge(f), DIGEST_SAME);
    assert_false(digest_overlap(f->a, f->b));
}

static void what_stays_different_while_other_ops_come_differs(void **state)
{
    struct fixture *f = *state;

    f->a_before = side_of(5, 6, 1);
    f->b_before = side_of(4, 7, 2);
    f->a = side_of(7, 9, 1);
    f->b = side_of(6, 8, 2);
    assert_int_equal(judge(f), DIGEST_DIFFERS);
    /* B had not got yet what A had. */
    digest_side_destroy(f->b);
    f->b = side_of(5, 8, 2);
    assert_int_equal(judge(f), DIGEST_MOVING);
    /* It has changed since. */
    digest_side_destroy(f->b);
    f->b = side_of(6, 8, 3);
    assert_int_equal(judge(f), DIGEST_MOVING);
}

static void of_two_flush_epochs_nothing_is_told(void **state)
{
    struct fixture *f = *state;

    f->a = side_of(5, 5, 1);
    f->b = side_of(5, 5, 2);
    f->b->flush = 1;
    assert_int_equal(judge(f), DIGEST_MOVING);
    assert_false(digest_overlap(f->a, f->b));
}

static const struct digest_head some_head = {
    .origin = 3, .group_id = {1, 2, 3}, .number = 0x1122334455667788};

static struct bytes opened(const struct fixture *f, uint8_t kind)
{
    struct digest_head head;
    struct bytes body;

    assert_true(digest_is_message(buf_bytes(&f->message)));
    assert_int_equal(digest_open(buf_bytes(&f->message), &head, &body), 0);
    assert_int_equal(head.kind, kind);
    assert_int_equal(head.origin, 3);
    expect_u64(head.number, some_head.number);
    assert_memory_equal(head.group_id, some_head.group_id, sizeof(head.group_id));
    return body;
}

static void a_question_is_read_as_it_was_written(void **state)
{
    struct fixture *f = *state;
    const struct digest_ask ask = {.at_ms = 99, .first = 3, .end = 4, .names_bytes_max = 1000};
    struct digest_ask read;

    assert_int_equal(digest_put_ask(&some_head, &ask, &f->message), 0);
    assert_int_equal(digest_get_ask(opened(f, DIGEST_ASK), &read), 0);
    expect_u64(read.at_ms, 99);
    assert_int_equal(read.first, 3);
    assert_int_equal(read.end, 4);
    assert_int_equal(read.names_bytes_max, 1000);
}

static void an_answer_is_read_as_it_was_written(void **state)
{
    struct fixture *f = *state;
    static const uint8_t names[] = {9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 'k', 'e', 'y'};
    struct bytes in, name;
    uint64_t sum;

    f->a = side_of(5, 6, 77);
    f->a->keys = 12;
    f->a->damaged = 1;
    f->a->names_cut = true;
    f->a->flush = 4;
    assert_int_equal(buf_append(&f->a->names, names, sizeof(names)), 0);
    assert_int_equal(digest_put_answer(&some_head, f->a, &f->message), 0);
    f->b = digest_side_create();
    assert_int_equal(digest_get_answer(opened(f, DIGEST_ANSWER), f->b), 0);
    assert_int_equal(f->b->status, DIGEST_OK);
    expect_u64(f->b->keys, 12);
    expect_u64(f->b->damaged, 1);
    assert_true(f->b->names_cut);
    assert_int_equal(f->b->flush, 4);
    assert_memory_equal(f->b->sums, f->a->sums, sizeof(f->a->sums));
    expect_u64(posv_get(&f->b->lower[0], 1).seq, 5);
    expect_u64(posv_get(&f->b->upper[0], 1).seq, 6);
    in = buf_bytes(&f->b->names);
    assert_true(digest_next_name(&in, &name, &sum));
    expect_bytes(name, BYTES_LIT("key"));
    expect_u64(sum, 9);
    assert_false(digest_next_name(&in, &name, &sum));
    f->b->status = DIGEST_BUSY;
    assert_int_equal(digest_put_answer(&some_head, f->b, &f->message), 0);
    assert_int_equal(digest_get_answer(opened(f, DIGEST_ANSWER), f->a), 0);
    assert_int_equal(f->a->status, DIGEST_BUSY);
}

static void seal(struct buf *message)
{
    le64_store(message->ptr + 8,
               sum64_seed(message->ptr + 16, message->len - 16, le64_load(message->ptr)));
}

static void damaged_messages_are_refused(void **state)
{
    struct fixture *f = *state;
    struct digest_head head;
    struct bytes body;

    f->a = side_of(5, 6, 77);
    f->b = digest_side_create();
    assert_int_equal(digest_put_answer(&some_head, f->a, &f->message), 0);
    const size_t len = f->message.len;
    for (size_t i = 0; i < len; i++) {
        f->message.ptr[i] ^= 0x10;
        assert_true(digest_open(buf_bytes(&f->message), &head, &body) != 0);
        f->message.ptr[i] ^= 0x10;
    }
    /* Cut anywhere, with a sum that fits. */
    for (size_t cut = 40; cut < len; cut++) {
        buf_truncate(&f->message, cut);
        seal(&f->message);
        assert_int_equal(digest_open(buf_bytes(&f->message), &head, &body), 0);
        assert_true(digest_get_answer(body, f->b) != 0 || f->b->status != DIGEST_OK);
        f->message.len = len;
    }
    /* Numbers beyond their limits. */
    static const struct {
        size_t at;
        uint8_t to;
    } bad[] = {{40, DIGEST_STATUS_END}, {41, 2}, {65, 0xff}, {66, 0}, {67, 0xff}};
    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        const uint8_t keep = f->message.ptr[bad[i].at];
        f->message.ptr[bad[i].at] = bad[i].to;
        seal(&f->message);
        assert_int_equal(digest_open(buf_bytes(&f->message), &head, &body), 0);
        assert_int_equal(digest_get_answer(body, f->b), -ERR_CORRUPT);
        f->message.ptr[bad[i].at] = keep;
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(at_one_position_a_difference_is_one),
        TEST(while_ops_come_a_difference_may_pass),
        TEST(what_stays_different_while_other_ops_come_differs),
        TEST(of_two_flush_epochs_nothing_is_told),
        TEST(a_question_is_read_as_it_was_written),
        TEST(an_answer_is_read_as_it_was_written),
        TEST(damaged_messages_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
