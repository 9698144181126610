/*
 * One entry of linked-databases: NAME=HOST:PORT, the name of a member and where the others reach
 * it. HOST is a name, an IPv4 address, or an IPv6 address in brackets.
 */
#ifndef TIERRA_SERVER_CONFIG_LINKED_H
#define TIERRA_SERVER_CONFIG_LINKED_H

#include <stdbool.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "replication/group/membership.h"

struct config_linked {
    char name[MEMBER_NAME_BYTES];
    char address[MEMBERSHIP_ADDRESS_BYTES]; /* "HOST:PORT" */
};

MUST_USE bool config_linked_parse(struct bytes word, struct config_linked *out);

#endif
