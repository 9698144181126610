/* Checking values as they pass by. */
#include "bench/load/bench_checker.h"

#include "bench/load/bench_size.h"
#include "bench/load/bench_value.h"

/* Nothing that this program writes is longer; more is wrong by its length alone. */
#define PARTIAL_BYTES_MAX ((size_t)BENCH_SIZE_BYTES_MAX + 1)

void bench_checker_init(struct bench_checker *checker)
{
    *checker = (struct bench_checker){.how = BENCH_VERIFY_NONE};
    buf_init(&checker->partial, PARTIAL_BYTES_MAX);
}

void bench_checker_deinit(struct bench_checker *checker)
{
    buf_deinit(&checker->partial);
}

void bench_checker_begin(struct bench_checker *checker, enum bench_verify how,
                         const uint64_t *owners, size_t owner_count)
{
    checker->how = how;
    checker->owners = owners;
    checker->owner_count = owner_count;
    checker->checked = 0;
    checker->wrong = 0;
    buf_clear(&checker->partial);
}

static void check_value(struct bench_checker *checker, struct bytes value, uint64_t owner)
{
    checker->checked++;
    if (!bench_value_check(value, owner))
        checker->wrong++;
}

static void on_bulk(struct bench_checker *checker, uint64_t bulk, struct bytes value)
{
    switch (checker->how) {
    case BENCH_VERIFY_NONE:
        break;
    case BENCH_VERIFY_BULKS:
        if (bulk < checker->owner_count)
            check_value(checker, value, checker->owners[bulk]);
        else
            checker->wrong++;
        break;
    case BENCH_VERIFY_SAME:
        check_value(checker, value, checker->owners[0]);
        break;
    case BENCH_VERIFY_PAIRS:
        if (bulk % 2 == 0)
            checker->pair_owner = bench_value_owner_field(checker->owners[0], value);
        else
            check_value(checker, value, checker->pair_owner);
        break;
    }
}

void bench_checker_on_piece(void *ctx, const struct bench_reply_piece *piece)
{
    struct bench_checker *checker = ctx;

    if (checker->how == BENCH_VERIFY_NONE)
        return;
    if (piece->first && piece->last) {
        on_bulk(checker, piece->bulk, bytes_of(piece->ptr, piece->len));
        return;
    }
    if (piece->first)
        buf_clear(&checker->partial);
    /* What does not fit is cut; the checksum then tells. */
    if (buf_append(&checker->partial, piece->ptr, piece->len) != 0)
        buf_clear(&checker->partial);
    if (piece->last)
        on_bulk(checker, piece->bulk, buf_bytes(&checker->partial));
}
