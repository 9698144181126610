/*
 * Making requests: templates filled in place.
 *
 * Every operation of the mix is encoded once, as segments of finished RESP bytes with a hole each:
 *
 *     "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000000\r\n"     hole: digits of a key, ending here ^
 *     ""                                                  hole: a whole value argument
 *
 * so that a request costs a copy, a draw per hole and the digits of the drawn numbers. Keys have
 * one length: prefix, the family's letter, the index in decimal filled up with zeros. Elements of
 * collections are "elem:" and 11 digits.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_REQUEST_H
#define TIERRA_BENCH_LOAD_BENCH_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/rng.h"

#include "bench/load/bench_dist.h"
#include "bench/load/bench_ops.h"
#include "bench/load/bench_options.h"
#include "bench/load/bench_value.h"

#define BENCH_ELEMENT_BYTES 16

struct bench_segment;

struct bench_template {
    struct bench_segment *segments;
    size_t segment_count;
    uint8_t *text;
};

/* Shared by all workers, read-only once made. */
struct bench_plan {
    const struct bench_options *options;
    struct bench_value_pool pool;
    struct bench_template templates[BENCH_OP_COUNT]; /* Of the operations in the mix. */
    size_t request_bytes_max;
    uint64_t load_elements_max; /* Elements in one command of a preload. */
};

/* What one worker draws from. */
struct bench_gen {
    const struct bench_plan *plan;
    struct rng rng;
    struct bench_dist keys;
    struct bench_dist fields;
};

/* `options` is borrowed for the life of the plan, and must have passed bench_options_check. */
void bench_plan_init(struct bench_plan *plan, const struct bench_options *options);
void bench_plan_deinit(struct bench_plan *plan);

/* `latest`: see struct bench_dist_worker; also borrowed. */
void bench_gen_init(struct bench_gen *gen, const struct bench_plan *plan, uint32_t worker,
                    _Atomic uint64_t *latest);

/* An operation of the mix, by weight. */
enum bench_op bench_gen_op(struct bench_gen *gen);

/*
 * Writes one request to `out`, which has room for request_bytes_max, and returns its length. Unless
 * `owners` is NULL it gets whose values the reply should hold: options->multi entries for an
 * operation on many keys, else one.
 */
size_t bench_gen_build(struct bench_gen *gen, enum bench_op op, uint8_t *out, uint64_t *owners);

/* A piece of a preload: elements first .. first + count - 1 of one key (strings: count is 1). */
struct bench_load_item {
    enum bench_family family;
    uint64_t key;
    uint64_t first;
    uint64_t count;
};

/* The command that loads `item`; room as above. Returns its length. */
size_t bench_gen_build_load(struct bench_gen *gen, const struct bench_load_item *item,
                            uint8_t *out);

#endif
