/*
 * HyperLogLog values, byte by byte those of Redis.
 *
 *     offset  0  "HYLL"
 *             4  encoding: 0 dense, 1 sparse
 *             5  3 bytes of zero
 *             8  cardinality, little-endian; the highest bit set: to be computed anew
 *            16  registers
 *
 * There are 16384 registers of 6 bits. An element's hash (MurmurHash64A) gives the register by its
 * lowest 14 bits, and a value by the place of the lowest bit set in the rest: 1 .. 51. A register
 * keeps the greatest value that it has seen.
 *
 * Dense: the registers one behind the other, each from the lowest free bit on; 12288 bytes.
 * Sparse: runs of equal registers,
 *
 *     00nnnnnn            n + 1 zeros
 *     01nnnnnn nnnnnnnn   n + 1 zeros, big-endian
 *     1vvvvvnn            n + 1 registers of the value v + 1
 *
 * which cover all registers. A value is sparse until that takes more than hll-sparse-max-bytes, or
 * a register is above 32.
 *
 * The cardinality is estimated as Ertl does (arXiv:1702.01284, algorithm 6). Values come from
 * clients (SET, RESTORE) and are checked wherever they are read. Pure functions.
 */
#ifndef TIERRA_ENGINE_VALUE_HLL_H
#define TIERRA_ENGINE_VALUE_HLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#define HLL_REGISTERS   16384u
#define HLL_HEAD_BYTES  16u
#define HLL_DENSE_BYTES (HLL_HEAD_BYTES + HLL_REGISTERS * 6 / 8)
#define HLL_VALUE_MAX   51

/* The registers, one byte each. */
struct hll_registers {
    uint8_t at[HLL_REGISTERS];
};

/* A value under change. It grows while it is sparse; `len` never exceeds the room. */
struct hll {
    uint8_t *ptr;
    size_t len;
    size_t room;
};

/* Whether the bytes have the head and, if dense, the length of a value. */
MUST_USE bool hll_valid(struct bytes value);

static inline bool hll_is_dense(struct bytes value)
{
    return value.ptr[4] == 0;
}

/* A run of registers of a sparse value. */
struct hll_run {
    uint32_t count; /* Registers, */
    uint8_t value;  /* of this value; */
    uint8_t bytes;  /* what stands for them. */
    bool extended;  /* Zeros in two bytes. */
};

/* The run `*at` bytes behind the head, and moves `*at` behind it. False: there is none. */
MUST_USE bool hll_run_at(struct bytes value, size_t *at, struct hll_run *out);

/* The element's register and what it asks of it. */
void hll_hash(struct bytes element, uint32_t *out_register, uint8_t *out_value);

/* Each register becomes at least what it is in the (valid) value. False: damaged. */
MUST_USE bool hll_merge(struct bytes value, struct hll_registers *registers);

/*
 * Appends the value that has these registers, and no cached number: of those with the same
 * registers always the same one. Sparse, if it may be and takes no more than `sparse_max` bytes (0:
 * never), else dense. 0, -ENOMEM.
 */
MUST_USE int hll_encode(const struct hll_registers *registers, uint64_t sparse_max,
                        struct buf *out);

/* How many different elements there were, about. */
MUST_USE uint64_t hll_estimate(const struct hll_registers *registers);

/* The number that the value has with it; false: it has to be estimated. */
MUST_USE bool hll_cached(struct bytes value, uint64_t *out);

/*
 * A value to change: a copy of `from`, or an empty one if that has no bytes. -ENOMEM. To be
 * freed by hll_deinit.
 */
MUST_USE int hll_init(struct hll *h, struct bytes from);
void hll_deinit(struct hll *h);

/*
 * The register becomes at least `value`. 1: it changed; 0: it was; -ERR_CORRUPT. A change makes the
 * cached number void. `sparse_max`: bytes.
 */
MUST_USE int hll_raise(struct hll *h, uint32_t reg, uint8_t value, uint64_t sparse_max);

/* Makes it dense. 0, -ERR_CORRUPT. */
MUST_USE int hll_to_dense(struct hll *h);

void hll_drop_cache(struct hll *h);

/* What hll_cached tells from now on, until a change; 2^63 and above it does not. */
void hll_keep_count(struct hll *h, uint64_t count);

#endif
