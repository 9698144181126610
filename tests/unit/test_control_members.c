/*
 * The membership as a value: changes, bytes, lineages, differences.
 */
#include <stdlib.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/group/membership.h"

#include "tests/lib/tcase.h"

struct fixture {
    struct membership *a;
    struct membership *b;
    struct membership *c;
    struct buf bytes;
    struct buf text;
};

static const struct membership_config config = {.sku = "A250",
                                                .maxmemory_bytes = 1000,
                                                .maxflash_bytes = 10000,
                                                .eviction = "noeviction",
                                                .clustering = "enterprise",
                                                .shards = 3,
                                                .modules = "",
                                                .tls = false};
static const uint8_t group_id[MEMBERSHIP_ID_BYTES] = {1, 2, 3};

static void encode(struct fixture *f, struct membership *m)
{
    buf_clear(&f->bytes);
    assert_int_equal(membership_encode(m, &f->bytes), 0);
}

static uint8_t add(struct membership *m, const char *name, enum membership_state state)
{
    return membership_add(m, UINT64_C(100) + m->count, bytes_cstr(name), bytes_cstr(name), state);
}

/* One member, epoch 1. */
static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->a = mem_zalloc(sizeof(*f->a));
    f->b = mem_zalloc(sizeof(*f->b));
    f->c = mem_zalloc(sizeof(*f->c));
    buf_init(&f->bytes, MEMBERSHIP_BYTES_MAX);
    buf_init(&f->text, 512);
    membership_found(f->a, group_id, 77, BYTES_LIT("group"), &config);
    expect_u64(add(f->a, "east", MEMBERSHIP_ACTIVE), 1);
    encode(f, f->a);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buf_deinit(&f->bytes);
    buf_deinit(&f->text);
    mem_free(f->a);
    mem_free(f->b);
    mem_free(f->c);
    mem_free(f);
    return 0;
}

/* `into` is the next epoch of `from`, with one more member. */
static void next_with(struct fixture *f, struct membership *into, const struct membership *from,
                      const char *name)
{
    membership_copy(into, from);
    membership_next(into);
    assert_int_not_equal(add(into, name, MEMBERSHIP_ACTIVE), 0);
    encode(f, into);
}

static void names_are_letters_digits_and_single_hyphens(void **state)
{
    (void)state;
    assert_true(membership_name_valid(BYTES_LIT("eu-west-1")));
    assert_true(membership_name_valid(BYTES_LIT("x")));
    assert_false(membership_name_valid(BYTES_LIT("")));
    assert_false(membership_name_valid(BYTES_LIT("-a")));
    assert_false(membership_name_valid(BYTES_LIT("a-")));
    assert_false(membership_name_valid(BYTES_LIT("a--b")));
    assert_false(membership_name_valid(BYTES_LIT("a_b")));
    assert_false(membership_name_valid(
        BYTES_LIT("0123456789012345678901234567890123456789012345678901234567890")));
}

static void what_is_encoded_is_decoded(void **state)
{
    static const uint64_t seqs[3] = {5, 0, UINT64_MAX};
    struct fixture *f = *state;

    next_with(f, f->b, f->a, "west");
    membership_next(f->b);
    membership_seal(f->b, 1, MEMBERSHIP_SEALED, seqs);
    f->b->flush_epoch = 9;
    encode(f, f->b);

    assert_int_equal(membership_decode(buf_bytes(&f->bytes), f->c), 0);

    expect_u64(f->c->epoch, 3);
    expect_u64(f->c->flush_epoch, 9);
    expect_u64(f->c->sum, f->b->sum);
    expect_u64(f->c->count, 2);
    expect_str(f->c->at[1].name, "west");
    expect_u64(f->c->at[0].state, MEMBERSHIP_SEALED);
    expect_u64(f->c->at[0].sealed_seq[2], UINT64_MAX);
    expect_u64(f->c->config.shards, 3);
}

static void every_damaged_byte_is_noticed(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < f->bytes.len; i++) {
        f->bytes.ptr[i] ^= 0x10;
        assert_int_equal(membership_decode(buf_bytes(&f->bytes), f->c), -ERR_CORRUPT);
        f->bytes.ptr[i] ^= 0x10;
        assert_int_equal(membership_decode(bytes_of(f->bytes.ptr, i), f->c), -ERR_CORRUPT);
    }
    assert_int_equal(membership_decode(buf_bytes(&f->bytes), f->c), 0);
}

static void there_is_no_sixth_member(void **state)
{
    static const uint64_t seqs[3] = {1, 1, 1};
    struct fixture *f = *state;

    for (unsigned i = 0; i < 4; i++) {
        const char name[] = {'n', (char)('0' + i), '\0'};
        assert_int_not_equal(add(f->a, name, MEMBERSHIP_JOINING), 0);
    }
    assert_int_equal(add(f->a, "sixth", MEMBERSHIP_JOINING), 0);
    membership_seal(f->a, 3, MEMBERSHIP_LEFT, seqs);
    expect_u64(add(f->a, "sixth", MEMBERSHIP_JOINING), 6); /* A number of its own. */
}

static void a_name_is_free_again_when_its_member_is_gone(void **state)
{
    static const uint64_t seqs[3] = {1, 1, 1};
    struct fixture *f = *state;

    membership_seal(f->a, 1, MEMBERSHIP_SEALED, seqs);
    expect_u64(membership_by_name(f->a, BYTES_LIT("east")), 0);
    expect_u64(add(f->a, "east", MEMBERSHIP_ACTIVE), 2);
    expect_u64(membership_by_name(f->a, BYTES_LIT("east")), 2);
    expect_u64(membership_by_incarnation(f->a, 100), 1);
}

static void a_later_epoch_continues_the_earlier(void **state)
{
    struct fixture *f = *state;

    next_with(f, f->b, f->a, "west");
    assert_int_equal(membership_compare(f->a, f->b), MEMBERSHIP_OLDER);
    assert_int_equal(membership_compare(f->b, f->a), MEMBERSHIP_NEWER);
    assert_int_equal(membership_compare(f->b, f->b), MEMBERSHIP_SAME);
    next_with(f, f->c, f->b, "north");
    assert_int_equal(membership_compare(f->a, f->c), MEMBERSHIP_OLDER);
    f->c->group_id[0] ^= 1;
    assert_int_equal(membership_compare(f->a, f->c), MEMBERSHIP_OTHER);
}

static void the_next_epoch_must_name_the_sum_of_this(void **state)
{
    struct fixture *f = *state;

    next_with(f, f->b, f->a, "west");
    f->b->prev_sum ^= 1;
    assert_int_equal(membership_compare(f->a, f->b), MEMBERSHIP_FORKED);
}

static void what_was_forced_apart_stays_apart(void **state)
{
    static const uint64_t seqs[3] = {1, 1, 1};
    struct fixture *f = *state;

    next_with(f, f->b, f->a, "west");
    /* East forces west out, west forces east out. */
    membership_copy(f->a, f->b);
    membership_next(f->a);
    membership_seal(f->a, 2, MEMBERSHIP_SEALED, seqs);
    membership_fork(f->a, 1000);
    encode(f, f->a);
    assert_int_equal(membership_compare(f->b, f->a), MEMBERSHIP_OLDER);
    membership_copy(f->c, f->b);
    membership_next(f->c);
    membership_seal(f->c, 1, MEMBERSHIP_SEALED, seqs);
    membership_fork(f->c, 2000);
    encode(f, f->c);

    assert_int_equal(membership_compare(f->a, f->c), MEMBERSHIP_FORKED);
    next_with(f, f->b, f->c, "north");
    assert_int_equal(membership_compare(f->a, f->b), MEMBERSHIP_FORKED);
    assert_int_equal(membership_compare(f->c, f->b), MEMBERSHIP_OLDER);
}

static void every_difference_of_the_configuration_is_listed(void **state)
{
    struct fixture *f = *state;
    struct membership_config other = config;

    assert_false(membership_config_diff(&config, &config, &f->text));
    other.maxmemory_bytes = 5;
    other.shards = 1;
    other.tls = true;
    memcpy(other.modules, "json", 5);
    assert_true(membership_config_diff(&other, &config, &f->text));
    expect_bytes(buf_bytes(&f->text),
                 BYTES_LIT("maxmemory is 5 here and 1000 in the group; shards is 1 here and 3 in "
                           "the group; modules is json here and none in the group; tls is on here "
                           "and off in the group"));
}

static void a_difference_is_one_though_its_text_does_not_fit(void **state)
{
    struct membership_config other = config;
    struct buf little;

    (void)state;
    buf_init(&little, 3);
    other.maxflash_bytes = 5;
    assert_true(membership_config_diff(&other, &config, &little));
    other = config;
    other.tls = true;
    assert_true(membership_config_diff(&other, &config, &little));
    assert_false(membership_config_diff(&config, &config, &little));
    buf_deinit(&little);
}

static void a_shard_sees_its_own_ends(void **state)
{
    static const uint64_t seqs[3] = {5, 6, 7};
    struct fixture *f = *state;
    struct members seen;

    assert_int_not_equal(add(f->a, "west", MEMBERSHIP_JOINING), 0);
    membership_seal(f->a, 1, MEMBERSHIP_LEFT, seqs);
    membership_shard(f->a, 2, &seen);
    expect_u64(seen.epoch, 1);
    expect_u64(seen.count, 2);
    expect_u64(seen.at[0].state, MEMBER_SEALED);
    expect_u64(seen.at[0].sealed_seq, 7);
    expect_u64(seen.at[1].state, MEMBER_JOINING);
    expect_u64(seen.at[1].origin, 2);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(names_are_letters_digits_and_single_hyphens),
        CASE(what_is_encoded_is_decoded),
        CASE(every_damaged_byte_is_noticed),
        CASE(there_is_no_sixth_member),
        CASE(a_name_is_free_again_when_its_member_is_gone),
        CASE(a_later_epoch_continues_the_earlier),
        CASE(the_next_epoch_must_name_the_sum_of_this),
        CASE(what_was_forced_apart_stays_apart),
        CASE(every_difference_of_the_configuration_is_listed),
        CASE(a_difference_is_one_though_its_text_does_not_fit),
        CASE(a_shard_sees_its_own_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
