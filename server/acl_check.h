/*
 * Whether a user may run a call of a command: the command, the keys that it names (with what it
 * does to them: reads or writes), the channels.
 *
 * All that is asked about the call comes from the command table. Arguments in which keys cannot be
 * found (a number of keys that is none) name none: the handler refuses such a call, too. Pure.
 */
#ifndef TIERRA_SERVER_ACL_CHECK_H
#define TIERRA_SERVER_ACL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "server/acl_user.h"

/* From the first that is looked at to the last: of several refusals the last one is told. */
enum acl_result {
    ACL_OK,
    ACL_DENIED_CMD,
    ACL_DENIED_KEY,
    ACL_DENIED_CHANNEL
};

struct acl_verdict {
    enum acl_result result;
    uint32_t arg; /* Which key or channel. */
};

/* The arity is right. `keys`: scratch; nothing in it counts before or after. */
MUST_USE struct acl_verdict acl_check(const struct acl_user *u, const struct cmd *cmd,
                                      uint32_t argc, const struct bytes *argv,
                                      struct cmd_keys *keys);

/*
 * The call is allowed, and its selector allows reading of every key there may be: what commands
 * need that find out about keys while they run (SORT BY and GET).
 */
MUST_USE bool acl_reads_all_keys(const struct acl_user *u, const struct cmd *cmd, uint32_t argc,
                                 const struct bytes *argv, struct cmd_keys *keys);

/*
 * Whether the user may listen to or publish on a channel. `pattern`: the name is one, and must be a
 * pattern of the user's, byte for byte.
 */
MUST_USE bool acl_channel_ok(const struct acl_user *u, struct bytes name, bool pattern);

/* Some channel that `before` allows by name may not be allowed by `after`. */
bool acl_channels_lost(const struct acl_user *before, const struct acl_user *after);

#endif
