/*
 * Bytes from a peer before and after the handshake: reading must survive any of them.
 *
 * Input: byte 0 chooses.
 *   0  the rest is a message of the handshake: each reader of one is given it
 *   1  the rest is a stream of frames as a stranger makes them, in pieces of byte 1
 *   2  the rest is a stream of frames to which the right MACs are put, as a member could make them,
 * in pieces of byte 1, with a limit of byte 2: what is read must be what stands there
 */
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "replication/link/link_secret.h"
#include "replication/link/mac.h"
#include "replication/link/seal.h"
#include "replication/link/shake.h"

#include "tests/fuzz/fuzz.h"

#define KEY BYTES_LIT("the key of a direction")

/* ---- the handshake ---- */

/* A part of `whole`, or empty. */
static void expect_within(struct bytes part, struct bytes whole)
{
    if (part.len != 0)
        CHECK(part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void read_message(struct bytes in)
{
    static struct link_secret *secret;
    struct shake_hello hello;
    struct bytes part;
    uint8_t reason;
    size_t size;
    char why[256];

    if (secret == NULL)
        CHECK(link_secret_create(KEY, &secret, why, sizeof(why)) == 0);
    const int err = shake_size(in, &size);
    CHECK(err != 0 || size <= in.len);
    CHECK(err != -ERR_TRUNCATED || size > in.len);
    if (shake_parse_hello(in, &hello) == 0) {
        CHECK(err == 0);
        CHECK(hello.nickname.len >= 1);
        CHECK(hello.nickname.len <= LINK_NICKNAME_BYTES_MAX);
        CHECK(hello.identity.len <= LINK_IDENTITY_BYTES_MAX);
        expect_within(hello.nickname, in);
        expect_within(hello.identity, in);
        (void)shake_reason_str(0);
    }
    /* Nobody guesses a MAC of 32 bytes. */
    CHECK(shake_check_hello(secret, KEY, in, &hello, &reason) < 0);
    if (shake_parse_welcome(in, &part) == 0)
        expect_within(part, in);
    if (shake_parse_refuse(in, &part) == 0)
        expect_within(part, in);
    if (shake_parse_reject(in, &reason) == 0)
        CHECK(shake_reason_str(reason) != NULL);
    IGNORE_RESULT(shake_parse_challenge(in)); /* Only that they return. */
    IGNORE_RESULT(shake_parse_proof(in));
}

/* ---- frames ---- */

/* Reads in pieces. Returns the last result; appends what came to `out`. */
static int read_pieces(struct bytes in, size_t piece, size_t limit, struct buf *out)
{
    struct seal_reader r;
    int got = 0;

    seal_reader_init(&r, mac_create(KEY), limit);
    while (in.len != 0 && got >= 0) {
        struct bytes now = bytes_of(in.ptr, size_min(piece, in.len));
        struct seal_frame frame;

        in = bytes_from(in, now.len);
        while ((got = seal_read(&r, &now, &frame)) == 1) {
            CHECK(frame.kind != SEAL_DATA || frame.body.len <= limit);
            CHECK(buf_append_u8(out, frame.kind) == 0);
            CHECK(buf_append_bytes(out, frame.body) == 0);
        }
        CHECK(got != 0 || now.len == 0);
        /* No more memory than what has arrived, and what a buffer starts with. */
        CHECK(r.body.cap <= 2 * (r.body.len + 4096));
    }
    seal_reader_deinit(&r);
    return got;
}

/* Puts MACs to what looks like whole frames. Returns the length of these. */
static size_t seal_all(uint8_t *bytes, size_t len)
{
    struct seal_writer w = {.mac = mac_create(KEY)};
    size_t at = 0;

    while (len - at >= SEAL_HEAD_BYTES) {
        const size_t body = le32_load(bytes + at);
        if (body > len || seal_frame_bytes(body) > len - at) {
            /* An authentic header whose body does not come. */
            at = seal_write(&w, bytes, at, at + SEAL_HEAD_BYTES, 1);
            break;
        }
        at = seal_write(&w, bytes, at, at + seal_frame_bytes(body), SIZE_MAX);
    }
    mac_destroy(w.mac);
    return at;
}

static void read_member(struct bytes in, size_t piece, size_t limit)
{
    uint8_t *bytes = mem_alloc(in.len);
    struct buf in_pieces;
    struct buf at_once;

    if (in.len != 0)
        memcpy(bytes, in.ptr, in.len);
    const struct bytes sealed = bytes_of(bytes, seal_all(bytes, in.len));
    buf_init(&in_pieces, 1u << 26);
    buf_init(&at_once, 1u << 26);
    const int err = read_pieces(sealed, piece, limit, &in_pieces);
    CHECK(err != -ERR_AUTH);
    CHECK(read_pieces(sealed, SIZE_MAX, limit, &at_once) == err);
    CHECK(bytes_eq(buf_bytes(&in_pieces), buf_bytes(&at_once)));
    buf_deinit(&in_pieces);
    buf_deinit(&at_once);
    mem_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    uint8_t mode;
    uint8_t piece;
    uint8_t limit;

    if (u8_get(&in, &mode) != 0)
        return 0;
    if (mode == 0) {
        read_message(in);
        return 0;
    }
    if (u8_get(&in, &piece) != 0 || u8_get(&in, &limit) != 0)
        return 0;
    if (mode == 1) {
        struct buf out;
        buf_init(&out, 1u << 26);
        CHECK(read_pieces(in, (size_t)piece + 1, SIZE_MAX / 4, &out) <= 0);
        CHECK(out.len == 0);
        buf_deinit(&out);
    } else {
        read_member(in, (size_t)piece + 1, (size_t)limit + 1);
    }
    return 0;
}
