/*
 * Frames after the handshake, and the MACs that bind them to their place. Pure: bytes in, bytes
 * out.
 *
 * All integers are little-endian. A frame:
 *
 *     0   4  length n of the body
 *     4   1  kind: 1 OPEN, 2 DATA, 3 BYE
 *     5   3  zeros
 *     8   16 HMAC-SHA256(key, 2 i | bytes 0 .. 7), its first 16 bytes
 *     24  n  body
 *         16 HMAC-SHA256(key, 2 i + 1 | body), likewise; only if n > 0
 *
 * where i, as 8 bytes, is the number of the frame in its direction, the first being 0, and the key
 * is that of the direction (shake.h). A frame that is repeated, left out, moved, or given back to
 * its sender is one with a wrong MAC. The header has its own, so that a length is believed only
 * when it is authentic, and so that a body can be checked as it comes in.
 *
 *     OPEN  the dialer's first frame, and only that: no body
 *     DATA  a frame of the caller
 *     BYE   the last one: code 1 | text; 0 goodbye, 1 refused, 2 complaint
 */
#ifndef TIERRA_REPLICATION_LINK_SEAL_H
#define TIERRA_REPLICATION_LINK_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "replication/link/link.h"

struct mac;

#define SEAL_HEAD_BYTES 24u
#define SEAL_MAC_BYTES  16u
/* What stands around the body of a frame, at most. */
#define SEAL_MORE_BYTES (SEAL_HEAD_BYTES + SEAL_MAC_BYTES)

enum seal_kind {
    SEAL_OPEN = 1,
    SEAL_DATA = 2,
    SEAL_BYE = 3,
    SEAL_KIND_END
};

enum seal_bye {
    SEAL_BYE_GOODBYE = 0,
    SEAL_BYE_REFUSED = 1,
    SEAL_BYE_COMPLAINT = 2,
};

/* Longest body of a BYE. */
#define SEAL_BYE_BYTES_MAX (1u + LINK_TEXT_BYTES_MAX)

/* The bytes that a frame with a body of `len` bytes takes. */
static inline size_t seal_frame_bytes(size_t len)
{
    return len == 0 ? SEAL_HEAD_BYTES : SEAL_MORE_BYTES + len;
}

/* ---- writing ---- */

/*
 * Appends a frame that has no MACs yet. Returns 0, -ERR_LIMIT or -ENOMEM. The parts are one body.
 */
MUST_USE int seal_put(struct buf *out, enum seal_kind kind, struct bytes part_a,
                      struct bytes part_b);

/* Writes the MACs of one direction into what seal_put appended, bit by bit. Zero is a good start.
 */
struct seal_writer {
    struct mac *mac;
    uint64_t number; /* Of the present frame. */
    size_t left;     /* Of its body. */
};

/*
 * Goes on in `bytes[at .. len)`, for about `budget` bytes, so that a long frame need not be hashed
 * at once. Returns the new `at`: all before it is ready to be sent.
 */
size_t seal_write(struct seal_writer *w, uint8_t *bytes, size_t at, size_t len, size_t budget);

/* ---- reading ---- */

struct seal_reader {
    struct mac *mac;
    uint64_t number;
    size_t frame_bytes_max; /* Of a body of DATA. */
    size_t head_len;        /* Bytes of `head` that are here; all of them: the header is good. */
    size_t body_len;
    size_t hashed;     /* Bytes of the body that the MAC has seen. */
    struct buf body;   /* With its MAC, if it came in pieces; grows with what arrived. */
    bool release_body; /* It was handed out; to be emptied before the next. */
    uint8_t head[SEAL_HEAD_BYTES];
};

struct seal_frame {
    uint8_t kind;
    struct bytes body; /* Borrowed from the input or the reader: valid until the next call. */
};

/* Takes the key, to be destroyed by seal_reader_deinit. */
void seal_reader_init(struct seal_reader *r, struct mac *take_mac, size_t frame_bytes_max);
void seal_reader_deinit(struct seal_reader *r);

/*
 * Reads from the front of `*in` and moves it on. Returns 1: a frame, in `*out`; 0: all was taken,
 * more is needed; -ERR_AUTH: a MAC is wrong; -ERR_PROTOCOL: no such frame; -ERR_LIMIT: longer than
 * allowed; -ENOMEM. After an error nothing can be read any more.
 */
MUST_USE int seal_read(struct seal_reader *r, struct bytes *in, struct seal_frame *out);

#endif
