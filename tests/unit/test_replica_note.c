/*
 * What the store says of itself: every byte of it is read again, and none is trusted.
 */
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "replication/replica_impl.h"

#include "tests/lib/tcase.h"

/* Behind two empty vectors, version, flags, flush epoch and an empty `newest`. */
#define VERSION_AT 2u
#define PEERS_AT   9u

static struct replica_note note_of(unsigned peers)
{
    struct replica_note note = {.flush = 3, .acked = {.count = (uint8_t)peers}};

    for (unsigned i = 0; i < peers; i++) {
        note.acked.origin[i] = (uint8_t)(2 + 3 * i);
        for (uint8_t origin = 1; origin <= VV_ORIGINS_MAX; origin++)
            assert_int_equal(posv_raise(&note.acked.durable[i], origin,
                                        (struct pos){100u * i + origin, 1000u + origin}),
                             0);
    }
    return note;
}

static void what_peers_acknowledged_is_read_again(void **state UNUSED)
{
    uint8_t bytes[REPLICA_NOTE_BYTES_MAX];
    struct replica_note got;

    for (unsigned peers = 0; peers <= CORE_PEERS_MAX; peers++) {
        const struct replica_note note = note_of(peers);
        const size_t len = replica_empty_note(&note, bytes);

        assert_in_range(len, 1, sizeof(bytes));
        assert_int_equal(replica_note_parse(bytes_of(bytes, len), &got), 0);
        expect_u64(got.flush, 3);
        assert_false(got.copying);
        assert_int_equal(got.acked.count, peers);
        for (unsigned i = 0; i < peers; i++) {
            assert_int_equal(got.acked.origin[i], note.acked.origin[i]);
            assert_true(posv_leq(&got.acked.durable[i], &note.acked.durable[i]));
            assert_true(posv_leq(&note.acked.durable[i], &got.acked.durable[i]));
        }
    }
}

static void expect_corrupt(const uint8_t *bytes, size_t len)
{
    struct replica_note got;

    assert_int_equal(replica_note_parse(bytes_of(bytes, len), &got), -ERR_CORRUPT);
}

static void damaged_notes_are_refused(void **state UNUSED)
{
    uint8_t good[REPLICA_NOTE_BYTES_MAX + 1], bad[REPLICA_NOTE_BYTES_MAX + 1];
    const struct replica_note note = note_of(2);
    const size_t len = replica_empty_note(&note, good);
    const size_t second = PEERS_AT + 1 + (len - PEERS_AT - 1) / 2;

    for (size_t cut = 1; cut < len; cut++)
        expect_corrupt(good, cut);
    good[len] = 0;
    expect_corrupt(good, len + 1);
    memcpy(bad, good, len);
    bad[VERSION_AT] = 1;
    expect_corrupt(bad, len);
    memcpy(bad, good, len);
    bad[PEERS_AT] = CORE_PEERS_MAX + 1;
    expect_corrupt(bad, len);
    memcpy(bad, good, len);
    assert_int_equal(bad[second], 5);
    bad[second] = bad[PEERS_AT + 1]; /* The same peer twice. */
    expect_corrupt(bad, len);
}

/* Whatever stands there is refused or read, within bounds: the sanitizers look. */
static void no_byte_is_trusted(void **state UNUSED)
{
    uint8_t good[REPLICA_NOTE_BYTES_MAX], bad[REPLICA_NOTE_BYTES_MAX];
    const struct replica_note note = note_of(CORE_PEERS_MAX);
    const size_t len = replica_empty_note(&note, good);
    struct replica_note got;
    struct rng rng;

    rng_seed(&rng, 1);
    for (unsigned i = 0; i < 20000; i++) {
        const size_t some = rng_below(&rng, len + 1);
        uint8_t *exact = mem_alloc(some + 1);

        memcpy(bad, good, len);
        for (uint64_t n = 1 + rng_below(&rng, 4); n > 0; n--)
            bad[rng_below(&rng, n == 1 ? 16 : len)] = (uint8_t)rng_u64(&rng);
        memcpy(exact, bad, some);
        if (replica_note_parse(bytes_of(exact, some), &got) == 0)
            assert_in_range(got.acked.count, 0, CORE_PEERS_MAX);
        mem_free(exact);
    }
}

/* A note may be sound and yet no member's: the core has room for the origins of members only. */
static void rows_of_no_member_are_refused(void **state UNUSED)
{
    struct replica_state recovered = {0};
    struct members members = {.epoch = 5, .count = VV_ORIGINS_MAX};
    char why[512] = "";

    for (uint8_t i = 0; i < VV_ORIGINS_MAX; i++) {
        members.at[i] = (struct member){.origin = (uint8_t)(i + 1), .state = MEMBER_SEALED};
        assert_int_equal(
            posv_raise(&recovered.applied, (uint8_t)(i + 1), (struct pos){i + 1u, 100u + i}), 0);
    }
    assert_int_equal(replica_check_origins(&recovered, &members, why, sizeof(why)), 0);
    members.at[0].origin = VV_ORIGINS_MAX + 1; /* Its own, of which there is nothing. */
    assert_int_equal(replica_check_origins(&recovered, &members, why, sizeof(why)), -ERR_CORRUPT);
    assert_non_null(strstr(why, "member number 1,"));
    posv_init(&recovered.applied);
    assert_int_equal(replica_check_origins(&recovered, &members, why, sizeof(why)), 0);
    assert_int_equal(posv_raise(&recovered.note.newest, 1, (struct pos){1, 100}), 0);
    assert_int_equal(replica_check_origins(&recovered, &members, why, sizeof(why)), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_peers_acknowledged_is_read_again),
        cmocka_unit_test(damaged_notes_are_refused),
        cmocka_unit_test(no_byte_is_trusted),
        cmocka_unit_test(rows_of_no_member_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
