/* The operation tables and the parser of --mix. */
#include "bench/load/bench_ops.h"

#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/num.h"

static const struct bench_op_info op_infos[BENCH_OP_COUNT] = {
#define OP_INFO(constant, op_name, op_verb, op_family, op_args, op_miss, op_verify, op_write) \
    [BENCH_OP_##constant] = {                                                                 \
        .name = op_name,                                                                      \
        .verb = op_verb,                                                                      \
        .family = BENCH_FAMILY_##op_family,                                                   \
        .args = op_args,                                                                      \
        .miss = BENCH_MISS_##op_miss,                                                         \
        .verify = BENCH_VERIFY_##op_verify,                                                   \
        .write = op_write,                                                                    \
    },
    BENCH_OP_TABLE(OP_INFO)
#undef OP_INFO
        [BENCH_OP_PRELOAD] = {.name = "preload", .verb = "", .args = ""},
};

static const struct {
    const char *name;
    char letter;
    const char *load_verb;
} family_infos[BENCH_FAMILY_COUNT] = {
#define FAMILY_INFO(constant, family_name, family_letter, verb) \
    [BENCH_FAMILY_##constant] = {family_name, family_letter, verb},
    BENCH_FAMILY_TABLE(FAMILY_INFO)
#undef FAMILY_INFO
};

const struct bench_op_info *bench_op_info(enum bench_op op)
{
    CHECK(op < BENCH_OP_COUNT);
    return &op_infos[op];
}

const char *bench_family_name(enum bench_family family)
{
    return family_infos[family].name;
}

char bench_family_letter(enum bench_family family)
{
    return family_infos[family].letter;
}

const char *bench_family_load_verb(enum bench_family family)
{
    return family_infos[family].load_verb;
}

int bench_family_parse(const char *name, enum bench_family *out)
{
    for (size_t i = 0; i < BENCH_FAMILY_COUNT; i++) {
        if (strcmp(family_infos[i].name, name) == 0) {
            *out = (enum bench_family)i;
            return 0;
        }
    }
    return -ERR_NOT_FOUND;
}

bool bench_op_generic(enum bench_op op)
{
    return op == BENCH_OP_DEL || op == BENCH_OP_EXPIRE || op == BENCH_OP_EXISTS;
}

static int find_op(struct bytes name, enum bench_op *out)
{
    for (size_t i = 0; i < BENCH_OP_PRELOAD; i++) {
        if (bytes_eq_nocase(name, op_infos[i].name)) {
            *out = (enum bench_op)i;
            return 0;
        }
    }
    return -ERR_NOT_FOUND;
}

/* "name" or "name=weight". */
static int parse_entry(struct bytes text, struct bench_mix *mix)
{
    const size_t equals = bytes_find_u8(text, '=');
    uint64_t weight = 1;
    enum bench_op op;

    if (equals < text.len && !num_parse_u64(bytes_from(text, equals + 1), &weight))
        return -ERR_SYNTAX;
    if (weight == 0 || weight > UINT32_MAX)
        return -ERR_RANGE;
    const int err = find_op(bytes_of(text.ptr, equals), &op);
    if (err != 0)
        return err;
    for (size_t i = 0; i < mix->count; i++) {
        if (mix->ops[i] == op)
            return -ERR_EXISTS;
    }
    const uint64_t before = mix->count == 0 ? 0 : mix->weight_ends[mix->count - 1];
    mix->ops[mix->count] = op;
    mix->weight_ends[mix->count] = before + weight;
    mix->count++;
    return 0;
}

int bench_mix_parse(const char *text, struct bench_mix *out)
{
    struct bench_mix mix = {0};
    struct bytes rest = bytes_cstr(text);

    for (;;) {
        const size_t comma = bytes_find_u8(rest, ',');
        const int err = parse_entry(bytes_of(rest.ptr, comma), &mix);
        if (err != 0)
            return err;
        if (comma == rest.len)
            break;
        rest = bytes_from(rest, comma + 1);
    }
    *out = mix;
    return 0;
}

uint64_t bench_mix_weight(const struct bench_mix *mix, size_t i)
{
    CHECK(i < mix->count);
    return mix->weight_ends[i] - (i == 0 ? 0 : mix->weight_ends[i - 1]);
}
