/*
 * Strings in chunks: a key whose object has BLK_COLL and type VT_STRING.
 *
 * The object's struct coll holds what the key row says (generation, length in `count`, expiry) and
 * the chunks that are resident. The key row and the chunks that a change has touched go to the
 * store in one batch, so that the store never has a length without its bytes. A SET makes a new
 * generation and, with it, a new struct coll; the chunks of the former are swept like the elements
 * of a deleted collection, and are told from new ones by their generation until then.
 */
#ifndef TIERRA_ENGINE_SPACE_STRVAL_H
#define TIERRA_ENGINE_SPACE_STRVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/coll.h"
#include "engine/space/keyspace.h"
#include "engine/space/obj.h"

struct ks_wait;

/* Whether a string's object is one in chunks; obj_row of it is empty then. */
static inline bool obj_is_chunked(const struct obj *obj)
{
    return obj->h.type == VT_STRING && (obj->h.flags & BLK_COLL) != 0;
}

/* The length of a string in chunks. */
static inline uint64_t strval_len(const struct obj *obj)
{
    return obj_coll(obj)->count;
}

/*
 * The bytes from `offset` on that lie in one piece, up to `max`; `ptr` NULL: zeros. The range is
 * resident and within the length.
 */
static inline struct bytes strval_run(const struct obj *obj, uint64_t offset, uint64_t max)
{
    return chunks_run(&obj_coll(obj)->chunks, offset, max);
}

/* Whether DRAM has the chunk, or can tell that it is zeros. */
bool strval_knows(const struct coll *coll, uint32_t index);

/* Copies a resident range; `dst` has room for `len`. */
void strval_copy(const struct coll *coll, uint64_t offset, uint8_t *dst, uint64_t len);

/* --- residency; resident.h --- */

/*
 * The key row and, of a string in chunks, those with the bytes `first` .. `end` (not included).
 * -ERR_LIMIT: they are too many.
 */
MUST_USE int ks_need_bytes(struct keyspace *ks, const struct ks_key *key, uint64_t first,
                           uint64_t end, struct ks_wait *wait);

/* --- writing; the rules of ks_apply_* --- */

/* The key becomes a string of zeros in chunks of a new generation, `tag`, whatever is there. */
struct coll *ks_apply_string(struct keyspace *ks, const struct ks_key *key, struct tag tag,
                             uint64_t lsn, uint64_t len, uint64_t expire_at_ms);

/* All bytes of a string that ks_apply_string has just made. */
void ks_apply_fill(struct keyspace *ks, struct coll *coll, struct tag tag, struct bytes bytes);

/* A change of a part, of which ks_apply_patch or ks_apply_bits follow: the key row after it. */
void ks_apply_touch(struct keyspace *ks, struct coll *coll, struct tag tag, uint64_t lsn,
                    uint64_t len, uint64_t expire_at_ms);

/* Bytes within one chunk, which is resident unless they are all of it that is within the length. */
void ks_apply_patch(struct keyspace *ks, struct coll *coll, struct tag tag, uint64_t offset,
                    struct bytes bytes);

/* `count` (1 .. 64) bits from `bit` on, in resident chunks; the first is the most significant. */
void ks_apply_bits(struct keyspace *ks, struct coll *coll, struct tag tag, uint64_t bit,
                   uint32_t count, uint64_t value);

#endif
