/*
 * HMAC-SHA256 and SHA-256 (RFC 2104, FIPS 180-4) and what goes with secrets. The only module that
 * calls OpenSSL.
 *
 * One thread at a time for each struct mac; different ones on different threads.
 */
#ifndef TIERRA_REPLICATION_LINK_MAC_H
#define TIERRA_REPLICATION_LINK_MAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#define MAC_BYTES     32u
#define MAC_KEY_BYTES 32u

struct mac;

/*
 * Whether the library computes it: it does not if its configuration leaves out the provider. After
 * one true the functions below do not fail. Any thread.
 */
bool mac_available(void);

/* Keeps the key, of any length above 0. */
struct mac *mac_create(struct bytes key);
/* Wipes the key. NULL is allowed. */
void mac_destroy(struct mac *mac);

/* One message: begin, then its parts, then end; begin may also abandon a message. */
void mac_begin(struct mac *mac);
void mac_add(struct mac *mac, struct bytes part);
void mac_end(struct mac *mac, uint8_t out[MAC_BYTES]);

/* The same in one call. */
void mac_of(struct bytes key, struct bytes message, uint8_t out[MAC_BYTES]);

/* SHA-256 of `data`. False: the library has none, or no memory; `out` is not to be used. Any
 * thread. */
MUST_USE bool mac_sha256(struct bytes data, uint8_t out[MAC_BYTES]);

/* In a time that does not depend on the bytes. */
bool mac_equal(const uint8_t *a, const uint8_t *b, size_t len);

/* Overwrites a secret that is no longer needed; the compiler does not leave it out. */
void mac_wipe(void *ptr, size_t len);

#endif
