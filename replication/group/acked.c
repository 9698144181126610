/* What the others have acknowledged, as bytes: acked.h. */
#include "replication/group/acked.h"

#include "engine/base/err.h"

size_t acked_encode(const struct core_acked *acked, uint8_t *dst)
{
    size_t len = 1;

    dst[0] = acked->count;
    for (unsigned i = 0; i < acked->count; i++) {
        dst[len++] = acked->origin[i];
        len += posv_encode(&acked->durable[i], dst + len);
    }
    return len;
}

int acked_decode(struct bytes *in, struct core_acked *out)
{
    struct bytes head;

    if (!bytes_take(in, 1, &head) || head.ptr[0] > CORE_PEERS_MAX)
        return -ERR_CORRUPT;
    out->count = head.ptr[0];
    for (unsigned i = 0; i < out->count; i++) {
        if (!bytes_take(in, 1, &head) || posv_decode(in, &out->durable[i]) != 0)
            return -ERR_CORRUPT;
        out->origin[i] = head.ptr[0];
        if (i != 0 && out->origin[i] <= out->origin[i - 1])
            return -ERR_CORRUPT;
    }
    return 0;
}
