/* HyperLogLog values; hll.h describes their bytes. */
#include "engine/value/hll.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#define MAGIC_BYTES   4
#define ENCODING_AT   4
#define CACHE_AT      8
#define CACHE_VOID    0x80u
#define DENSE         0
#define SPARSE        1
#define REGISTER_BITS 14
#define HASH_SEED     UINT64_C(0xadc83b19)

#define ZERO_RUN_MAX     64u
#define XZERO_RUN_MAX    16384u
#define VALUE_RUN_MAX    4u
#define SPARSE_VALUE_MAX 32u
#define RUN_BYTES_MAX    2u
/* What one change may put in the place of a run. */
#define SPLIT_BYTES_MAX 5u
/* Runs from the one before a change on that are looked at for merging. */
#define MERGE_RUNS 5

static const uint8_t magic[MAGIC_BYTES] = {'H', 'Y', 'L', 'L'};

bool hll_valid(struct bytes value)
{
    if (value.len < HLL_HEAD_BYTES || memcmp(value.ptr, magic, MAGIC_BYTES) != 0 ||
        value.ptr[ENCODING_AT] > SPARSE)
        return false;
    return value.ptr[ENCODING_AT] == SPARSE || value.len == HLL_DENSE_BYTES;
}

/* MurmurHash64A, as Austin Appleby published it, over little-endian words. */
static uint64_t murmur(struct bytes key, uint64_t seed)
{
    const uint64_t m = UINT64_C(0xc6a4a7935bd1e995);
    const size_t words = key.len / 8;
    const size_t rest = key.len % 8;
    uint64_t h = seed ^ key.len * m;

    for (size_t i = 0; i < words; i++) {
        uint64_t k = le64_load(key.ptr + 8 * i) * m;
        k = (k ^ k >> 47) * m;
        h = (h ^ k) * m;
    }
    if (rest != 0) {
        uint64_t k = 0;
        for (size_t i = rest; i-- > 0;)
            k = k << 8 | key.ptr[8 * words + i];
        h = (h ^ k) * m;
    }
    h = (h ^ h >> 47) * m;
    return h ^ h >> 47;
}

void hll_hash(struct bytes element, uint32_t *out_register, uint8_t *out_value)
{
    const uint64_t hash = murmur(element, HASH_SEED);
    /* The bit above the hash's ends the count. */
    const uint64_t rest = hash >> REGISTER_BITS | UINT64_C(1) << (64 - REGISTER_BITS);

    *out_register = (uint32_t)hash & (HLL_REGISTERS - 1);
    *out_value = (uint8_t)(__builtin_ctzll(rest) + 1);
}

/* --- dense --- */

static uint8_t dense_get(const uint8_t *registers, uint32_t reg)
{
    const uint32_t byte = reg * 6 / 8, shift = reg * 6 % 8;
    const uint32_t high = shift > 2 ? registers[byte + 1] : 0;

    return (uint8_t)(((uint32_t)registers[byte] >> shift | high << (8 - shift)) & 63u);
}

static void dense_set(uint8_t *registers, uint32_t reg, uint8_t value)
{
    const uint32_t byte = reg * 6 / 8, shift = reg * 6 % 8;

    registers[byte] = (uint8_t)((registers[byte] & ~(63u << shift)) | (unsigned)value << shift);
    if (shift > 2)
        registers[byte + 1] = (uint8_t)((registers[byte + 1] & ~(63u >> (8 - shift))) |
                                        (unsigned)value >> (8 - shift));
}

/* --- sparse runs --- */

/* False: the bytes end within it. */
static bool run_read(const uint8_t *p, const uint8_t *end, struct hll_run *out)
{
    if (p >= end)
        return false;
    if ((p[0] & 0x80) != 0) {
        *out = (struct hll_run){
            .count = (p[0] & 3u) + 1, .value = (uint8_t)((p[0] >> 2 & 31u) + 1), .bytes = 1};
        return true;
    }
    if ((p[0] & 0x40) == 0) {
        *out = (struct hll_run){.count = (p[0] & 63u) + 1, .bytes = 1};
        return true;
    }
    if (end - p < 2)
        return false;
    *out = (struct hll_run){.count = ((p[0] & 63u) << 8 | p[1]) + 1, .bytes = 2, .extended = true};
    return true;
}

static uint8_t value_run(uint8_t value, uint32_t count)
{
    return (uint8_t)(0x80u | (value - 1u) << 2 | (count - 1));
}

/* `count` registers of the value (0: zeros) from `to` on; returns where it ends. */
static uint8_t *run_write(uint8_t *to, uint8_t value, uint32_t count)
{
    if (count == 0)
        return to;
    if (value != 0) {
        *to++ = value_run(value, count);
    } else if (count <= ZERO_RUN_MAX) {
        *to++ = (uint8_t)(count - 1);
    } else {
        *to++ = (uint8_t)(0x40u | (count - 1) >> 8);
        *to++ = (uint8_t)(count - 1);
    }
    return to;
}

bool hll_run_at(struct bytes value, size_t *at, struct hll_run *out)
{
    if (!run_read(value.ptr + HLL_HEAD_BYTES + *at, value.ptr + value.len, out))
        return false;
    *at += out->bytes;
    return true;
}

bool hll_merge(struct bytes value, struct hll_registers *registers)
{
    const uint8_t *p = value.ptr + HLL_HEAD_BYTES;
    const uint8_t *end = value.ptr + value.len;
    uint32_t at = 0;
    struct hll_run run;

    if (hll_is_dense(value)) {
        for (uint32_t i = 0; i < HLL_REGISTERS; i++) {
            const uint8_t v = dense_get(p, i);
            registers->at[i] = v > registers->at[i] ? v : registers->at[i];
        }
        return true;
    }
    for (; run_read(p, end, &run); p += run.bytes) {
        if (run.count > HLL_REGISTERS - at)
            return false;
        for (uint32_t i = 0; i < run.count && run.value != 0; i++) {
            uint8_t *reg = &registers->at[at + i];
            *reg = run.value > *reg ? run.value : *reg;
        }
        at += run.count;
    }
    return p == end && at == HLL_REGISTERS;
}

/* --- from registers --- */

/* The same register from `at` on, as far as one run can say. */
static uint32_t run_length(const struct hll_registers *registers, uint32_t at)
{
    const uint8_t value = registers->at[at];
    const uint32_t max = value != 0 ? VALUE_RUN_MAX : XZERO_RUN_MAX;
    uint32_t count = 1;

    while (count < max && at + count < HLL_REGISTERS && registers->at[at + count] == value)
        count++;
    return count;
}

/* Where the runs end, behind the head at `dst`; NULL if they take more than `room` with it. */
static uint8_t *sparse_write(const struct hll_registers *registers, uint8_t *dst, uint64_t room)
{
    uint8_t *to = dst + HLL_HEAD_BYTES;

    for (uint32_t at = 0; at < HLL_REGISTERS;) {
        const uint32_t count = run_length(registers, at);

        if (registers->at[at] > SPARSE_VALUE_MAX || (uint64_t)(to - dst) + RUN_BYTES_MAX > room)
            return NULL;
        to = run_write(to, registers->at[at], count);
        at += count;
    }
    return to;
}

int hll_encode(const struct hll_registers *registers, uint64_t sparse_max, struct buf *out)
{
    const int err = buf_reserve(out, HLL_DENSE_BYTES);

    if (err != 0)
        return err;
    uint8_t *dst = buf_end(out);
    memset(dst, 0, HLL_DENSE_BYTES);
    memcpy(dst, magic, MAGIC_BYTES);
    dst[CACHE_AT + 7] = CACHE_VOID;
    const uint8_t *end = sparse_write(registers, dst, u64_min(sparse_max, HLL_DENSE_BYTES));
    if (end != NULL) {
        dst[ENCODING_AT] = SPARSE;
        buf_commit(out, (size_t)(end - dst));
        return 0;
    }
    memset(dst + HLL_HEAD_BYTES, 0, HLL_DENSE_BYTES - HLL_HEAD_BYTES);
    for (uint32_t i = 0; i < HLL_REGISTERS; i++)
        dense_set(dst + HLL_HEAD_BYTES, i, registers->at[i]);
    buf_commit(out, HLL_DENSE_BYTES);
    return 0;
}

/* --- the estimate --- */

static double sigma(double x)
{
    double y = 1;
    double z = x;
    double last;

    if (x == 1.0)
        return (double)INFINITY;
    do {
        x *= x;
        last = z;
        z += x * y;
        y += y;
    } while (last != z);
    return z;
}

static double tau(double x)
{
    double y = 1.0;
    double z = 1 - x;
    double last;

    if (x == 0.0 || x == 1.0)
        return 0.0;
    do {
        x = sqrt(x);
        last = z;
        y *= 0.5;
        z -= (1 - x) * (1 - x) * y;
    } while (last != z);
    return z / 3;
}

uint64_t hll_estimate(const struct hll_registers *registers)
{
    const double m = HLL_REGISTERS;
    /* 1 / (2 ln 2) */
    const double alpha = 0.721347520444481703680;
    uint32_t of_value[64] = {0};

    /* A dense register that a client wrote may be anything up to 63. */
    for (uint32_t i = 0; i < HLL_REGISTERS; i++)
        of_value[registers->at[i] & 63u]++;
    double z = m * tau((m - of_value[HLL_VALUE_MAX]) / m);
    for (uint32_t j = HLL_VALUE_MAX - 1; j >= 1; j--)
        z = (z + of_value[j]) * 0.5;
    z += m * sigma(of_value[0] / m);
    /* Registers that no hash can give, all of them. */
    if (z <= 0)
        return INT64_MAX;
    return (uint64_t)llroundl((long double)(alpha * m * m / z));
}

bool hll_cached(struct bytes value, uint64_t *out)
{
    if ((value.ptr[CACHE_AT + 7] & CACHE_VOID) != 0)
        return false;
    *out = le64_load(value.ptr + CACHE_AT);
    return true;
}

void hll_drop_cache(struct hll *h)
{
    h->ptr[CACHE_AT + 7] |= CACHE_VOID;
}

void hll_keep_count(struct hll *h, uint64_t count)
{
    le64_store(h->ptr + CACHE_AT, count);
}

/* --- changes --- */

int hll_init(struct hll *h, struct bytes from)
{
    /* A sparse value of any length can be made dense, and one change fits behind it. */
    const size_t room = size_max(from.len, HLL_DENSE_BYTES) + SPLIT_BYTES_MAX;

    *h = (struct hll){.ptr = mem_try_zalloc(room), .room = room};
    if (h->ptr == NULL)
        return -ENOMEM;
    if (from.len != 0) {
        memcpy(h->ptr, from.ptr, from.len);
        h->len = from.len;
        return 0;
    }
    memcpy(h->ptr, magic, MAGIC_BYTES);
    h->ptr[ENCODING_AT] = SPARSE;
    h->len = (size_t)(run_write(h->ptr + HLL_HEAD_BYTES, 0, XZERO_RUN_MAX) - h->ptr);
    return 0;
}

void hll_deinit(struct hll *h)
{
    mem_free(h->ptr);
    *h = (struct hll){0};
}

int hll_to_dense(struct hll *h)
{
    struct hll_registers *registers;
    int err = 0;

    if (hll_is_dense(bytes_of(h->ptr, h->len)))
        return 0;
    registers = mem_zalloc(sizeof(*registers));
    if (hll_merge(bytes_of(h->ptr, h->len), registers)) {
        h->ptr[ENCODING_AT] = DENSE;
        h->len = HLL_DENSE_BYTES;
        memset(h->ptr + HLL_HEAD_BYTES, 0, HLL_DENSE_BYTES - HLL_HEAD_BYTES);
        for (uint32_t i = 0; i < HLL_REGISTERS; i++)
            dense_set(h->ptr + HLL_HEAD_BYTES, i, registers->at[i]);
    } else {
        err = -ERR_CORRUPT;
    }
    mem_free(registers);
    return err;
}

static int dense_raise(struct hll *h, uint32_t reg, uint8_t value)
{
    if (dense_get(h->ptr + HLL_HEAD_BYTES, reg) >= value)
        return 0;
    dense_set(h->ptr + HLL_HEAD_BYTES, reg, value);
    hll_drop_cache(h);
    return 1;
}

static int promote(struct hll *h, uint32_t reg, uint8_t value)
{
    const int err = hll_to_dense(h);

    return err != 0 ? err : dense_raise(h, reg, value);
}

/* Joins neighbours of one value from `p` on, as far as Redis looks for them. */
static void merge_runs(struct hll *h, uint8_t *p)
{
    uint8_t *end = h->ptr + h->len;
    struct hll_run run, next;

    for (int left = MERGE_RUNS; left > 0 && run_read(p, end, &run); left--) {
        if (run.value != 0 && run_read(p + 1, end, &next) && next.value == run.value &&
            run.count + next.count <= VALUE_RUN_MAX) {
            p[1] = value_run(run.value, run.count + next.count);
            memmove(p, p + 1, (size_t)(end - p) - 1);
            end--;
            h->len--;
            continue;
        }
        p += run.bytes;
    }
}

/* Where a register stands among the runs. */
struct place {
    uint8_t *p;     /* Its run, */
    uint8_t *prev;  /* the one before it or, for the first, itself. */
    uint32_t first; /* The first register of the run. */
    struct hll_run run;
};

/* False: damaged. */
static bool find_run(const struct hll *h, uint32_t reg, struct place *out)
{
    const uint8_t *end = h->ptr + h->len;
    uint32_t first = 0;
    struct hll_run run;

    out->p = out->prev = h->ptr + HLL_HEAD_BYTES;
    while (run_read(out->p, end, &run)) {
        if (reg < first + run.count) {
            out->first = first;
            out->run = run;
            return true;
        }
        out->prev = out->p;
        out->p += run.bytes;
        first += run.count;
    }
    return false;
}

static int sparse_raise(struct hll *h, uint32_t reg, uint8_t value, uint64_t sparse_max)
{
    uint8_t split[SPLIT_BYTES_MAX];
    struct place place;

    if (value > SPARSE_VALUE_MAX)
        return promote(h, reg, value);
    if (!find_run(h, reg, &place))
        return -ERR_CORRUPT;
    const struct hll_run *run = &place.run;
    if (run->value >= value)
        return 0;
    if (run->count == 1 && !run->extended) {
        *place.p = value_run(value, 1);
    } else {
        uint8_t *to = run_write(split, run->value, reg - place.first);
        to = run_write(to, value, 1);
        to = run_write(to, run->value, place.first + run->count - 1 - reg);
        const size_t len = (size_t)(to - split);
        const size_t after = h->len + len - run->bytes;
        if (len > run->bytes && (after > sparse_max || after > h->room))
            return promote(h, reg, value);
        const size_t rest = (size_t)(h->ptr + h->len - (place.p + run->bytes));
        memmove(place.p + len, place.p + run->bytes, rest);
        memcpy(place.p, split, len);
        h->len = after;
    }
    merge_runs(h, place.prev);
    hll_drop_cache(h);
    return 1;
}

int hll_raise(struct hll *h, uint32_t reg, uint8_t value, uint64_t sparse_max)
{
    CHECK(reg < HLL_REGISTERS);
    if (hll_is_dense(bytes_of(h->ptr, h->len)))
        return dense_raise(h, reg, value);
    return sparse_raise(h, reg, value, sparse_max);
}
