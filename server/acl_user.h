/*
 * A user of the ACL: who may log in with which password, and what it may run on which keys and
 * channels. Rules, names and texts are those of Redis 7.0.15.
 *
 *     user -> passwords                    SHA-256, never the text
 *          -> selector (the root)          commands, key patterns, channel patterns
 *          -> selector ...                 each stands for itself: one of them must allow it all
 *
 * Commands are a bit for each entry of the command table, set and cleared by the rules in their
 * order: what comes later wins, as in Redis 7.0. A rule for a container is one for all of its
 * subcommands. `future` is what "+@all" adds to all the bits: it decides how the user is written
 * down.
 *
 * A user is made, gets its rules, is frozen, and from then on never changes: a change makes a copy
 * (acl_user_copy). Frozen ones are shared by all shards and counted by an atomic: the only thing in
 * them that is written to. Before that a user belongs to one thread.
 */
#ifndef TIERRA_SERVER_ACL_USER_H
#define TIERRA_SERVER_ACL_USER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "server/command.h"

/* SHA-256. */
#define ACL_HASH_BYTES 32u
/* Patterns, passwords, first arguments and selectors of one user, together: they are searched one
 * by one. */
#define ACL_ITEMS_MAX 8192u
/* Of one user: patterns, first arguments and its name. */
#define ACL_USER_BYTES_MAX (4u << 20)

enum acl_access {
    ACL_KEY_READ = 1 << 0,
    ACL_KEY_WRITE = 1 << 1,
    ACL_KEY_ALL = ACL_KEY_READ | ACL_KEY_WRITE
};

/* A pattern, a password or a first argument. */
struct acl_item {
    uint8_t *ptr;
    size_t len;
    uint16_t cmd;   /* First argument: of this command. */
    uint8_t access; /* Key pattern: enum acl_access. */
};

struct acl_items {
    struct acl_item *item;
    uint32_t count;
    uint32_t cap;
};

#define ACL_COMMAND_WORDS ((CMD_IDS_COUNT + 63) / 64)

struct acl_selector {
    uint64_t allowed[ACL_COMMAND_WORDS]; /* By id. */
    struct acl_items keys;
    struct acl_items channels;
    struct acl_items first_args; /* "+select|0": allowed although the command is not. */
    bool all_keys;
    bool all_channels;
    bool future; /* Commands that are not there yet, too. */
};

/* Whether RESTORE checks what it is given: kept and shown; here it always does. */
enum acl_sanitize {
    ACL_SANITIZE_UNSAID,
    ACL_SANITIZE_YES,
    ACL_SANITIZE_SKIP
};

struct acl_user {
    _Atomic uint32_t refs;
    bool frozen;
    bool enabled;
    bool nopass;
    uint8_t sanitize;  /* enum acl_sanitize */
    bool unrestricted; /* Set by the freezing: one selector allows everything. */
    uint64_t serial;   /* Another one for each user that is made, whatever its name. */
    struct acl_items passwords;
    struct acl_selector **selectors; /* The first is the root. */
    uint32_t selectors_count;
    size_t items_most; /* No more than so many items, */
    size_t bytes_most; /* of so many bytes. */
    size_t name_len;
    uint8_t name[];
};

static inline struct bytes acl_user_name(const struct acl_user *u)
{
    return bytes_of(u->name, u->name_len);
}

static inline bool acl_allows_id(const struct acl_selector *s, uint16_t id)
{
    return (s->allowed[id / 64] & UINT64_C(1) << (id % 64)) != 0;
}

/* What rules are read by. */
struct acl_env {
    const struct command_table *commands;
    bool all_channels; /* acl-pubsub-default allchannels: of new selectors. */
};

/* What is wrong with a rule. */
enum acl_fault {
    ACL_FAULT_NONE,
    ACL_FAULT_SYNTAX,
    ACL_FAULT_UNKNOWN,     /* No such command or category. */
    ACL_FAULT_KEYS,        /* A pattern behind "allkeys". */
    ACL_FAULT_CHANNELS,    /* Likewise "allchannels". */
    ACL_FAULT_NO_PASSWORD, /* The one to remove is not there. */
    ACL_FAULT_HASH,        /* Not 64 lower-case hexadecimal digits. */
    ACL_FAULT_FIRST_ARG,   /* Of a subcommand. */
    ACL_FAULT_LIMIT,
    ACL_FAULT_NO_SHA256 /* OpenSSL is configured without it. */
};

/* Redis' words. */
const char *acl_fault_text(enum acl_fault fault);

/* A user who may do nothing: off, without a password. The name is valid (acl_name_ok). */
MUST_USE struct acl_user *acl_user_create(const struct acl_env *env, struct bytes name,
                                          uint64_t serial);
/* On, without a password, everything allowed. */
MUST_USE struct acl_user *acl_user_create_default(const struct acl_env *env, uint64_t serial);
/* To be changed: name, serial and rules are the same. */
MUST_USE struct acl_user *acl_user_copy(const struct acl_user *u);

/* Nothing changes it from now on. Any thread may have references then. */
void acl_user_freeze(struct acl_user *u);
struct acl_user *acl_user_ref(struct acl_user *u);
void acl_user_unref(struct acl_user *u); /* NULL is allowed. */

/* Not empty, neither blanks nor zero bytes. */
bool acl_name_ok(struct bytes name);

/*
 * One rule: "on", "+@read", "~key:*", ">password", "(+get ~a)" ... After a fault nothing changed.
 * An empty rule is none.
 */
MUST_USE enum acl_fault acl_user_rule(struct acl_user *u, const struct acl_env *env,
                                      struct bytes rule);

/* Rules as they come in words: a selector may be spread over several. */
struct acl_rules {
    const struct bytes *words;
    uint32_t count;
    /* Called for each rule that is wrong. */
    void (*bad)(void *ctx, struct bytes rule, enum acl_fault fault);
    void *ctx;
};

/*
 * All rules are tried, whatever the ones before did. False: the parenthesis in word `*out_open` is
 * never closed, and nothing was tried.
 */
MUST_USE bool acl_user_rules(struct acl_user *u, const struct acl_env *env,
                             const struct acl_rules *rules, uint32_t *out_open);

/* Makes it the password of the user, the only one; empty: nopass. False: no SHA-256. */
MUST_USE bool acl_user_set_password(struct acl_user *u, struct bytes password);

/* Enabled, and the password is one of its own; in a time that does not tell where it differs. */
bool acl_user_accepts(const struct acl_user *u, struct bytes password);

#endif
