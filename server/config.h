/*
 * Configuration: the option table, its values, and the ways to change them.
 *
 * config.def has one line per option; the struct, the parser, CONFIG GET/SET/REWRITE and the
 * command line derive from it. Names, units and error texts are those of redis.conf where Redis
 * 7.0 has the directive.
 *
 * Sources, the later wins: the defaults, the configuration file (redis.conf syntax, include),
 * `--directive value...` on the command line, CONFIG SET.
 *
 * A struct config belongs to one node and to one thread, the one that runs CONFIG SET, shard 0's.
 * The other shards have a copy each, which is replaced after a change (config_share.h).
 */
#ifndef TIERRA_SERVER_CONFIG_H
#define TIERRA_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "server/config_enum.h"
#include "server/config_users.h"

/* Longest error text, its zero included. */
#define CONFIG_ERROR_BYTES 1024
/* Words of one line, and of the value of one option. */
#define CONFIG_WORDS_MAX 512
/* Largest configuration file. */
#define CONFIG_FILE_BYTES_MAX (1024u * 1024)
/* Files that include each other. */
#define CONFIG_INCLUDE_DEPTH_MAX 16
/* Option and value pairs of one CONFIG SET. */
#define CONFIG_SET_PAIRS_MAX 1024

enum config_flag {
    CONFIG_LIVE = 0,           /* CONFIG SET changes it. */
    CONFIG_START = 1 << 0,     /* Read at start only; CONFIG SET takes the same value again. */
    CONFIG_FROZEN = 1 << 1,    /* As START, and CONFIG SET always refuses, as Redis does. */
    CONFIG_HIDDEN = 1 << 2,    /* CONFIG GET shows it by its full name only. */
    CONFIG_INERT = 1 << 3,     /* Accepted, kept and shown for compatibility; changes nothing. */
    CONFIG_MULTI = 1 << 4,     /* Its value is several words. */
    CONFIG_SENSITIVE = 1 << 5, /* Not for logs. */
    CONFIG_PROTECTED = 1 << 6, /* CONFIG SET needs enable-protected-configs. */
};

struct config_limit {
    uint64_t hard_bytes;
    uint64_t soft_bytes;
    int64_t soft_seconds;
};
/* client-output-buffer-limit, by class. */
enum config_limit_class {
    CONFIG_LIMIT_NORMAL,
    CONFIG_LIMIT_REPLICA,
    CONFIG_LIMIT_PUBSUB,
    CONFIG_LIMITS_COUNT
};
struct config_limits {
    struct config_limit class[CONFIG_LIMITS_COUNT];
};

/* notify-keyspace-events */
enum config_event {
    EVENT_KEYSPACE = 1 << 0, /* K */
    EVENT_KEYEVENT = 1 << 1, /* E */
    EVENT_GENERIC = 1 << 2,  /* g */
    EVENT_STRING = 1 << 3,   /* $ */
    EVENT_LIST = 1 << 4,     /* l */
    EVENT_SET = 1 << 5,      /* s */
    EVENT_HASH = 1 << 6,     /* h */
    EVENT_ZSET = 1 << 7,     /* z */
    EVENT_EXPIRED = 1 << 8,  /* x */
    EVENT_EVICTED = 1 << 9,  /* e */
    EVENT_STREAM = 1 << 10,  /* t */
    EVENT_MISS = 1 << 11,    /* m */
    EVENT_MODULE = 1 << 13,  /* d */
    EVENT_NEW = 1 << 14,     /* n */
    EVENT_ALL = EVENT_GENERIC | EVENT_STRING | EVENT_LIST | EVENT_SET | EVENT_HASH | EVENT_ZSET |
                EVENT_EXPIRED | EVENT_EVICTED | EVENT_STREAM | EVENT_MODULE /* A */
};

/* The kinds of options and the types of their fields. */
#define CONFIG_FIELD_BOOL(ident)    bool ident;
#define CONFIG_FIELD_INT(ident)     int64_t ident;
#define CONFIG_FIELD_OCTAL(ident)   int64_t ident;
#define CONFIG_FIELD_SIZE(ident)    uint64_t ident; /* Bytes; "64mb". */
#define CONFIG_FIELD_PERCENT(ident) int64_t ident;  /* Bytes, or percent if negative. */
#define CONFIG_FIELD_ENUM(ident)    int ident;
#define CONFIG_FIELD_BITS(ident)    int ident;   /* Several names of an enum. */
#define CONFIG_FIELD_TEXT(ident)    char *ident; /* Never NULL. */
#define CONFIG_FIELD_TITLE(ident)   char *ident; /* Text with {variables}. */
#define CONFIG_FIELD_WORDS(ident)   char *ident; /* Separated by one blank. Never NULL. */
#define CONFIG_FIELD_LINKED(ident)  char *ident; /* NAME=HOST:PORT, likewise. */
#define CONFIG_FIELD_SAVE(ident)    char *ident; /* Pairs of numbers. */
#define CONFIG_FIELD_PCTILES(ident) char *ident; /* Numbers from 0 to 100. */
#define CONFIG_FIELD_SCORES(ident)  char *ident; /* Three numbers. */
#define CONFIG_FIELD_FIXED(ident)   char *ident; /* Takes its default only. */
#define CONFIG_FIELD_EVENTS(ident)  int ident;   /* enum config_event */
#define CONFIG_FIELD_LIMITS(ident)  struct config_limits ident;

/* clang-format off */
enum config_id {
#define X(ident, name, kind, def, min, max, names, flags, help) CONFIG_ID_##ident,
#define ALIAS(name, ident)
#include "server/config.def"
#undef ALIAS
#undef X
    CONFIG_IDS_COUNT
};
/* clang-format on */

struct config;

/*
 * What the owner of an option is asked: for `validate` whether it would take the value, for
 * `apply` to take it. Both find the new values in `cfg`. Returning false, with a reason in
 * `*out_reason` (static text), refuses the whole change; options that were applied before are
 * then applied again with their old values, which must not fail.
 */
typedef bool (*config_hook_fn)(void *ctx, const struct config *cfg, const char **out_reason);

struct config_hook {
    config_hook_fn validate; /* May be NULL. */
    config_hook_fn apply;    /* May be NULL. */
    void *ctx;
};

/*
 * CONFIG REWRITE: appends the lines `user ...` of now, none if no file needs them. `asked`: the
 * file has such lines. Returns 0 or the error of the buffer.
 */
struct config_users_now {
    int (*print)(void *ctx, bool asked, struct buf *out); /* NULL: such lines stay. */
    void *ctx;
};

/* In the order of the table, whatever room that takes. */
/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct config {
    /* One field per option: cfg->maxmemory, cfg->maxmemory_policy, ... */
#define X(ident, name, kind, def, min, max, names, flags, help) CONFIG_FIELD_##kind(ident)
#define ALIAS(name, ident)
#include "server/config.def"
#undef ALIAS
#undef X
    char *file;                /* Absolute path of the configuration file, or NULL. */
    struct config_users users; /* The directives `user`; not copied. */
    struct config_users_now users_now;
    struct config_hook hook[CONFIG_IDS_COUNT];
    uint8_t given[CONFIG_IDS_COUNT]; /* 1: set by a file or the command line. */
};

struct config_error {
    char text[CONFIG_ERROR_BYTES]; /* One line, for the operator or the client. */
};

/* All defaults. To be destroyed by the caller. */
MUST_USE struct config *config_create(void);
void config_destroy(struct config *cfg);

/* A copy without hooks, for another thread to read. */
MUST_USE struct config *config_clone(const struct config *cfg);

/* --- Start --- */

/*
 * The arguments of the program behind its name: [file] [--directive value...]... Values of an
 * option extend to the next argument that starts with "--"; an option that takes one value takes
 * it whatever it starts with. Returns 0, or -ERR_CONFIG with a text that names file, line and
 * directive, and what is allowed; `cfg` is then to be thrown away.
 */
MUST_USE int config_load(struct config *cfg, int argc, const char *const *argv,
                         struct config_error *err);

/* One file, and what it includes. */
MUST_USE int config_load_file(struct config *cfg, const char *path, struct config_error *err);

/* Lines as in a file. `name`: for error texts. For tests, fuzzing and the command line. */
MUST_USE int config_load_text(struct config *cfg, const char *name, struct bytes text,
                              struct config_error *err);

/*
 * Calls `notice` with a line of text for everything given that has no effect here. Once, after
 * loading.
 */
void config_notices(const struct config *cfg, void (*notice)(void *ctx, const char *text),
                    void *ctx);

/* --- While running --- */

/* Registers the owner of an option. */
void config_hook(struct config *cfg, enum config_id id, struct config_hook hook);

/*
 * CONFIG SET: all of the `count` pairs (name, value, name, value, ...) or none. `local`: the
 * client is on this machine. Returns 0, or -ERR_CONFIG with the text of Redis' error, "ERR "
 * left out.
 */
MUST_USE int config_set(struct config *cfg, const struct bytes *pairs, size_t count, bool local,
                        struct config_error *err);

/* One option by its id, through the hooks. */
MUST_USE int config_set_one(struct config *cfg, enum config_id id, struct bytes value,
                            struct config_error *err);

/*
 * CONFIG GET: calls `found` for each option and alias that one of the patterns matches, once
 * each. Values are as CONFIG SET takes them.
 */
typedef void (*config_found_fn)(void *ctx, const char *name, struct bytes value);
void config_get(const struct config *cfg, const struct bytes *patterns, size_t count,
                config_found_fn found, void *ctx);

/* Appends the value of an option. Returns 0 or -ENOMEM. */
MUST_USE int config_print(const struct config *cfg, enum config_id id, struct buf *out);

/*
 * CONFIG REWRITE: writes the configuration file anew, keeping comments and the order of lines;
 * options that differ from their defaults and are not there are added at the end. Replaces the
 * file as a whole or leaves it. Blocks on the disk. `force`: all options. Returns 0 or
 * -ERR_CONFIG.
 */
MUST_USE int config_rewrite(const struct config *cfg, bool force, struct config_error *err);

/* --- The table --- */

const char *config_name(enum config_id id);
const char *config_help(enum config_id id);
unsigned config_flags(enum config_id id); /* enum config_flag */
/* By name or alias, any case. */
MUST_USE bool config_find(struct bytes name, enum config_id *out);
/* True if the value is the default. */
bool config_is_default(const struct config *cfg, enum config_id id);
/* The name of the current value of an ENUM option. */
const char *config_enum_name(const struct config *cfg, enum config_id id);

#endif
