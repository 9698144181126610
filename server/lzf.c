/* LZF; lzf.h describes its bytes. */
#include "server/lzf.h"

#include <string.h>

#define LITERALS_MAX 32u
#define LENGTH_LONG  7u

/* The next byte; false at the end. */
static bool take_u8(struct bytes *in, uint8_t *out)
{
    struct bytes byte;

    if (!bytes_take(in, 1, &byte))
        return false;
    *out = byte.ptr[0];
    return true;
}

/* The length and distance of a copy whose first byte is `head`. */
static bool take_copy(struct bytes *in, uint8_t head, size_t *out_len, size_t *out_back)
{
    uint8_t more = 0;
    uint8_t low;
    size_t len = head >> 5;

    if (len == LENGTH_LONG && !take_u8(in, &more))
        return false;
    if (!take_u8(in, &low))
        return false;
    *out_len = len + more + 2;
    *out_back = ((size_t)(head & 0x1fu) << 8 | low) + 1;
    return true;
}

bool lzf_expand(struct bytes in, uint8_t *dst, size_t len)
{
    size_t at = 0;
    uint8_t head;

    while (take_u8(&in, &head)) {
        struct bytes literals;
        size_t n = (size_t)head + 1;
        size_t back;

        if (head < LITERALS_MAX) {
            if (n > len - at || !bytes_take(&in, n, &literals))
                return false;
            memcpy(dst + at, literals.ptr, n);
            at += n;
            continue;
        }
        if (!take_copy(&in, head, &n, &back) || n > len - at || back > at)
            return false;
        for (; n > 0; n--, at++)
            dst[at] = dst[at - back];
    }
    return at == len;
}
