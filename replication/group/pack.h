/*
 * Compression of what goes over a link: zstd behind our own names. The only module that includes
 * it.
 *
 * A pack holds the contexts of both directions, so that no frame allocates them. One thread.
 */
#ifndef TIERRA_REPLICATION_GROUP_PACK_H
#define TIERRA_REPLICATION_GROUP_PACK_H

#include <stddef.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

struct pack;

MUST_USE struct pack *pack_create(void);
/* NULL is allowed. */
void pack_destroy(struct pack *pack);

/*
 * Appends `in` compressed, if that makes it shorter. 0; -ERR_LIMIT: it does not, or is beyond the
 * limit of `out`; -ENOMEM. After an error nothing was appended.
 */
MUST_USE int pack_compress(struct pack *pack, struct bytes in, struct buf *out);

/* Appends the `raw_len` bytes, above 0, that were compressed. 0, -ERR_CORRUPT, -ERR_LIMIT, -ENOMEM.
 */
MUST_USE int pack_expand(struct pack *pack, struct bytes in, size_t raw_len, struct buf *out);

#endif
