/*
 * What was denied lately on one shard: commands, keys, channels, and logins that failed.
 *
 * As in Redis an entry that is like one of the newest ten (same reason, context, object and user,
 * within a minute) counts that one up and makes it the newest. At most acllog-max-len entries;
 * with several shards ACL LOG shows the newest of all.
 *
 * Thread: the shard's.
 */
#ifndef TIERRA_SERVER_ACL_LOG_H
#define TIERRA_SERVER_ACL_LOG_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"

/* ACL LOG without a number. */
#define ACL_LOG_SHOWN_DEFAULT 10
/* As much of a key, a channel or a name as an entry keeps. */
#define ACL_LOG_OBJECT_BYTES_MAX 4096u

enum acl_log_reason {
    ACL_LOG_COMMAND,
    ACL_LOG_KEY,
    ACL_LOG_CHANNEL,
    ACL_LOG_AUTH
};

struct acl_log_entry {
    struct list_link link;
    uint64_t count;
    uint64_t number; /* Of the last time: greater than that of any before, on all shards. */
    uint64_t at_ms;  /* Likewise, wall clock. */
    enum acl_log_reason reason;
    bool multi; /* Within a transaction. */
    struct bytes object;
    struct bytes user;
    struct buf client; /* As in CLIENT LIST, of the last time. */
};

struct acl_log;

MUST_USE struct acl_log *acl_log_create(void);
void acl_log_destroy(struct acl_log *log); /* NULL is allowed. */
void acl_log_reset(struct acl_log *log);

/* The fields of `e` up to `user` but for `count`, borrowed; `client`: copied, too. */
void acl_log_add(struct acl_log *log, const struct acl_log_entry *e, struct bytes client,
                 uint64_t entries_max);

uint64_t acl_log_count(const struct acl_log *log);
/* The newest first: calls `fn` for `count` of them, or as many as there are. */
void acl_log_each(const struct acl_log *log, uint64_t count,
                  void (*fn)(void *ctx, const struct acl_log_entry *e), void *ctx);

#endif
