/*
 * The handshake: who the other side is, before anything else is said. Pure: bytes in, bytes out.
 *
 * All integers are little-endian. Every message begins with
 *
 *     0   4  "TLNK"
 *     4   1  protocol version 1; bytes 0 .. 7 stay the same in all versions
 *     5   1  message
 *     6   2  length of the whole message
 *
 *     1 HELLO      dialer:    8 kind 1 | length of the nickname 1 | shard 2 | length of the
 * identity 2 | zeros 2 | nonce 32 | nickname | identity | mac 32 2 CHALLENGE  acceptor:  8 nonce 32
 *     3 PROOF      dialer:    8 mac 32
 *     4 WELCOME    acceptor:  8 length of the identity 2 | zeros 6 | identity | mac 32
 *     5 REFUSE     acceptor:  8 length of the text 2 | zeros 6 | text | mac 32
 *     6 REJECT     acceptor:  8 reason 1 | zeros 7
 *
 * A mac is HMAC-SHA256 over all messages so far, HELLO first, both directions, the present one up
 * to the mac; its key is that of the message's kind, made from the secret (link_secret.c). So each
 * one binds both nonces, version, kind, shard, nickname, and the identities that were shown, and
 * none can be taken for another: what a dialer says cannot be given back to it.
 *
 *     dialer                          acceptor
 *       HELLO      ------------------>  knows the secret, of our group: else REJECT
 *                  <------------------  CHALLENGE
 *       PROOF      ------------------>  it is no repetition: the caller may refuse, REFUSE
 *       knows it,  <------------------  WELCOME
 *       may refuse
 *       frames     <----------------->  frames, the dialer's first one says that it agrees
 *
 * The dialer proves itself first: until HELLO's mac was right nothing is sent, and until PROOF's
 * was, nothing but random bytes. A REJECT is not authenticated and therefore says only why: no
 * text.
 *
 * The keys of the frames, one per direction, are made from a key of the secret over HELLO,
 * CHALLENGE, PROOF and WELCOME: both nonces make them new for each connection.
 */
#ifndef TIERRA_REPLICATION_LINK_SHAKE_H
#define TIERRA_REPLICATION_LINK_SHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "replication/link/link.h"
#include "replication/link/mac.h"

#define SHAKE_VERSION     1u
#define SHAKE_HEAD_BYTES  8u
#define SHAKE_NONCE_BYTES 32u
/* Longest message that is read; ours are shorter. */
#define SHAKE_BYTES_MAX 1024u

enum shake_message {
    SHAKE_HELLO = 1,
    SHAKE_CHALLENGE = 2,
    SHAKE_PROOF = 3,
    SHAKE_WELCOME = 4,
    SHAKE_REFUSE = 5,
    SHAKE_REJECT = 6,
};

/* Of REJECT. The numbers are part of the format. */
enum shake_reason {
    SHAKE_NO_VERSION = 1, /* Another protocol version. */
    SHAKE_NO_SECRET = 2,  /* A mac is wrong. */
    SHAKE_NO_GROUP = 3,   /* Another nickname. */
    SHAKE_MALFORMED = 4,
};

/* ---- reading, without keys ---- */

/*
 * The length of the message at the front of `in`, in `*out`. Returns 0; -ERR_TRUNCATED: needs at
 * least
 * `*out` bytes to tell or to be whole; -ERR_PROTOCOL: not this protocol; -ERR_FORMAT: another
 * version of it.
 */
MUST_USE int shake_size(struct bytes in, size_t *out);

struct shake_hello {
    enum link_kind kind;
    uint16_t shard;
    struct bytes nickname; /* Borrowed from the message, like the next. */
    struct bytes identity;
};

/* `in` is one whole message. All return 0 or -ERR_PROTOCOL. */
MUST_USE int shake_parse_hello(struct bytes in, struct shake_hello *out);
MUST_USE int shake_parse_challenge(struct bytes in);
MUST_USE int shake_parse_proof(struct bytes in);
MUST_USE int shake_parse_welcome(struct bytes in, struct bytes *out_identity);
MUST_USE int shake_parse_refuse(struct bytes in, struct bytes *out_text);
MUST_USE int shake_parse_reject(struct bytes in, uint8_t *out_reason);

/*
 * A whole HELLO, as the door sees it: 0; -ERR_PROTOCOL; -ERR_AUTH: made without the secret;
 * -ERR_NOT_FOUND: of a group with another nickname. `*out_reason` is for a REJECT then.
 */
MUST_USE int shake_check_hello(const struct link_secret *secret, struct bytes nickname,
                               struct bytes in, struct shake_hello *out, uint8_t *out_reason);

/* Writes a REJECT. */
size_t shake_put_reject(uint8_t reason, uint8_t out[SHAKE_BYTES_MAX]);
/* "the two do not have the same group secret", ... Static. */
const char *shake_reason_str(uint8_t reason);

/* ---- the two sides ---- */

/* What was said so far, in order: at most HELLO, CHALLENGE, PROOF and an answer. */
struct shake {
    const struct link_secret *secret;
    size_t len;
    uint8_t said[4 * SHAKE_BYTES_MAX];
};

void shake_init(struct shake *shake, const struct link_secret *secret);
/* Forgets what was said. */
void shake_deinit(struct shake *shake);

/*
 * The shake_put_* write the next message of our side to `out` and return its length. The shake_on_*
 * take the next one of the other side, whole; they return 0, -ERR_PROTOCOL (no such message, or not
 * now) or -ERR_AUTH (its mac is wrong).
 */

/* Dialer. Returns -errno if there is no randomness. */
MUST_USE int shake_put_hello(struct shake *shake, const struct shake_hello *hello,
                             uint8_t out[SHAKE_BYTES_MAX], size_t *out_len);
MUST_USE int shake_on_challenge(struct shake *shake, struct bytes in);
size_t shake_put_proof(struct shake *shake, uint8_t out[SHAKE_BYTES_MAX]);
MUST_USE int shake_on_welcome(struct shake *shake, struct bytes in, struct bytes *out_identity);
MUST_USE int shake_on_refuse(struct shake *shake, struct bytes in, struct bytes *out_text);

/* Acceptor. shake_on_hello expects what shake_check_hello has passed. */
void shake_on_hello(struct shake *shake, struct bytes in);
MUST_USE int shake_put_challenge(struct shake *shake, uint8_t out[SHAKE_BYTES_MAX],
                                 size_t *out_len);
MUST_USE int shake_on_proof(struct shake *shake, struct bytes in);
size_t shake_put_welcome(struct shake *shake, struct bytes identity, uint8_t out[SHAKE_BYTES_MAX]);
/* `text` is cut to LINK_TEXT_BYTES_MAX. */
size_t shake_put_refuse(struct shake *shake, struct bytes text, uint8_t out[SHAKE_BYTES_MAX]);

/* After WELCOME, on both sides. */
struct mac *shake_frame_key(const struct shake *shake, bool of_dialer);

#endif
