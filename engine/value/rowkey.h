/*
 * Row keys: how keys and their elements are laid out in the store.
 *
 *     slot 2 | hash 8 | klen 2 | key | kind 1 | sub        all big-endian
 *
 * slot = key_slot(key); hash = hash64(key) with the seed of the data directory. The key row has
 * kind 0 and no sub, and sorts before the element rows of its key; rows of a key are contiguous.
 *
 *     kind  row of                 sub
 *     0x00  the key itself         -
 *     0x10  hash field             6 bytes of hash64(field, 0), big-endian | field
 *     0x20  set member             6 bytes of hash64(member, 0), big-endian | member
 *     0x30  sorted set member      member
 *     0x31  sorted set, by score   8 order-preserving bytes of the score | member
 *     0x40  list element           position (listpos.h)
 *     0x50  string chunk           index 4 big-endian
 *
 * Special rows sort after all slots:
 *
 *     0xff 0x01                                            the store's covered position
 *     0xff 0x02 | at_ms 8 | slot 2 | hash 8 | klen 2 | key  expiry index; empty value
 *     0xff 0x03 | slot 2 | hash 8 | klen 2 | key            sweep: value = tag; element rows of the
 *                                                           key with a tag <= it are garbage
 *     0xff 0x04                                            head of the journal of keys
 *     0xff 0x04 | number 8                                 journal of keys (space/keylog.h)
 */
#ifndef TIERRA_ENGINE_VALUE_ROWKEY_H
#define TIERRA_ENGINE_VALUE_ROWKEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/le.h"

#define ROWKEY_KIND_KEY    0x00u
#define ROWKEY_KIND_HASH   0x10u
#define ROWKEY_KIND_SET    0x20u
#define ROWKEY_KIND_ZSET   0x30u
#define ROWKEY_KIND_ZINDEX 0x31u
#define ROWKEY_KIND_LIST   0x40u
#define ROWKEY_KIND_CHUNK  0x50u

#define ROWKEY_SPECIAL      0xffu
#define ROWKEY_SPECIAL_SLOT 0x4000u /* rowkey_parse refuses slots from here on. */
#define ROWKEY_EXPIRY       0x02u
#define ROWKEY_SWEEP        0x03u
#define ROWKEY_KEYLOG       0x04u

/* Longest key, and longest member, field or position. */
#define ROWKEY_NAME_BYTES_MAX 65535u
#define ROWKEY_HEAD_BYTES     12u /* slot, hash, klen */
#define ROWKEY_HASH_BYTES     6u
#define ROWKEY_SCORE_BYTES    8u
#define ROWKEY_BYTES_MAX      (ROWKEY_HEAD_BYTES + 2 * ROWKEY_NAME_BYTES_MAX + 16u)

struct rowkey {
    uint16_t slot;
    uint8_t kind;
    uint64_t hash;
    struct bytes key;
    struct bytes sub; /* Without the hash bytes of HASH and SET; ZINDEX: score bytes | member. */
};

/* Whether rows of this kind have the 6 hash bytes before their sub. */
static inline bool rowkey_kind_hashed(unsigned kind)
{
    return kind == ROWKEY_KIND_HASH || kind == ROWKEY_KIND_SET;
}

/* Those bytes, as a number. */
static inline uint64_t rowkey_hash_load(const uint8_t *at)
{
    return (uint64_t)be16_load(at) << 32 | be32_load(at + 2);
}

/* The same of a field or member: makes them. */
void rowkey_hash_store(uint8_t dst[ROWKEY_HASH_BYTES], struct bytes sub);

/* The sizes below, for exact reservations. */
static inline size_t rowkey_prefix_size(struct bytes key)
{
    return ROWKEY_HEAD_BYTES + key.len;
}

static inline size_t rowkey_size(struct bytes key, unsigned kind, struct bytes sub)
{
    return rowkey_prefix_size(key) + 1 + sub.len +
           (rowkey_kind_hashed(kind) ? ROWKEY_HASH_BYTES : 0);
}

/* What all rows of a key begin with. The store functions return the bytes written. */
static inline size_t rowkey_store_prefix(uint8_t *dst, uint16_t slot, uint64_t hash,
                                         struct bytes key)
{
    be16_store(dst, slot);
    be64_store(dst + 2, hash);
    be16_store(dst + 10, (uint16_t)key.len);
    if (key.len != 0)
        memcpy(dst + ROWKEY_HEAD_BYTES, key.ptr, key.len);
    return ROWKEY_HEAD_BYTES + key.len;
}

static inline size_t rowkey_store_key(uint8_t *dst, uint16_t slot, uint64_t hash, struct bytes key)
{
    const size_t len = rowkey_store_prefix(dst, slot, hash, key);

    dst[len] = ROWKEY_KIND_KEY;
    return len + 1;
}

/* `sub`: field, member or position; the hash bytes of HASH and SET are added here. */
size_t rowkey_store_elem(uint8_t *dst, uint16_t slot, uint64_t hash, struct bytes key, uint8_t kind,
                         struct bytes sub);

/* The score index row of a member. */
static inline size_t rowkey_zindex_size(struct bytes key, struct bytes member)
{
    return rowkey_prefix_size(key) + 1 + ROWKEY_SCORE_BYTES + member.len;
}
size_t rowkey_store_zindex(uint8_t *dst, uint16_t slot, uint64_t hash, struct bytes key,
                           double score, struct bytes member);

/*
 * The first key after all that begin with `prefix`, written over a copy of the prefix: `dst` has
 * room for it. Returns its length; 0 if there is none (all 0xff).
 */
size_t rowkey_store_after(uint8_t *dst, struct bytes prefix);

/* Takes an ordinary row key apart; the parts borrow from it. 0 or -ERR_CORRUPT. */
MUST_USE int rowkey_parse(struct bytes rowkey, struct rowkey *out);

/* Order-preserving bytes of a double: byte order is numeric order, -0 equals +0. NaN is refused. */
void rowkey_score_store(uint8_t dst[ROWKEY_SCORE_BYTES], double score);
double rowkey_score_load(const uint8_t src[ROWKEY_SCORE_BYTES]);

/* --- special rows --- */

static inline size_t rowkey_expiry_size(struct bytes key)
{
    return 2 + 8 + rowkey_prefix_size(key);
}
size_t rowkey_store_expiry(uint8_t *dst, uint64_t at_ms, uint16_t slot, uint64_t hash,
                           struct bytes key);
/* 0 or -ERR_CORRUPT; `out->kind` is KEY and `out->sub` empty. */
MUST_USE int rowkey_parse_expiry(struct bytes rowkey, uint64_t *out_at_ms, struct rowkey *out);

static inline size_t rowkey_sweep_size(struct bytes key)
{
    return 2 + rowkey_prefix_size(key);
}
size_t rowkey_store_sweep(uint8_t *dst, uint16_t slot, uint64_t hash, struct bytes key);
MUST_USE int rowkey_parse_sweep(struct bytes rowkey, struct rowkey *out);

#endif
