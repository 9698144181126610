/* Packed collections; rdb_pack.h describes their bytes. */
#include "server/rdb_pack.h"

#include <string.h>

#include "engine/base/err.h"
#include "engine/base/le.h"

#include "server/rdb.h"

#define PACK_END      0xffu
#define COUNT_UNKNOWN UINT16_MAX
#define INTSET_HEAD   8u
#define LISTPACK_HEAD 6u
#define ZIPLIST_HEAD  10u
#define PREV_LONG     0xfeu
/* Of the length behind an element of a listpack. */
#define BACK_BYTES_MAX 5u

/* Little-endian, of `width` 1 .. 8 bytes. */
static int64_t signed_le(const uint8_t *p, size_t width)
{
    uint64_t v = 0;

    for (size_t i = width; i-- > 0;)
        v = v << 8 | p[i];
    const unsigned shift = (unsigned)(64 - 8 * width);
    return (int64_t)(v << shift) >> shift;
}

/* An element: a string, or a number. */
struct packed {
    struct bytes text;
    int64_t number;
    bool is_number;
};

static int add(struct rdb_value *to, const struct packed *e)
{
    return e->is_number ? rdb_item_add_i64(to, e->number) : rdb_item_add(to, e->text);
}

/* An integer of `width` bytes. False: the bytes end within it. */
static bool take_number(struct bytes *in, size_t width, struct packed *out)
{
    struct bytes data;

    if (!bytes_take(in, width, &data))
        return false;
    *out = (struct packed){.number = signed_le(data.ptr, width), .is_number = true};
    return true;
}

static bool take_text(struct bytes *in, size_t len, struct packed *out)
{
    *out = (struct packed){0};
    return bytes_take(in, len, &out->text);
}

/* --- intset --- */

int rdb_intset(struct bytes in, struct rdb_value *to, uint64_t *out_count)
{
    int64_t last = 0;

    if (in.len < INTSET_HEAD)
        return -ERR_CORRUPT;
    const uint32_t width = le32_load(in.ptr);
    const uint32_t count = le32_load(in.ptr + 4);
    if ((width != 2 && width != 4 && width != 8) || in.len - INTSET_HEAD != (uint64_t)width * count)
        return -ERR_CORRUPT;
    for (uint32_t i = 0; i < count; i++) {
        const int64_t number = signed_le(in.ptr + INTSET_HEAD + (size_t)i * width, width);
        if (i > 0 && number <= last)
            return -ERR_CORRUPT;
        const int err = rdb_item_add_i64(to, number);
        if (err != 0)
            return err;
        last = number;
    }
    *out_count = count;
    return 0;
}

/* --- listpack --- */

/* The length of an element as it stands behind it; returns how many bytes that takes. */
static size_t back_store(uint8_t out[BACK_BYTES_MAX], uint64_t len)
{
    /* Redis takes one more byte from 2^14 - 1 on, not from 2^14, and so on. */
    static const uint64_t below[] = {128, 16383, 2097151, 268435455};
    size_t n = 1;

    while (n < BACK_BYTES_MAX && len >= below[n - 1])
        n++;
    for (size_t i = 0; i < n; i++) {
        const uint8_t bits = (uint8_t)(len >> (7 * (n - 1 - i)) & 0x7f);
        out[i] = i == 0 ? bits : (uint8_t)(bits | 0x80);
    }
    return n;
}

static bool listpack_wide(struct bytes *in, uint8_t head, struct packed *out)
{
    struct bytes len;

    switch (head) {
    case 0xf0:
        return bytes_take(in, 4, &len) && take_text(in, le32_load(len.ptr), out);
    case 0xf1:
        return take_number(in, 2, out);
    case 0xf2:
        return take_number(in, 3, out);
    case 0xf3:
        return take_number(in, 4, out);
    case 0xf4:
        return take_number(in, 8, out);
    default:
        return false;
    }
}

static bool listpack_take(struct bytes *in, struct packed *out)
{
    struct bytes byte;

    if (!bytes_take(in, 1, &byte))
        return false;
    const uint8_t head = byte.ptr[0];
    if (head < 0x80) {
        *out = (struct packed){.number = head, .is_number = true};
        return true;
    }
    if (head < 0xc0)
        return take_text(in, head & 0x3fu, out);
    if (head >= 0xf0)
        return listpack_wide(in, head, out);
    if (!bytes_take(in, 1, &byte))
        return false;
    if (head >= 0xe0)
        return take_text(in, (size_t)(head & 0x0fu) << 8 | byte.ptr[0], out);
    const int64_t number = (int64_t)(head & 0x1fu) << 8 | byte.ptr[0];
    *out = (struct packed){.number = number >= 4096 ? number - 8192 : number, .is_number = true};
    return true;
}

/* The length behind an element that began at `start`. */
static bool listpack_back(struct bytes *in, const uint8_t *start)
{
    uint8_t want[BACK_BYTES_MAX];
    struct bytes back;
    const size_t n = back_store(want, (uint64_t)(in->ptr - start));

    return bytes_take(in, n, &back) && memcmp(back.ptr, want, n) == 0;
}

/* The bytes between head and end, whose total stands in front; false: they are not as they say. */
static bool body_of(struct bytes *in, size_t head)
{
    if (in->len < head + 1 || le32_load(in->ptr) != in->len || in->ptr[in->len - 1] != PACK_END)
        return false;
    *in = bytes_of(in->ptr + head, in->len - head - 1);
    return true;
}

int rdb_listpack(struct bytes in, struct rdb_value *to, uint64_t *out_count)
{
    const uint8_t *head = in.ptr;
    struct packed e;
    uint64_t count = 0;

    if (!body_of(&in, LISTPACK_HEAD))
        return -ERR_CORRUPT;
    for (; in.len != 0; count++) {
        const uint8_t *start = in.ptr;
        if (!listpack_take(&in, &e) || !listpack_back(&in, start))
            return -ERR_CORRUPT;
        const int err = add(to, &e);
        if (err != 0)
            return err;
    }
    const uint16_t said = le16_load(head + 4);
    if (said != COUNT_UNKNOWN && said != count)
        return -ERR_CORRUPT;
    *out_count = count;
    return 0;
}

/* --- ziplist --- */

/* The length of the element before, which is known. */
static bool ziplist_prev(struct bytes *in, size_t want)
{
    struct bytes data;

    if (!bytes_take(in, 1, &data))
        return false;
    if (data.ptr[0] < PREV_LONG)
        return data.ptr[0] == want;
    return data.ptr[0] == PREV_LONG && bytes_take(in, 4, &data) && le32_load(data.ptr) == want;
}

static bool ziplist_number(struct bytes *in, uint8_t head, struct packed *out)
{
    switch (head) {
    case 0xc0:
        return take_number(in, 2, out);
    case 0xd0:
        return take_number(in, 4, out);
    case 0xe0:
        return take_number(in, 8, out);
    case 0xf0:
        return take_number(in, 3, out);
    case 0xfe:
        return take_number(in, 1, out);
    default:
        if (head < 0xf1 || head > 0xfd)
            return false;
        *out = (struct packed){.number = head - 0xf1, .is_number = true};
        return true;
    }
}

static bool ziplist_take(struct bytes *in, struct packed *out)
{
    struct bytes data;

    if (!bytes_take(in, 1, &data))
        return false;
    const uint8_t head = data.ptr[0];
    if (head >= 0xc0)
        return ziplist_number(in, head, out);
    if (head < 0x40)
        return take_text(in, head, out);
    if (head < 0x80)
        return bytes_take(in, 1, &data) &&
               take_text(in, (size_t)(head & 0x3fu) << 8 | data.ptr[0], out);
    return head == 0x80 && bytes_take(in, 4, &data) && take_text(in, be32_load(data.ptr), out);
}

int rdb_ziplist(struct bytes in, struct rdb_value *to, uint64_t *out_count)
{
    const uint8_t *head = in.ptr;
    size_t last = ZIPLIST_HEAD;
    size_t prev = 0;
    struct packed e;
    uint64_t count = 0;

    if (!body_of(&in, ZIPLIST_HEAD))
        return -ERR_CORRUPT;
    for (; in.len != 0; count++) {
        const uint8_t *start = in.ptr;
        if (!ziplist_prev(&in, prev) || !ziplist_take(&in, &e))
            return -ERR_CORRUPT;
        last = (size_t)(start - head);
        prev = (size_t)(in.ptr - start);
        const int err = add(to, &e);
        if (err != 0)
            return err;
    }
    const uint16_t said = le16_load(head + 8);
    if (le32_load(head + 4) != last || (said != COUNT_UNKNOWN && said != count))
        return -ERR_CORRUPT;
    *out_count = count;
    return 0;
}
