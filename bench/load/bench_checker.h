/*
 * Verification of replies: collects bulk strings that arrive in pieces and checks each against the
 * owners that its request named. Sits behind the sink of a reply parser, one per connection.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_CHECKER_H
#define TIERRA_BENCH_LOAD_BENCH_CHECKER_H

#include <stdint.h>

#include "engine/base/buf.h"

#include "bench/load/bench_ops.h"
#include "bench/load/bench_reply.h"

struct bench_checker {
    enum bench_verify how;
    const uint64_t *owners; /* Of the request whose reply is next; borrowed. */
    size_t owner_count;
    uint64_t pair_owner; /* BENCH_VERIFY_PAIRS: of the value after the last field. */
    uint64_t checked;    /* Values of this reply, */
    uint64_t wrong;      /* and the bad ones of them. */
    struct buf partial;
};

void bench_checker_init(struct bench_checker *checker);
void bench_checker_deinit(struct bench_checker *checker);

/* The next reply answers a request with these owners. */
void bench_checker_begin(struct bench_checker *checker, enum bench_verify how,
                         const uint64_t *owners, size_t owner_count);

/* The bench_reply_sink_fn; `ctx` is the checker. */
void bench_checker_on_piece(void *ctx, const struct bench_reply_piece *piece);

#endif
