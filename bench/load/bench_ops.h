/*
 * The operations of a workload: one table, from which the parser of --mix, the command templates,
 * the help text and the reports derive.
 *
 * Keys of different families never meet (a letter in the key keeps them apart), so that a mix
 * over several types gives no WRONGTYPE. Arguments, in order, a letter each:
 *
 *     k  the key                        K  --multi keys
 *     v  a value                        P  --multi pairs of key and value
 *     f  the name of an element         1  the number 1
 *     s  a random score                 t  --ttl, in seconds
 *     r  two indexes: 0 and --range - 1
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_OPS_H
#define TIERRA_BENCH_LOAD_BENCH_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

/* clang-format off */
/* X(constant, name, letter in the key or 0, what a preload writes) */
#define BENCH_FAMILY_TABLE(X)                    \
    X(STRING,  "string",   0,  "SET")            \
    X(APPEND,  "append",  'a', NULL)             \
    X(COUNTER, "counter", 'c', "SET")            \
    X(HASH,    "hash",    'h', "HSET")           \
    X(TALLY,   "tally",   't', "HSET")           \
    X(SET,     "set",     's', "SADD")           \
    X(ZSET,    "zset",    'z', "ZADD")           \
    X(LIST,    "list",    'l', "RPUSH")
/* clang-format on */

enum bench_family {
#define FAMILY_ENUM(constant, name, letter, verb) BENCH_FAMILY_##constant,
    BENCH_FAMILY_TABLE(FAMILY_ENUM)
#undef FAMILY_ENUM
    BENCH_FAMILY_COUNT
};

/* What counts as a miss: the reply was correct, but there was nothing. */
enum bench_miss {
    BENCH_MISS_NEVER,
    BENCH_MISS_NIL,   /* nil */
    BENCH_MISS_ZERO,  /* integer 0 */
    BENCH_MISS_EMPTY, /* array without elements */
    BENCH_MISS_NILS,  /* every nil in the array is one */
};

/* How --verify checks the reply. */
enum bench_verify {
    BENCH_VERIFY_NONE,
    BENCH_VERIFY_BULKS, /* Bulk i belongs to owner i of the request. */
    BENCH_VERIFY_SAME,  /* Every bulk belongs to the one owner. */
    BENCH_VERIFY_PAIRS, /* Field, value, field, value of one key. */
};

/* Generic commands act on the family of --on; the table says STRING. */
/* clang-format off */
#define BENCH_OP_TABLE(X)                                                         \
    /* constant  name         verb         family   args   miss   verify  write */ \
    X(GET,       "get",       "GET",       STRING,  "k",   NIL,   BULKS,  false)  \
    X(SET,       "set",       "SET",       STRING,  "kv",  NEVER, NONE,   true)   \
    X(SETEX,     "setex",     "SETEX",     STRING,  "ktv", NEVER, NONE,   true)   \
    X(INCR,      "incr",      "INCR",      COUNTER, "k",   NEVER, NONE,   true)   \
    X(APPEND,    "append",    "APPEND",    APPEND,  "kv",  NEVER, NONE,   true)   \
    X(MGET,      "mget",      "MGET",      STRING,  "K",   NILS,  BULKS,  false)  \
    X(MSET,      "mset",      "MSET",      STRING,  "P",   NEVER, NONE,   true)   \
    X(DEL,       "del",       "DEL",       STRING,  "k",   ZERO,  NONE,   false)  \
    X(HSET,      "hset",      "HSET",      HASH,    "kfv", NEVER, NONE,   true)   \
    X(HGET,      "hget",      "HGET",      HASH,    "kf",  NIL,   BULKS,  false)  \
    X(HGETALL,   "hgetall",   "HGETALL",   HASH,    "k",   EMPTY, PAIRS,  false)  \
    X(HINCRBY,   "hincrby",   "HINCRBY",   TALLY,   "kf1", NEVER, NONE,   true)   \
    X(SADD,      "sadd",      "SADD",      SET,     "kf",  NEVER, NONE,   true)   \
    X(SREM,      "srem",      "SREM",      SET,     "kf",  ZERO,  NONE,   false)  \
    X(SISMEMBER, "sismember", "SISMEMBER", SET,     "kf",  ZERO,  NONE,   false)  \
    X(SPOP,      "spop",      "SPOP",      SET,     "k",   NIL,   NONE,   false)  \
    X(ZADD,      "zadd",      "ZADD",      ZSET,    "ksf", NEVER, NONE,   true)   \
    X(ZINCRBY,   "zincrby",   "ZINCRBY",   ZSET,    "k1f", NEVER, NONE,   true)   \
    X(ZRANGE,    "zrange",    "ZRANGE",    ZSET,    "kr",  EMPTY, NONE,   false)  \
    X(ZSCORE,    "zscore",    "ZSCORE",    ZSET,    "kf",  NIL,   NONE,   false)  \
    X(ZPOPMIN,   "zpopmin",   "ZPOPMIN",   ZSET,    "k",   EMPTY, NONE,   false)  \
    X(LPUSH,     "lpush",     "LPUSH",     LIST,    "kv",  NEVER, NONE,   true)   \
    X(RPUSH,     "rpush",     "RPUSH",     LIST,    "kv",  NEVER, NONE,   true)   \
    X(LPOP,      "lpop",      "LPOP",      LIST,    "k",   NIL,   SAME,   false)  \
    X(RPOP,      "rpop",      "RPOP",      LIST,    "k",   NIL,   SAME,   false)  \
    X(LRANGE,    "lrange",    "LRANGE",    LIST,    "kr",  EMPTY, SAME,   false)  \
    X(EXPIRE,    "expire",    "EXPIRE",    STRING,  "kt",  ZERO,  NONE,   false)  \
    X(EXISTS,    "exists",    "EXISTS",    STRING,  "k",   ZERO,  NONE,   false)  \
    X(PING,      "ping",      "PING",      STRING,  "",    NEVER, NONE,   false)
/* clang-format on */

enum bench_op {
#define OP_ENUM(constant, name, verb, family, args, miss, verify, write) BENCH_OP_##constant,
    BENCH_OP_TABLE(OP_ENUM)
#undef OP_ENUM
    BENCH_OP_PRELOAD, /* Any command of a preload; not in the table of --mix. */
    BENCH_OP_COUNT
};

/* In the order of the table. NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct bench_op_info {
    const char *name;
    const char *verb;
    enum bench_family family;
    const char *args;
    enum bench_miss miss;
    enum bench_verify verify;
    bool write; /* Draws its key as a write (dist `latest`). */
};

/* Static storage. The entry of BENCH_OP_PRELOAD has a name only. */
const struct bench_op_info *bench_op_info(enum bench_op op);
const char *bench_family_name(enum bench_family family);
/* The letter that keeps the family's keys apart; 0 for strings. */
char bench_family_letter(enum bench_family family);
/* The command that loads the family; NULL if nothing is to load. */
const char *bench_family_load_verb(enum bench_family family);
/* Returns 0 or -ERR_NOT_FOUND. */
MUST_USE int bench_family_parse(const char *name, enum bench_family *out);
/* DEL, EXPIRE, EXISTS: act on any family. */
bool bench_op_generic(enum bench_op op);

/* Weighted operations. */
struct bench_mix {
    size_t count;
    enum bench_op ops[BENCH_OP_COUNT];
    uint64_t weight_ends[BENCH_OP_COUNT]; /* Sums of the weights up to and with each. */
};

/*
 * "get=90,set=10"; a name alone has weight 1. Returns 0, -ERR_SYNTAX, -ERR_NOT_FOUND (no such
 * operation), -ERR_EXISTS (named twice) or -ERR_RANGE (weight 0 or above 2^32).
 */
MUST_USE int bench_mix_parse(const char *text, struct bench_mix *out);

/* The weight of entry `i`. */
uint64_t bench_mix_weight(const struct bench_mix *mix, size_t i);

#endif
