/*
 * The `user` directives of the configuration: kept as words until the node makes users of them
 * (acl.h), which needs the command table.
 */
#ifndef TIERRA_SERVER_CONFIG_USERS_H
#define TIERRA_SERVER_CONFIG_USERS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

/* One directive, without its first word. */
struct config_user {
    char *place;         /* "file:line", for errors. */
    struct bytes *words; /* The name, then the rules: one block with their bytes. */
    uint32_t count;
};

struct config_users {
    struct config_user *user;
    uint32_t count;
    uint32_t cap;
};

/* Copies the words, at least one. False: there is a directive for a user of that name. */
MUST_USE bool config_users_add(struct config_users *users, const char *place,
                               const struct bytes *words, uint32_t count);
void config_users_deinit(struct config_users *users);

#endif
