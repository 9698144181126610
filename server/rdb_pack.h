/*
 * The packed forms of collections within Redis's dumps (rdb.h).
 *
 * intset:   width 2, 4 or 8 (4) | count (4) | integers of that width, ascending; little-endian
 *
 * listpack: bytes in all (4) | elements (2; 65535: to be counted) | elements | 0xff
 *     element: one of these, and its length so far once more (below)
 *         0nnnnnnn                   n
 *         10nnnnnn                   string of n bytes
 *         110nnnnn n (1)             13 bits, signed
 *         1110nnnn n (1)             string of n bytes
 *         0xf0 n (4)                 string of n bytes, little-endian
 *         0xf1, 0xf2, 0xf3, 0xf4     integer of 2, 3, 4, 8 bytes, little-endian
 *     the length: 7 bits a byte, the highest first; of all bytes but the first the top bit is set
 *
 * ziplist:  bytes in all (4) | offset of the last element (4) | elements (2) | elements | 0xff
 *     element: length of the one before (1, or 0xfe and 4) | one of these
 *         00nnnnnn                   string of n bytes
 *         01nnnnnn n (1)             string of n bytes, big-endian
 *         0x80 n (4)                 string of n bytes, big-endian
 *         0xc0, 0xd0, 0xe0           integer of 2, 4, 8 bytes, little-endian
 *         0xf0, 0xfe                 integer of 3, 1 bytes
 *         0xf1 .. 0xfd               0 .. 12
 *
 * Each function appends the elements to the value as items; integers as their decimal text.
 */
#ifndef TIERRA_SERVER_RDB_PACK_H
#define TIERRA_SERVER_RDB_PACK_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct rdb_value;

/* 0 and the number of elements; -ERR_CORRUPT, -ENOMEM, -ERR_LIMIT. */
MUST_USE int rdb_intset(struct bytes in, struct rdb_value *to, uint64_t *out_count);
MUST_USE int rdb_listpack(struct bytes in, struct rdb_value *to, uint64_t *out_count);
MUST_USE int rdb_ziplist(struct bytes in, struct rdb_value *to, uint64_t *out_count);

#endif
