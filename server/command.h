/*
 * The command table: what each command is called, who may run it and when, which arguments are
 * keys, and what must be in DRAM before its handler runs.
 *
 * One entry per command in commands_<family>.def; everything else derives from it: look-up,
 * arity, ACL categories, routing, residency, COMMAND INFO and DOCS. Subcommands are entries of
 * their own, named "config|get". Names, flags and key specifications are those of Redis 7.0.15.
 *
 * Look-up: an open-addressing index over the names as lower-case 8-byte words. The name that a
 * client sent is folded to lower case in registers, not in memory.
 *
 * The table is constant; the index is built at start and read by any thread.
 */
#ifndef TIERRA_SERVER_COMMAND_H
#define TIERRA_SERVER_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct request;

/* Runs a command whose arity is right and whose keys are there. Never blocks, never yields. */
typedef void (*cmd_fn)(struct request *rq);

/* clang-format off */

/* COMMAND INFO shows the flags in this order; a name of "" is not shown. */
#define CMD_FLAGS(X)                                                                               \
    X(WRITE,             "write")       /* May change data. */                                     \
    X(READONLY,          "readonly")                                                               \
    X(DENYOOM,           "denyoom")     /* May need memory or flash: refused when a fuse is out. */\
    X(ADMIN,             "admin")                                                                  \
    X(PUBSUB,            "pubsub")                                                                 \
    X(NOSCRIPT,          "noscript")                                                               \
    X(BLOCKING,          "blocking")                                                               \
    X(LOADING,           "loading")     /* Allowed while the node recovers. */                     \
    X(STALE,             "stale")                                                                  \
    X(SKIP_MONITOR,      "skip_monitor")                                                           \
    X(SKIP_SLOWLOG,      "skip_slowlog")                                                           \
    X(FAST,              "fast")                                                                   \
    X(NO_AUTH,           "no_auth")     /* Allowed before authentication. */                       \
    X(NO_MANDATORY_KEYS, "no_mandatory_keys")                                                      \
    X(NO_ASYNC_LOADING,  "no_async_loading")                                                       \
    X(NO_MULTI,          "no_multi")    /* Not within MULTI. */                                    \
    X(MOVABLE_KEYS,      "movablekeys") /* Derived from the key specs. */                          \
    X(ALLOW_BUSY,        "allow_busy")                                                             \
    X(MAY_REPLICATE,     "")                                                                       \
    X(PROTECTED,         "")            /* Needs enable-debug-command or the like. */              \
    X(CONTAINER,         "")            /* Has subcommands. Derived. */                            \
    X(ABSENT,            "")            /* Of Redis, and not here. */                              \
    X(WAITS,             "")            /* For others; its connection runs nothing beside it. */   \
    X(SPANS_SHARDS,      "")            /* May name keys of several shards. */                     \
    X(EVERY_SHARD,       "")            /* Every shard runs it; the replies are joined. */         \
    X(FIRST_SHARD,       "")            /* Shard 0 runs it. */                                     \
    X(ANY_SHARD,         "")            /* route.c chooses by the arguments. */                    \
    X(FIGURES,           "")            /* Reads the figures of all shards. */                     \
    X(PUBLISHES,         "")            /* Argument 1 is a channel, */                             \
    X(SUBSCRIBES,        "")            /* all arguments are channels, */                          \
    X(SUBSCRIBES_PATTERNS, "")          /* or patterns of channels. */

/* Bit order of ACL categories as in Redis: ACL CAT and COMMAND INFO list them in this order. */
#define CMD_ACL_CATEGORIES(X)                                                                      \
    X(KEYSPACE, "keyspace") X(READ, "read") X(WRITE, "write") X(SET, "set")                        \
    X(SORTEDSET, "sortedset") X(LIST, "list") X(HASH, "hash") X(STRING, "string")                  \
    X(BITMAP, "bitmap") X(HYPERLOGLOG, "hyperloglog") X(GEO, "geo") X(STREAM, "stream")            \
    X(PUBSUB, "pubsub") X(ADMIN, "admin") X(FAST, "fast") X(SLOW, "slow")                          \
    X(BLOCKING, "blocking") X(DANGEROUS, "dangerous") X(CONNECTION, "connection")                  \
    X(TRANSACTION, "transaction") X(SCRIPTING, "scripting")

#define CMD_GROUPS(X)                                                                              \
    X(GENERIC, "generic") X(STRING, "string") X(LIST, "list") X(SET, "set")                        \
    X(SORTED_SET, "sorted-set") X(HASH, "hash") X(PUBSUB, "pubsub")                                \
    X(TRANSACTIONS, "transactions") X(CONNECTION, "connection") X(SERVER, "server")                \
    X(SCRIPTING, "scripting") X(HYPERLOGLOG, "hyperloglog") X(CLUSTER, "cluster")                  \
    X(GEO, "geo") X(STREAM, "stream") X(BITMAP, "bitmap")

/* Of a key specification, in the order of COMMAND INFO. */
#define CMD_KEY_FLAGS(X)                                                                           \
    X(RO, "RO") X(RW, "RW") X(OW, "OW") X(RM, "RM")                                                \
    X(ACCESS, "access") X(UPDATE, "update") X(INSERT, "insert") X(DELETE, "delete")                \
    X(NOT_KEY, "not_key") X(INCOMPLETE, "incomplete") X(VARIABLE_FLAGS, "variable_flags")
/* clang-format on */

enum cmd_flag_bit {
#define CMD_FLAG_BIT(name, text) CMD_##name##_BIT,
    CMD_FLAGS(CMD_FLAG_BIT)
#undef CMD_FLAG_BIT
};
enum cmd_flag {
#define CMD_FLAG(name, text) CMD_##name = 1 << CMD_##name##_BIT,
    CMD_FLAGS(CMD_FLAG)
#undef CMD_FLAG
};

enum cmd_acl_bit {
#define CMD_ACL_BIT(name, text) ACL_##name##_BIT,
    CMD_ACL_CATEGORIES(CMD_ACL_BIT)
#undef CMD_ACL_BIT
    ACL_CATEGORIES_COUNT
};
enum cmd_acl {
#define CMD_ACL(name, text) ACL_##name = 1 << ACL_##name##_BIT,
    CMD_ACL_CATEGORIES(CMD_ACL)
#undef CMD_ACL
};

enum cmd_group {
#define CMD_GROUP(name, text) GROUP_##name,
    CMD_GROUPS(CMD_GROUP)
#undef CMD_GROUP
};

enum cmd_key_flag_bit {
#define CMD_KEY_BIT(name, text) KEY_##name##_BIT,
    CMD_KEY_FLAGS(CMD_KEY_BIT)
#undef CMD_KEY_BIT
};
enum cmd_key_flag {
#define CMD_KEY_FLAG(name, text) KEY_##name = 1 << KEY_##name##_BIT,
    CMD_KEY_FLAGS(CMD_KEY_FLAG)
#undef CMD_KEY_FLAG
};

/* How a command meets cold data. */
enum cmd_class {
    CMD_CLASS_NONE,    /* Touches no key. */
    CMD_CLASS_POINT,   /* The named rows are made resident, then it runs. */
    CMD_CLASS_RANGE,   /* May need more than should be pinned: runs over a cursor. */
    CMD_CLASS_DYNAMIC, /* Finds out while it runs; may restart before its first effect. */
};

/*
 * What must be resident of a key, from least to most. The kinds between SUBKEYS and WHOLE say
 * which part would do; WHOLE is always right in their place.
 */
enum cmd_need_kind {
    NEED_BLIND,   /* Nothing at all: it overwrites, and replies the same in any case. */
    NEED_NOTHING, /* No row: the key table answers whether it exists, and its type. */
    NEED_KEY,     /* The key row: type, count, expiry, a small string. */
    NEED_SUBKEYS, /* The key row, and the element rows named by arguments. */
    NEED_ENDS,    /* The key row, and elements at either end (of a list, of the score order). */
    NEED_RANDOM,  /* The key row, and some elements of no matter which place. */
    NEED_RANK,    /* The position of an element in the order. */
    NEED_SPAN,    /* A run of elements or bytes chosen by the arguments. */
    NEED_WHOLE,   /* All of the value. */
    /* Resolved by command_need from the arguments; never returned. */
    NEED_BY_SET,    /* SET: BLIND; with NX or XX NOTHING, with KEEPTTL KEY, with GET WHOLE. */
    NEED_BY_ZADD,   /* ZADD: SUBKEYS behind the options; */
    NEED_BY_GEOADD, /* and GEOADD. */
};

/* How to find where keys start, and how many there are (Redis' key specifications). */
enum cmd_key_begin {
    KEY_BEGIN_INDEX,
    KEY_BEGIN_KEYWORD,
    KEY_BEGIN_UNKNOWN, /* Of SORT: behind its option `keyword`; NULL: no argument is a key. */
    KEY_BEGIN_MIGRATE, /* Of MIGRATE: its one key, or (INCOMPLETE) those that it lists. COMMAND
                          INFO shows the one as INDEX, the others as KEYWORD. */
};
enum cmd_key_find {
    KEY_FIND_RANGE,
    KEY_FIND_NUM, /* An argument tells the number. */
    KEY_FIND_UNKNOWN,
};

struct cmd_key_spec {
    uint16_t flags;    /* enum cmd_key_flag */
    uint8_t begin;     /* enum cmd_key_begin */
    uint8_t find;      /* enum cmd_key_find */
    int16_t index;     /* Of the first key; for a keyword where the search starts (< 0: end). */
    int16_t last;      /* RANGE: relative to the first key; < 0: to the end of the arguments. */
    int16_t step;      /* RANGE and NUM */
    int16_t limit;     /* RANGE with last -1: 0 and 1 all, 2 the first half, ... */
    int16_t num_index; /* NUM: of the number and of the first key, relative to index. */
    int16_t num_first;
    uint8_t need; /* enum cmd_need_kind */
    /* NEED_SUBKEYS: arguments first, first + step, .. last (< 0: from the end). */
    int8_t sub_first;
    int8_t sub_last;
    int8_t sub_step;
    const char *keyword;
    const char *notes;
};

#define CMD_KEY_SPECS_MAX 3

/* Texts for COMMAND DOCS and INFO. Lists have one item per line; NULL: none. */
struct cmd_doc {
    const char *summary;
    const char *since;
    const char *complexity;
    const char *deprecated_since;
    const char *replaced_by;
    const char *history; /* "<version> <text>" per line */
    const char *tips;
    const char *args; /* See command_docs.c. */
    uint8_t group;    /* enum cmd_group */
    bool syscmd;
};

#define CMD_NONE UINT16_MAX

struct cmd {
    cmd_fn fn;        /* NULL: a container that cannot be called itself, or absent. */
    const char *name; /* Lower case; "config|get" for a subcommand. */
    uint32_t flags;   /* enum cmd_flag */
    uint32_t acl;     /* enum cmd_acl */
    int16_t arity;    /* Arguments, the name included; < 0: at least as many. */
    uint16_t id;      /* Index in the table: for arrays of statistics. */
    uint16_t parent;  /* Id of the container, or CMD_NONE. */
    uint8_t class;    /* enum cmd_class */
    uint8_t key_specs_count;
    int16_t key_first; /* As Redis 6 gave them: 0 if there are none. */
    int16_t key_last;
    int16_t key_step;
    uint8_t single_key; /* Index of the argument that is the only key, or 0: the fast way. */
    const struct cmd_key_spec *key_specs;
    const struct cmd_doc *doc;
};

/* The ids, CMD_ID_get and so on, of the families that are built in. */
enum cmd_id {
#define X(ident, name, handler, arity, flags, acl, class, keys, doc) CMD_ID_##ident,
#define CONTAINER(ident, name, arity, flags, acl, class, keys, doc)  CMD_ID_##ident,
#include "server/commands.def"
#undef CONTAINER
#undef X
    CMD_IDS_COUNT
};

struct command_table;

/* The table of this program. CHECKs its consistency. To be destroyed by the caller. */
MUST_USE struct command_table *command_table_create(void);
void command_table_destroy(struct command_table *table);

uint32_t command_count(const struct command_table *table);
/* The commands in the order of their ids, subcommands among them. */
const struct cmd *command_at(const struct command_table *table, uint32_t id);

/* A command that is not a subcommand; NULL if unknown. Any case. */
const struct cmd *command_lookup(const struct command_table *table, struct bytes name);
const struct cmd *command_lookup_sub(const struct command_table *table, const struct cmd *container,
                                     struct bytes name);
/* "config|get" or "get". */
const struct cmd *command_lookup_full(const struct command_table *table, struct bytes name);

/* Whether the command is here; of the others only the names and the keys are known. */
static inline bool command_is_here(const struct cmd *cmd)
{
    return (cmd->flags & CMD_ABSENT) == 0;
}

/*
 * The command that the arguments (at least one) call: a subcommand if there is one. NULL: unknown.
 * `*out_container` (may be NULL) tells then whether argv[0] is a container that is here, so that
 * the subcommand is what is unknown.
 */
const struct cmd *command_resolve(const struct command_table *table, uint32_t argc,
                                  const struct bytes *argv, bool *out_container);

static inline bool command_arity_ok(const struct cmd *cmd, uint32_t argc)
{
    return cmd->arity >= 0 ? argc == (uint32_t)cmd->arity : argc >= (uint32_t)-cmd->arity;
}

/* --- Keys --- */

struct cmd_key {
    uint32_t pos;   /* Index of the argument. */
    uint16_t flags; /* enum cmd_key_flag */
    uint8_t need;   /* enum cmd_need_kind, resolved */
    uint8_t spec;   /* Index in cmd->key_specs. */
};

/* Owned by the caller, used again and again. */
struct cmd_keys {
    struct cmd_key *key;
    uint32_t count;
    uint32_t cap;
};

static inline void cmd_keys_init(struct cmd_keys *keys)
{
    *keys = (struct cmd_keys){0};
}

void cmd_keys_deinit(struct cmd_keys *keys);

/*
 * All keys of the call, in the order of the specifications; the arity is right. Returns 0; or
 * -ERR_SYNTAX with no keys if the arguments do not fit (numkeys, for example): then the handler
 * is run without keys and reports it; or -ENOMEM.
 */
MUST_USE int command_keys(const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                          struct cmd_keys *out);

struct cmd_need {
    enum cmd_need_kind kind;
    /* NEED_SUBKEYS and NEED_RANK: arguments first, first + step, .. below end. */
    uint32_t first;
    uint32_t end;
    uint32_t step;
};

/* What the call needs of the keys of specification `spec`. */
struct cmd_need command_need(const struct cmd *cmd, uint32_t spec, uint32_t argc,
                             const struct bytes *argv);

/* --- ACL --- */

/* The bit (enum cmd_acl) of a category named without '@', any case; 0 if unknown. */
uint32_t command_acl_category(struct bytes name);
const char *command_acl_category_name(unsigned bit_index);

#endif
