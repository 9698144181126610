/*
 * The checkpoint of the key table: a file that names every key of the store, in 7 bytes each and a
 * little, so that a start need not read the key rows.
 *
 *     <shard>/keys-NNNNNN      of the store NNNNNN; written as <name>.tmp, synced, renamed
 *
 * All integers little-endian. A header of 64 bytes:
 *
 *     0   8  "TIERKEYS"
 *     8   4  format version, 1
 *     12  4  zero
 *     16  8  id of the store's journal of keys (keylog.h)
 *     24  8  base: the file has what the journal says up to this number
 *     32  8  covered position of the store when the file was begun; for information
 *     40  8  when it was begun, ms since 1970; for information
 *     48  8  zero
 *     56  8  sum64 of bytes 0 to 55
 *
 * then blocks, without gaps, and nothing behind the last:
 *
 *     0   4  bytes of the payload, at most 65536; bit 31: this is the last block
 *     4   4  zero
 *     8   8  sum64_seed of the payload; the seed is id + base + offset of the block in the file
 *     16  .. payload
 *
 * The payload of an ordinary block is groups of keys of one slot:
 *
 *     0   2  slot
 *     2   2  number of keys, at least 1
 *     4   .. keys, 7 bytes each: bit 0 has an expiry | bits 1 to 4 type | 5, 6 zero | bits 7 to 55
 *            the top 49 bits of the hash
 *
 * ascending by slot and hash through the whole file. The payload of the last block:
 *
 *     0   8  keys in the file
 *     8   8  of these, keys with an expiry
 *
 * Blocking calls, for threads that may wait.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYFILE_H
#define TIERRA_ENGINE_SPACE_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/le.h"

#define KEYFILE_PATH_BYTES    4500
#define KEYFILE_HEADER_BYTES  64u
#define KEYFILE_PAYLOAD_BYTES 65536u

/* --- a key as 56 bits --- */

#define KEYSTATE_BYTES      7u
#define KEYSTATE_HASH_SHIFT 7
#define KEYSTATE_CUT_BITS   15 /* Bits of a hash that are not kept. */

/* Type 0 (journal only): the key has gone. */
static inline uint64_t keystate_of(uint64_t hash, uint8_t type, bool has_ttl)
{
    return hash >> KEYSTATE_CUT_BITS << KEYSTATE_HASH_SHIFT | (uint64_t)type << 1 | has_ttl;
}

static inline uint64_t keystate_hash(uint64_t state)
{
    return state >> KEYSTATE_HASH_SHIFT << KEYSTATE_CUT_BITS;
}

static inline uint8_t keystate_type(uint64_t state)
{
    return (uint8_t)(state >> 1 & 0xf);
}

static inline bool keystate_has_ttl(uint64_t state)
{
    return (state & 1) != 0;
}

/* Whether the spare bits are zero and the type is one of ours, `gone` or not. */
bool keystate_valid(uint64_t state, bool gone);

static inline void keystate_store(uint8_t *to, uint64_t state)
{
    le32_store(to, (uint32_t)state);
    le16_store(to + 4, (uint16_t)(state >> 32));
    to[6] = (uint8_t)(state >> 48);
}

static inline uint64_t keystate_load(const uint8_t *from)
{
    return le32_load(from) | (uint64_t)le16_load(from + 4) << 32 | (uint64_t)from[6] << 48;
}

/* --- writing --- */

struct keyfile_head {
    uint64_t id;
    uint64_t base;
    uint64_t covered_lsn;
    uint64_t written_ms;
};

struct keyfile_writer {
    struct keyfile_head head;
    int fd; /* -1: not open. */
    uint8_t *block;
    size_t len;   /* Of the payload so far. */
    size_t group; /* Where its last group begins. */
    bool in_group;
    uint16_t slot; /* Of the last key. */
    uint64_t state;
    uint64_t offset; /* Of the block. */
    uint64_t synced;
    uint64_t keys;
    uint64_t keys_ttl;
    char path[KEYFILE_PATH_BYTES];
};

/* Begins "<path>.tmp". After an error nothing is open. */
MUST_USE int keyfile_create(struct keyfile_writer *w, const char *path,
                            const struct keyfile_head *head);

/* Keys must ascend by slot and hash. Writes now and then. */
MUST_USE int keyfile_add(struct keyfile_writer *w, uint16_t slot, uint64_t state);

/* Makes it durable in the place of what was there. Closes it in any case. */
MUST_USE int keyfile_finish(struct keyfile_writer *w);

/* Removes what was begun. No effect on one that is not open. */
void keyfile_abort(struct keyfile_writer *w);

/* Removes the file and what was begun of it. */
void keyfile_remove(const char *path);

/* --- reading --- */

struct keyfile_reader {
    struct keyfile_head head;
    int fd; /* -1: not open. */
    uint8_t *block;
    struct bytes rest; /* Of the payload. */
    uint64_t offset;
    uint64_t size;
    uint64_t keys; /* Seen so far, at the end all. */
    uint64_t keys_ttl;
    uint16_t slot;
    uint64_t state;
    bool any;
};

/* -ENOENT; -ERR_FORMAT: of another version, or not such a file; -ERR_CORRUPT; -errno. */
MUST_USE int keyfile_open(struct keyfile_reader *r, const char *path);

/* The next keys of one slot, valid until the next call. */
struct keyfile_group {
    uint16_t slot;
    uint32_t count;
    const uint8_t *states; /* count times KEYSTATE_BYTES; checked. */
};

/* 1 and a group; 0 after the last, when all has been checked; -ERR_CORRUPT, -errno. */
MUST_USE int keyfile_next(struct keyfile_reader *r, struct keyfile_group *out);

/* No effect on one that is not open. */
void keyfile_close(struct keyfile_reader *r);

#endif
