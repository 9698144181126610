/*
 * Making and reading row keys; the header has the layout.
 */
#include "engine/value/rowkey.h"

#include <math.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/sum.h"

#define SIGN_BIT (UINT64_C(1) << 63)

void rowkey_hash_store(uint8_t dst[ROWKEY_HASH_BYTES], struct bytes sub)
{
    uint8_t sum[8];

    be64_store(sum, hash64(sub.ptr, sub.len, 0));
    memcpy(dst, sum, ROWKEY_HASH_BYTES);
}

size_t rowkey_store_elem(uint8_t *dst, uint16_t slot, uint64_t hash, struct bytes key, uint8_t kind,
                         struct bytes sub)
{
    size_t len = rowkey_store_prefix(dst, slot, hash, key);

    dst[len++] = kind;
    if (rowkey_kind_hashed(kind)) {
        rowkey_hash_store(dst + len, sub);
        len += ROWKEY_HASH_BYTES;
    }
    if (sub.len != 0)
        memcpy(dst + len, sub.ptr, sub.len);
    return len + sub.len;
}

size_t rowkey_store_zindex(uint8_t *dst, uint16_t slot, uint64_t hash, struct bytes key,
                           double score, struct bytes member)
{
    size_t len = rowkey_store_prefix(dst, slot, hash, key);

    dst[len++] = ROWKEY_KIND_ZINDEX;
    rowkey_score_store(dst + len, score);
    len += ROWKEY_SCORE_BYTES;
    if (member.len != 0)
        memcpy(dst + len, member.ptr, member.len);
    return len + member.len;
}

size_t rowkey_store_after(uint8_t *dst, struct bytes prefix)
{
    size_t len = prefix.len;

    while (len > 0 && prefix.ptr[len - 1] == 0xff)
        len--;
    if (len == 0)
        return 0;
    memmove(dst, prefix.ptr, len);
    dst[len - 1]++;
    return len;
}

/* Reads slot, hash and key from the front of `*in`. */
static int head_get(struct bytes *in, struct rowkey *out)
{
    if (in->len < ROWKEY_HEAD_BYTES)
        return -ERR_CORRUPT;
    out->slot = be16_load(in->ptr);
    out->hash = be64_load(in->ptr + 2);

    const size_t key_len = be16_load(in->ptr + 10);

    if (out->slot >= ROWKEY_SPECIAL_SLOT)
        return -ERR_CORRUPT;
    *in = bytes_from(*in, ROWKEY_HEAD_BYTES);
    return bytes_take(in, key_len, &out->key) ? 0 : -ERR_CORRUPT;
}

int rowkey_parse(struct bytes rowkey, struct rowkey *out)
{
    struct rowkey parsed;

    if (head_get(&rowkey, &parsed) != 0 || rowkey.len < 1)
        return -ERR_CORRUPT;
    parsed.kind = rowkey.ptr[0];
    parsed.sub = bytes_from(rowkey, 1);
    if (rowkey_kind_hashed(parsed.kind)) {
        if (parsed.sub.len < ROWKEY_HASH_BYTES)
            return -ERR_CORRUPT;
        parsed.sub = bytes_from(parsed.sub, ROWKEY_HASH_BYTES);
    }
    if (parsed.kind == ROWKEY_KIND_KEY && parsed.sub.len != 0)
        return -ERR_CORRUPT;
    if (parsed.kind == ROWKEY_KIND_ZINDEX && parsed.sub.len < ROWKEY_SCORE_BYTES)
        return -ERR_CORRUPT;
    *out = parsed;
    return 0;
}

/*
 * IEEE doubles compare as sign and magnitude. Positive numbers get the sign bit set, negative ones
 * all bits flipped: then unsigned order is numeric order.
 */
void rowkey_score_store(uint8_t dst[ROWKEY_SCORE_BYTES], double score)
{
    const double plain = score == 0.0 ? 0.0 : score; /* Not -0. */
    uint64_t bits;

    CHECK(!isnan(score));
    memcpy(&bits, &plain, sizeof(bits));
    be64_store(dst, (bits & SIGN_BIT) != 0 ? ~bits : bits | SIGN_BIT);
}

double rowkey_score_load(const uint8_t src[ROWKEY_SCORE_BYTES])
{
    const uint64_t stored = be64_load(src);
    const uint64_t bits = (stored & SIGN_BIT) != 0 ? stored & ~SIGN_BIT : ~stored;
    double score;

    memcpy(&score, &bits, sizeof(score));
    return score;
}

size_t rowkey_store_expiry(uint8_t *dst, uint64_t at_ms, uint16_t slot, uint64_t hash,
                           struct bytes key)
{
    dst[0] = ROWKEY_SPECIAL;
    dst[1] = ROWKEY_EXPIRY;
    be64_store(dst + 2, at_ms);
    return 10 + rowkey_store_prefix(dst + 10, slot, hash, key);
}

/* The part after the marker of a special row names a key and nothing else. */
static int special_parse(struct bytes rest, struct rowkey *out)
{
    struct rowkey parsed;

    if (head_get(&rest, &parsed) != 0 || rest.len != 0)
        return -ERR_CORRUPT;
    parsed.kind = ROWKEY_KIND_KEY;
    parsed.sub = bytes_of(NULL, 0);
    *out = parsed;
    return 0;
}

int rowkey_parse_expiry(struct bytes rowkey, uint64_t *out_at_ms, struct rowkey *out)
{
    if (rowkey.len < 10 || rowkey.ptr[0] != ROWKEY_SPECIAL || rowkey.ptr[1] != ROWKEY_EXPIRY)
        return -ERR_CORRUPT;

    const uint64_t at_ms = be64_load(rowkey.ptr + 2);
    const int err = special_parse(bytes_from(rowkey, 10), out);

    if (err == 0)
        *out_at_ms = at_ms;
    return err;
}

size_t rowkey_store_sweep(uint8_t *dst, uint16_t slot, uint64_t hash, struct bytes key)
{
    dst[0] = ROWKEY_SPECIAL;
    dst[1] = ROWKEY_SWEEP;
    return 2 + rowkey_store_prefix(dst + 2, slot, hash, key);
}

int rowkey_parse_sweep(struct bytes rowkey, struct rowkey *out)
{
    if (rowkey.len < 2 || rowkey.ptr[0] != ROWKEY_SPECIAL || rowkey.ptr[1] != ROWKEY_SWEEP)
        return -ERR_CORRUPT;
    return special_parse(bytes_from(rowkey, 2), out);
}
