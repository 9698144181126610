/*
 * zstd, level 1: on batches of small ops level 3 costs twice the time for 3 % fewer bytes.
 */
#include "replication/group/pack.h"

#include <zstd.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#define LEVEL 1

struct pack {
    ZSTD_CCtx *to;
    ZSTD_DCtx *from;
};

struct pack *pack_create(void)
{
    struct pack *pack = mem_alloc(sizeof(*pack));

    pack->to = ZSTD_createCCtx();
    pack->from = ZSTD_createDCtx();
    CHECK(pack->to != NULL);
    CHECK(pack->from != NULL);
    return pack;
}

void pack_destroy(struct pack *pack)
{
    if (pack == NULL)
        return;
    (void)ZSTD_freeCCtx(pack->to); /* Both say 0 for what pack_create made. */
    (void)ZSTD_freeDCtx(pack->from);
    mem_free(pack);
}

int pack_compress(struct pack *pack, struct bytes in, struct buf *out)
{
    const int err = buf_reserve(out, in.len);

    if (err != 0)
        return err;
    const size_t len = ZSTD_compressCCtx(pack->to, buf_end(out), in.len, in.ptr, in.len, LEVEL);
    if (ZSTD_isError(len) != 0 || len >= in.len)
        return -ERR_LIMIT;
    buf_commit(out, len);
    return 0;
}

int pack_expand(struct pack *pack, struct bytes in, size_t raw_len, struct buf *out)
{
    int err;

    if (raw_len == 0)
        return -ERR_CORRUPT; /* Nobody packs nothing. */
    err = buf_reserve(out, raw_len);
    if (err != 0)
        return err;
    const size_t len = ZSTD_decompressDCtx(pack->from, buf_end(out), raw_len, in.ptr, in.len);
    if (ZSTD_isError(len) != 0 || len != raw_len)
        return -ERR_CORRUPT;
    buf_commit(out, len);
    return 0;
}
