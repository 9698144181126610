/*
 * What the handshake takes from the secret.
 */
#ifndef TIERRA_REPLICATION_LINK_LINK_SECRET_IMPL_H
#define TIERRA_REPLICATION_LINK_LINK_SECRET_IMPL_H

#include <stdint.h>

#include "replication/link/mac.h"

struct link_secret;

/* The key for one use, which `label` names. Any thread. */
void link_secret_key(const struct link_secret *secret, const char *label,
                     uint8_t out[MAC_KEY_BYTES]);

#endif
