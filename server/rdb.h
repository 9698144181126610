/*
 * Values as Redis serialises them for DUMP: one value of its RDB format, version 10.
 *
 *     type (1) | value | version (2, little-endian) | CRC-64 of all before it (8, little-endian)
 *
 * A length, and whatever else is counted:
 *
 *     00nnnnnn                          n
 *     01nnnnnn n (1)                    big-endian
 *     0x80 n (4), 0x81 n (8)            big-endian
 *     11eeeeee                          no length: a string encoded as e, below
 *
 * A string is a length and its bytes, or an encoding: 0xc0, 0xc1 and 0xc2 an integer of 1, 2 and 4
 * bytes, little-endian, that stands for its decimal text; 0xc3 LZF (lzf.h): length of the
 * compressed bytes, length of the text, compressed bytes.
 *
 * Types, and what their value is:
 *
 *     0  string           string                           (written)
 *     1  list             count, strings                   (written)
 *     2  set              count, strings                   (written)
 *     3  sorted set       count, pairs of string, score as text: length (1), digits; 253 NaN,
 *                         254 and 255 the infinities
 *     4  hash             count, pairs of strings          (written)
 *     5  sorted set       count, pairs of string, score as a double, little-endian (written)
 *    10  list             string: a ziplist
 *    11  set              string: an intset
 *    12  sorted set       string: a ziplist, members and scores in turn
 *    13  hash             string: a ziplist, fields and values in turn
 *    14  list             count, strings: ziplists
 *    16  hash             string: a listpack
 *    17  sorted set       string: a listpack
 *    18  list             count, pairs of a kind and a string: 1 one element, 2 a listpack
 *
 * Redis 7.0 writes 0, 2, 4, 5, 11, 16, 17 and 18. We write 0, 1, 2, 4 and 5, which it and all
 * before it back to 4.0 read. The packed forms are described in rdb_pack.h. Streams and modules
 * (15, 19, 6, 7) and the hash of Redis 2.4 (9) are refused.
 *
 * Bytes come from clients and are checked to the last: lengths, counts, order of intsets, double
 * members, NaN, bytes behind the end. Pure functions, any thread.
 */
#ifndef TIERRA_SERVER_RDB_H
#define TIERRA_SERVER_RDB_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#define RDB_VERSION 10
/* Version and sum. */
#define RDB_FOOTER_BYTES 10

/*
 * What a value was read to: its elements as items, each length (4, little-endian) and bytes. A
 * string is one item; a list, or set, one per element; a hash two, field and value; a sorted set
 * two, member and the 8 bytes of its score (row_score_store).
 */
struct rdb_value {
    uint8_t type;   /* enum value_type */
    uint64_t count; /* Elements. */
    struct buf items;
};

/* `items_max`: bytes. To be freed by rdb_value_deinit, also after an error. */
void rdb_value_init(struct rdb_value *v, size_t items_max);
void rdb_value_deinit(struct rdb_value *v);

/* Whether the version can be read and the sum is right. */
MUST_USE bool rdb_footer_ok(struct bytes dump);

/*
 * Reads a dump with its footer, which is right, into an empty value. 0; -ERR_CORRUPT: it is not
 * what it should be; -ERR_UNSUPPORTED: a type that we do not have; -ENOMEM; -ERR_LIMIT: more than
 * `items_max`. `seed`: of the hash that finds double members.
 */
MUST_USE int rdb_read(struct bytes dump, uint64_t seed, struct rdb_value *out);

/* The next item, from `*in` on; false at the end. */
MUST_USE bool rdb_item(struct bytes *in, struct bytes *out);

/* --- reading parts, of rdb_pack.c too --- */

MUST_USE int rdb_item_add(struct rdb_value *v, struct bytes item);
MUST_USE int rdb_item_add_i64(struct rdb_value *v, int64_t number);

/* --- writing: each 0, -ENOMEM or -ERR_LIMIT --- */

/* The type of a collection or string, and the number of elements if it is not a string. */
MUST_USE int rdb_write_head(struct buf *out, uint8_t type, uint64_t count);
MUST_USE int rdb_write_string(struct buf *out, struct bytes text);
MUST_USE int rdb_write_score(struct buf *out, double score);
MUST_USE int rdb_write_footer(struct buf *out);

/* In slices: the length of a string whose bytes follow; the sum (at first 0) with what has come;
 * the footer with the sum of all. */
MUST_USE int rdb_write_length(struct buf *out, uint64_t len);
uint64_t rdb_sum(uint64_t sum, struct bytes more);
MUST_USE int rdb_write_footer_of(struct buf *out, uint64_t sum);

#endif
