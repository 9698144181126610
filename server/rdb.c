/* Values of Redis's RDB format; rdb.h describes their bytes. */
#include "server/rdb.h"

#include <errno.h>
#include <math.h>

#include "engine/base/crc64.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"
#include "engine/base/sum.h"

#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "server/lzf.h"
#include "server/rdb_pack.h"

enum rdb_type {
    RDB_STRING = 0,
    RDB_LIST = 1,
    RDB_SET = 2,
    RDB_ZSET = 3,
    RDB_HASH = 4,
    RDB_ZSET_2 = 5,
    RDB_LIST_ZIPLIST = 10,
    RDB_SET_INTSET = 11,
    RDB_ZSET_ZIPLIST = 12,
    RDB_HASH_ZIPLIST = 13,
    RDB_LIST_QUICKLIST = 14,
    RDB_HASH_LISTPACK = 16,
    RDB_ZSET_LISTPACK = 17,
    RDB_LIST_QUICKLIST_2 = 18
};

enum string_encoding {
    ENCODED_I8 = 0,
    ENCODED_I16 = 1,
    ENCODED_I32 = 2,
    ENCODED_LZF = 3
};

/* Of a list of type 18. */
enum node_kind {
    NODE_PLAIN = 1,
    NODE_LISTPACK = 2
};

#define LEN_32       0x80u
#define LEN_64       0x81u
#define ENCODED      0xc0u
#define SCORE_NAN    253u
#define SCORE_INF    254u
#define SCORE_NEGINF 255u

/* --- items --- */

void rdb_value_init(struct rdb_value *v, size_t items_max)
{
    *v = (struct rdb_value){0};
    buf_init(&v->items, items_max);
}

void rdb_value_deinit(struct rdb_value *v)
{
    buf_deinit(&v->items);
}

/* Room for an item of `len` bytes, which the caller writes; NULL with *err set. */
static uint8_t *item_space(struct rdb_value *v, size_t len, int *err)
{
    if (len > UINT32_MAX) {
        *err = -ERR_LIMIT;
        return NULL;
    }
    *err = buf_reserve(&v->items, len + 4);
    if (*err != 0)
        return NULL;
    uint8_t *at = buf_end(&v->items);
    le32_store(at, (uint32_t)len);
    buf_commit(&v->items, len + 4);
    return at + 4;
}

int rdb_item_add(struct rdb_value *v, struct bytes item)
{
    int err;
    uint8_t *at = item_space(v, item.len, &err);

    if (at != NULL && item.len != 0)
        memcpy(at, item.ptr, item.len);
    return err;
}

int rdb_item_add_i64(struct rdb_value *v, int64_t number)
{
    char text[NUM_I64_BYTES];

    return rdb_item_add(v, bytes_of(text, num_print_i64(text, number)));
}

bool rdb_item(struct bytes *in, struct bytes *out)
{
    struct bytes len;

    return bytes_take(in, 4, &len) && bytes_take(in, le32_load(len.ptr), out);
}

/* --- reading lengths and strings --- */

/* A length, or with *encoded the encoding of a string. False: the bytes end within it. */
static bool take_len(struct bytes *in, uint64_t *out, bool *encoded)
{
    struct bytes data;

    if (!bytes_take(in, 1, &data))
        return false;
    const uint8_t head = data.ptr[0];
    *encoded = head >= ENCODED;
    if (*encoded || head < 0x40) {
        *out = head & 0x3fu;
        return true;
    }
    if (head < LEN_32) {
        if (!bytes_take(in, 1, &data))
            return false;
        *out = (uint64_t)(head & 0x3fu) << 8 | data.ptr[0];
        return true;
    }
    if ((head != LEN_32 && head != LEN_64) || !bytes_take(in, head == LEN_32 ? 4 : 8, &data))
        return false;
    *out = head == LEN_32 ? be32_load(data.ptr) : be64_load(data.ptr);
    return true;
}

static bool take_count(struct bytes *in, uint64_t *out)
{
    bool encoded;

    return take_len(in, out, &encoded) && !encoded;
}

static int add_integer(struct bytes *in, uint64_t encoding, struct rdb_value *to)
{
    struct bytes data;

    if (!bytes_take(in, (size_t)1 << encoding, &data))
        return -ERR_CORRUPT;
    if (encoding == ENCODED_I8)
        return rdb_item_add_i64(to, (int8_t)data.ptr[0]);
    if (encoding == ENCODED_I16)
        return rdb_item_add_i64(to, (int16_t)le16_load(data.ptr));
    return rdb_item_add_i64(to, (int32_t)le32_load(data.ptr));
}

static int add_lzf(struct bytes *in, struct rdb_value *to)
{
    uint64_t packed_len, len;
    struct bytes packed;
    int err;

    if (!take_count(in, &packed_len) || !take_count(in, &len) ||
        !bytes_take(in, packed_len, &packed) || len > (uint64_t)packed.len * LZF_RATIO_MAX)
        return -ERR_CORRUPT;
    uint8_t *at = item_space(to, len, &err);
    if (at == NULL)
        return err;
    return lzf_expand(packed, at, len) ? 0 : -ERR_CORRUPT;
}

/* A string as an item. */
static int add_string(struct bytes *in, struct rdb_value *to)
{
    uint64_t len;
    bool encoded;
    struct bytes text;

    if (!take_len(in, &len, &encoded))
        return -ERR_CORRUPT;
    if (encoded)
        return len == ENCODED_LZF  ? add_lzf(in, to)
               : len < ENCODED_LZF ? add_integer(in, len, to)
                                   : -ERR_CORRUPT;
    return bytes_take(in, len, &text) ? rdb_item_add(to, text) : -ERR_CORRUPT;
}

/* --- reading values --- */

static int add_score(struct rdb_value *to, double score)
{
    uint8_t bytes[ROW_SCORE_BYTES];

    if (isnan(score))
        return -ERR_CORRUPT;
    row_score_store(bytes, score);
    return rdb_item_add(to, bytes_of(bytes, sizeof(bytes)));
}

static int add_text_score(struct bytes *in, struct rdb_value *to)
{
    struct bytes data;
    double score;

    if (!bytes_take(in, 1, &data))
        return -ERR_CORRUPT;
    const uint8_t len = data.ptr[0];
    if (len == SCORE_INF || len == SCORE_NEGINF)
        return add_score(to, len == SCORE_INF ? (double)INFINITY : (double)-INFINITY);
    if (len == SCORE_NAN || !bytes_take(in, len, &data) || !num_parse_double(data, &score))
        return -ERR_CORRUPT;
    return add_score(to, score);
}

static int add_binary_score(struct bytes *in, struct rdb_value *to)
{
    struct bytes data;
    double score;

    if (!bytes_take(in, 8, &data))
        return -ERR_CORRUPT;
    const uint64_t bits = le64_load(data.ptr);
    memcpy(&score, &bits, sizeof(score));
    return add_score(to, score);
}

/* Count, and as many strings, or pairs of them, or pairs with a score. */
static int read_strings(struct bytes *in, uint8_t type, struct rdb_value *out)
{
    int err = 0;

    if (!take_count(in, &out->count))
        return -ERR_CORRUPT;
    for (uint64_t i = 0; i < out->count && err == 0; i++) {
        err = add_string(in, out);
        if (err == 0 && type == RDB_HASH)
            err = add_string(in, out);
        else if (err == 0 && type == RDB_ZSET)
            err = add_text_score(in, out);
        else if (err == 0 && type == RDB_ZSET_2)
            err = add_binary_score(in, out);
    }
    return err;
}

typedef int pack_fn(struct bytes in, struct rdb_value *to, uint64_t *out_count);

/* A string with a packed collection, whose elements are added. */
static int read_packed(struct bytes *in, pack_fn *pack, struct rdb_value *out)
{
    struct rdb_value blob;
    struct bytes rest, packed;
    uint64_t count = 0;

    rdb_value_init(&blob, out->items.limit);
    int err = add_string(in, &blob);
    rest = buf_bytes(&blob.items);
    if (err == 0)
        err = rdb_item(&rest, &packed) ? pack(packed, out, &count) : -ERR_CORRUPT;
    out->count += count;
    rdb_value_deinit(&blob);
    return err;
}

/* The items of a packed sorted set: members and scores as text in turn. */
static int convert_scores(struct rdb_value *v)
{
    struct buf texts = v->items;
    struct bytes in = buf_bytes(&texts);
    struct bytes member, text;
    double score = 0;
    int err = 0;

    buf_init(&v->items, texts.limit);
    while (err == 0 && rdb_item(&in, &member)) {
        err = rdb_item(&in, &text) && num_parse_double(text, &score) ? rdb_item_add(v, member)
                                                                     : -ERR_CORRUPT;
        if (err == 0)
            err = add_score(v, score);
    }
    buf_deinit(&texts);
    return err;
}

/* Fields and values, or members and scores. */
static int read_packed_pairs(struct bytes *in, pack_fn *pack, struct rdb_value *out)
{
    const int err = read_packed(in, pack, out);

    if (err != 0)
        return err;
    if (out->count % 2 != 0)
        return -ERR_CORRUPT;
    out->count /= 2;
    return out->type == VT_ZSET ? convert_scores(out) : 0;
}

/* Lists in nodes. */
static int read_nodes(struct bytes *in, uint8_t type, struct rdb_value *out)
{
    uint64_t nodes, kind;
    int err = 0;

    if (!take_count(in, &nodes))
        return -ERR_CORRUPT;
    for (uint64_t i = 0; i < nodes && err == 0; i++) {
        if (type == RDB_LIST_QUICKLIST) {
            err = read_packed(in, rdb_ziplist, out);
            continue;
        }
        if (!take_count(in, &kind) || (kind != NODE_PLAIN && kind != NODE_LISTPACK))
            return -ERR_CORRUPT;
        if (kind == NODE_LISTPACK) {
            err = read_packed(in, rdb_listpack, out);
        } else {
            err = add_string(in, out);
            out->count++;
        }
    }
    return err;
}

static uint8_t type_of(uint8_t rdb_type)
{
    switch (rdb_type) {
    case RDB_STRING:
        return VT_STRING;
    case RDB_LIST:
    case RDB_LIST_ZIPLIST:
    case RDB_LIST_QUICKLIST:
    case RDB_LIST_QUICKLIST_2:
        return VT_LIST;
    case RDB_SET:
    case RDB_SET_INTSET:
        return VT_SET;
    case RDB_ZSET:
    case RDB_ZSET_2:
    case RDB_ZSET_ZIPLIST:
    case RDB_ZSET_LISTPACK:
        return VT_ZSET;
    case RDB_HASH:
    case RDB_HASH_ZIPLIST:
    case RDB_HASH_LISTPACK:
        return VT_HASH;
    default:
        return 0;
    }
}

static int read_value(struct bytes *in, uint8_t rdb_type, struct rdb_value *out)
{
    switch (rdb_type) {
    case RDB_STRING:
        out->count = 1;
        return add_string(in, out);
    case RDB_LIST:
    case RDB_SET:
    case RDB_ZSET:
    case RDB_HASH:
    case RDB_ZSET_2:
        return read_strings(in, rdb_type, out);
    case RDB_LIST_ZIPLIST:
        return read_packed(in, rdb_ziplist, out);
    case RDB_SET_INTSET:
        return read_packed(in, rdb_intset, out);
    case RDB_ZSET_ZIPLIST:
    case RDB_HASH_ZIPLIST:
        return read_packed_pairs(in, rdb_ziplist, out);
    case RDB_HASH_LISTPACK:
    case RDB_ZSET_LISTPACK:
        return read_packed_pairs(in, rdb_listpack, out);
    default:
        return read_nodes(in, rdb_type, out);
    }
}

/* --- double members --- */

/* Open addressing over the offsets of items + 1; at most half full. */
static int check_distinct(const struct rdb_value *v, uint64_t seed)
{
    struct bytes in = buf_bytes(&v->items);
    const uint8_t *base = in.ptr;
    struct bytes name, other, value;
    uint64_t cap = 64;
    int err = 0;

    while (cap / 2 < v->count)
        cap *= 2;
    uint64_t *slots = mem_try_zalloc(cap * sizeof(*slots));
    if (slots == NULL)
        return -ENOMEM;
    while (err == 0 && in.len != 0) {
        const uint64_t at = (uint64_t)(in.ptr - base);
        if (!rdb_item(&in, &name) || (v->type != VT_SET && !rdb_item(&in, &value)))
            break;
        uint64_t i = hash64(name.ptr, name.len, seed) & (cap - 1);
        for (; slots[i] != 0 && err == 0; i = (i + 1) & (cap - 1)) {
            struct bytes from = bytes_from(buf_bytes(&v->items), slots[i] - 1);
            if (rdb_item(&from, &other) && bytes_eq(other, name))
                err = -ERR_CORRUPT;
        }
        slots[i] = at + 1;
    }
    mem_free(slots);
    return err;
}

/* --- dumps --- */

bool rdb_footer_ok(struct bytes dump)
{
    if (dump.len < RDB_FOOTER_BYTES)
        return false;
    const uint8_t *footer = dump.ptr + dump.len - RDB_FOOTER_BYTES;
    return le16_load(footer) <= RDB_VERSION &&
           crc64(0, bytes_of(dump.ptr, dump.len - 8)) == le64_load(footer + 2);
}

int rdb_read(struct bytes dump, uint64_t seed, struct rdb_value *out)
{
    struct bytes in = bytes_of(dump.ptr, dump.len - RDB_FOOTER_BYTES);
    struct bytes head;

    if (!bytes_take(&in, 1, &head))
        return -ERR_CORRUPT;
    out->type = type_of(head.ptr[0]);
    if (out->type == 0)
        return -ERR_UNSUPPORTED;
    const int err = read_value(&in, head.ptr[0], out);
    if (err != 0)
        return err;
    /* Redis keeps no empty collections. */
    if (in.len != 0 || out->count == 0)
        return -ERR_CORRUPT;
    return out->type == VT_STRING || out->type == VT_LIST ? 0 : check_distinct(out, seed);
}

/* --- writing --- */

static int write_len(struct buf *out, uint64_t len)
{
    uint8_t bytes[9];
    size_t n;

    if (len < 0x40) {
        bytes[0] = (uint8_t)len;
        n = 1;
    } else if (len < 0x4000) {
        bytes[0] = (uint8_t)(0x40u | len >> 8);
        bytes[1] = (uint8_t)len;
        n = 2;
    } else if (len <= UINT32_MAX) {
        bytes[0] = LEN_32;
        be32_store(bytes + 1, (uint32_t)len);
        n = 5;
    } else {
        bytes[0] = LEN_64;
        be64_store(bytes + 1, len);
        n = 9;
    }
    return buf_append(out, bytes, n);
}

int rdb_write_head(struct buf *out, uint8_t type, uint64_t count)
{
    static const uint8_t types[] = {[VT_STRING] = RDB_STRING,
                                    [VT_LIST] = RDB_LIST,
                                    [VT_SET] = RDB_SET,
                                    [VT_ZSET] = RDB_ZSET_2,
                                    [VT_HASH] = RDB_HASH};

    CHECK(type < ARRAY_COUNT(types));
    const int err = buf_append_u8(out, types[type]);
    return err != 0 || type == VT_STRING ? err : write_len(out, count);
}

int rdb_write_string(struct buf *out, struct bytes text)
{
    const int err = write_len(out, text.len);

    return err != 0 ? err : buf_append_bytes(out, text);
}

int rdb_write_score(struct buf *out, double score)
{
    uint8_t bytes[8];
    uint64_t bits;

    memcpy(&bits, &score, sizeof(bits));
    le64_store(bytes, bits);
    return buf_append(out, bytes, sizeof(bytes));
}

int rdb_write_length(struct buf *out, uint64_t len)
{
    return write_len(out, len);
}

uint64_t rdb_sum(uint64_t sum, struct bytes more)
{
    return crc64(sum, more);
}

int rdb_write_footer_of(struct buf *out, uint64_t sum)
{
    uint8_t footer[RDB_FOOTER_BYTES];

    le16_store(footer, RDB_VERSION);
    le64_store(footer + 2, crc64(sum, bytes_of(footer, 2)));
    return buf_append(out, footer, sizeof(footer));
}

int rdb_write_footer(struct buf *out)
{
    return rdb_write_footer_of(out, rdb_sum(0, buf_bytes(out)));
}
