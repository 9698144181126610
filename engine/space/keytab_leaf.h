/*
 * A leaf of the hash tables of this folder: entries of 7 bytes whose hashes begin with the same
 * bits.
 *
 *     0  4  prefix    those bits, left-aligned, the rest zero
 *     4  2  owner     of the trie that the leaf is in (the slot of a key table)
 *     6  1  depth     how many bits
 *     7  1  count     entries in use, in no order
 *     8  .. fp[cap]   8 hash bits of each entry, compared 16 at a time
 *     .. .. payload[cap], 6 bytes each, little-endian:
 *             hot     bit 0 set | 3 hash bits | bits 4 to 47 of an address
 *             cold    bit 0 clear | touched | has TTL | type (4 bits) | 41 hash bits
 *
 * Fingerprint and the 41 bits are the top 49 bits of the hash: bits 15 to 22 and bits 23 to 63. The
 * 3 bits of a hot entry are bits 23 to 25; the rest of its hash is computed from its name.
 *
 * The capacity follows from the class of the leaf, which whoever points to it knows. Class
 * LEAF_CLASS_BIG is for more entries than a class holds whose hashes agree in 32 bits:
 *
 *     0  8  as above, count 0
 *     8  4  count
 *     12 4  cap
 *     16 .. fp, payload
 */
#ifndef TIERRA_ENGINE_SPACE_KEYTAB_LEAF_H
#define TIERRA_ENGINE_SPACE_KEYTAB_LEAF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "engine/base/attr.h"
#include "engine/base/check.h"
#include "engine/base/le.h"

#define LEAF_CLASSES       14u
#define LEAF_CLASS_BIG     15u
#define LEAF_ENTRIES_MAX   126u
#define LEAF_PAYLOAD_BYTES 6u
/* Fingerprints are compared in groups of this size; reading past the last ends in the payloads. */
#define LEAF_GROUP   16u
#define LEAF_CAP_MIN 3u
STATIC_ASSERT(LEAF_CAP_MIN *(1 + LEAF_PAYLOAD_BYTES) >= LEAF_CAP_MIN - 1 + LEAF_GROUP);

#define LEAF_HOT        0x1ull
#define LEAF_TOUCHED    0x2ull
#define LEAF_TTL        0x4ull
#define LEAF_TYPE_SHIFT 3
#define LEAF_TYPE_MASK  0xfull
#define LEAF_COLD_SHIFT 7
#define LEAF_FP_SHIFT   15
#define LEAF_HASH_SHIFT 23

struct trie_leaf {
    uint32_t prefix;
    uint16_t owner;
    uint8_t depth;
    uint8_t count;
};
STATIC_ASSERT(sizeof(struct trie_leaf) == 8);

/* Fingerprints and payloads of a leaf that is not big. */
static inline uint8_t *leaf_data(struct trie_leaf *leaf)
{
    return (uint8_t *)(leaf + 1);
}

struct leaf_big {
    struct trie_leaf head;
    uint32_t count;
    uint32_t cap;
    uint8_t data[];
};
STATIC_ASSERT(sizeof(struct leaf_big) == 16);

/* Where the entries of a leaf are, whatever its class. */
struct leaf_view {
    uint8_t *fp;
    uint8_t *payload;
    uint32_t count;
    uint32_t cap;
};

/* `caps` by class. */
static inline struct leaf_view leaf_view(struct trie_leaf *leaf, unsigned cls, const uint8_t *caps)
{
    if (unlikely(cls == LEAF_CLASS_BIG)) {
        struct leaf_big *big = container_of(leaf, struct leaf_big, head);
        return (struct leaf_view){
            .fp = big->data, .payload = big->data + big->cap, .count = big->count, .cap = big->cap};
    }
    return (struct leaf_view){.fp = leaf_data(leaf),
                              .payload = leaf_data(leaf) + caps[cls],
                              .count = leaf->count,
                              .cap = caps[cls]};
}

/* Loads the two bytes before the payload too: a load of eight never ends behind the leaf. */
static inline uint64_t leaf_load(const uint8_t *payload, uint32_t i)
{
    return le64_load(payload + (size_t)i * LEAF_PAYLOAD_BYTES - 2) >> 16;
}

static inline void leaf_store(uint8_t *payload, uint32_t i, uint64_t value)
{
    uint8_t *to = payload + (size_t)i * LEAF_PAYLOAD_BYTES;

    le32_store(to, (uint32_t)value);
    le16_store(to + 4, (uint16_t)(value >> 32));
}

/* One bit for each of the LEAF_GROUP fingerprints at `fp` that equals `want`. */
static inline uint32_t leaf_match(const uint8_t *fp, uint8_t want)
{
#ifdef __SSE2__
    const __m128i group = _mm_loadu_si128((const __m128i *)(const void *)fp);

    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(group, _mm_set1_epi8((char)want)));
#else
    uint32_t mask = 0;

    for (uint32_t i = 0; i < LEAF_GROUP; i++)
        mask |= (uint32_t)(fp[i] == want) << i;
    return mask;
#endif
}

static inline uint8_t leaf_fp(uint64_t hash)
{
    return (uint8_t)(hash >> LEAF_FP_SHIFT);
}

/* `ptr` is 16-byte aligned and below 2^48. */
static inline uint64_t leaf_hot(uint64_t hash, const void *ptr)
{
    const uint64_t address = (uint64_t)(uintptr_t)ptr;

    CHECK((address & 15) == 0 && address >> 48 == 0);
    return LEAF_HOT | (hash >> LEAF_HASH_SHIFT & 7) << 1 | address;
}

static inline void *leaf_ptr(uint64_t payload)
{
    return (void *)(uintptr_t)(payload & ~(uint64_t)15); /* NOLINT(performance-no-int-to-ptr) */
}

static inline uint64_t leaf_cold(uint64_t hash, uint8_t type, bool has_ttl, bool touched)
{
    CHECK(type <= LEAF_TYPE_MASK);
    return (touched ? LEAF_TOUCHED : 0) | (has_ttl ? LEAF_TTL : 0) |
           (uint64_t)type << LEAF_TYPE_SHIFT | hash >> LEAF_HASH_SHIFT << LEAF_COLD_SHIFT;
}

/* The top 49 bits of the hash of a cold entry. */
static inline uint64_t leaf_cold_hash(uint8_t fp, uint64_t payload)
{
    return payload >> LEAF_COLD_SHIFT << LEAF_HASH_SHIFT | (uint64_t)fp << LEAF_FP_SHIFT;
}

#endif
