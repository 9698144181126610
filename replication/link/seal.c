/*
 * Writing and reading of frames with MACs; seal.h has the bytes.
 */
#include "replication/link/seal.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "replication/link/mac.h"

/* What is kept of the memory for a frame that came in pieces. */
#define BODY_BYTES_KEPT (256u << 10)

/* Begins the MAC of a header (part 0) or body (part 1) of frame `number`. */
static void begin_mac(struct mac *mac, uint64_t number, unsigned part)
{
    uint8_t place[8];

    le64_store(place, 2 * number + part);
    mac_begin(mac);
    mac_add(mac, bytes_of(place, sizeof(place)));
}

static void end_mac(struct mac *mac, uint8_t out[SEAL_MAC_BYTES])
{
    uint8_t full[MAC_BYTES];

    mac_end(mac, full);
    memcpy(out, full, SEAL_MAC_BYTES);
}

/* ---- writing ---- */

int seal_put(struct buf *out, enum seal_kind kind, struct bytes part_a, struct bytes part_b)
{
    const size_t len = part_a.len + part_b.len;
    const size_t frame_bytes = seal_frame_bytes(len);
    const int err = buf_reserve(out, frame_bytes);

    CHECK(len <= UINT32_MAX);
    if (err != 0)
        return err;
    uint8_t *at = buf_end(out);
    memset(at, 0, SEAL_HEAD_BYTES);
    le32_store(at, (uint32_t)len);
    at[4] = (uint8_t)kind;
    at += SEAL_HEAD_BYTES;
    if (part_a.len != 0)
        memcpy(at, part_a.ptr, part_a.len);
    if (part_b.len != 0)
        memcpy(at + part_a.len, part_b.ptr, part_b.len);
    if (len != 0)
        memset(at + len, 0, SEAL_MAC_BYTES);
    buf_commit(out, frame_bytes);
    return 0;
}

size_t seal_write(struct seal_writer *w, uint8_t *bytes, size_t at, size_t len, size_t budget)
{
    const size_t end = budget < len - at ? at + budget : len;

    while (at < end) {
        if (w->left == 0) {
            begin_mac(w->mac, w->number, 0);
            mac_add(w->mac, bytes_of(bytes + at, 8));
            end_mac(w->mac, bytes + at + 8);
            w->left = le32_load(bytes + at);
            at += SEAL_HEAD_BYTES;
            if (w->left == 0)
                w->number++;
            else
                begin_mac(w->mac, w->number, 1);
            continue;
        }
        const size_t n = size_min(w->left, end - at);
        mac_add(w->mac, bytes_of(bytes + at, n));
        at += n;
        w->left -= n;
        if (w->left == 0) {
            end_mac(w->mac, bytes + at);
            at += SEAL_MAC_BYTES;
            w->number++;
        }
    }
    CHECK(at <= len);
    return at;
}

/* ---- reading ---- */

void seal_reader_init(struct seal_reader *r, struct mac *take_mac, size_t frame_bytes_max)
{
    *r = (struct seal_reader){.mac = take_mac, .frame_bytes_max = frame_bytes_max};
    buf_init(&r->body, size_max(frame_bytes_max, SEAL_BYE_BYTES_MAX) + SEAL_MAC_BYTES);
}

void seal_reader_deinit(struct seal_reader *r)
{
    mac_destroy(r->mac);
    r->mac = NULL;
    buf_deinit(&r->body);
}

/* A whole header: is it authentic, and does it make sense? */
static int open_head(struct seal_reader *r, const uint8_t *head)
{
    uint8_t mac[SEAL_MAC_BYTES];

    begin_mac(r->mac, r->number, 0);
    mac_add(r->mac, bytes_of(head, 8));
    end_mac(r->mac, mac);
    if (!mac_equal(mac, head + 8, SEAL_MAC_BYTES))
        return -ERR_AUTH;
    const uint8_t kind = head[4];
    const size_t len = le32_load(head);
    if (kind == 0 || kind >= SEAL_KIND_END || (head[5] | head[6] | head[7]) != 0)
        return -ERR_PROTOCOL;
    if (kind == SEAL_DATA && len > r->frame_bytes_max)
        return -ERR_LIMIT;
    if ((kind == SEAL_OPEN && len != 0) ||
        (kind == SEAL_BYE && (len == 0 || len > SEAL_BYE_BYTES_MAX)))
        return -ERR_PROTOCOL;
    r->body_len = len;
    r->hashed = 0;
    if (len != 0)
        begin_mac(r->mac, r->number, 1);
    return 0;
}

/* Takes the header's bytes. Returns 1 when it is whole and good, 0 or an error. */
static int take_head(struct seal_reader *r, struct bytes *in)
{
    const size_t n = size_min(SEAL_HEAD_BYTES - r->head_len, in->len);

    if (n != 0)
        memcpy(r->head + r->head_len, in->ptr, n);
    *in = bytes_from(*in, n);
    r->head_len += n;
    if (r->head_len < SEAL_HEAD_BYTES)
        return 0;
    const int err = open_head(r, r->head);
    return err != 0 ? err : 1;
}

/* The end of a frame whose body and MAC are at `body`. */
static int close_frame(struct seal_reader *r, const uint8_t *body, struct seal_frame *out)
{
    if (r->body_len != 0) {
        uint8_t mac[SEAL_MAC_BYTES];

        mac_add(r->mac, bytes_of(body + r->hashed, r->body_len - r->hashed));
        end_mac(r->mac, mac);
        if (!mac_equal(mac, body + r->body_len, SEAL_MAC_BYTES))
            return -ERR_AUTH;
    }
    *out = (struct seal_frame){.kind = r->head[4], .body = bytes_of(body, r->body_len)};
    r->number++;
    r->head_len = 0;
    return 1;
}

/* Keeps what came of the body, `n` bytes, and hashes what of it is not the MAC. */
static int keep_part(struct seal_reader *r, struct bytes *in, size_t n)
{
    const int err = buf_append(&r->body, in->ptr, n);

    if (err != 0)
        return err;
    *in = bytes_from(*in, n);
    const size_t here = size_min(r->body.len, r->body_len);
    mac_add(r->mac, bytes_of(r->body.ptr + r->hashed, here - r->hashed));
    r->hashed = here;
    return 0;
}

int seal_read(struct seal_reader *r, struct bytes *in, struct seal_frame *out)
{
    if (r->release_body) {
        buf_clear(&r->body);
        buf_shrink(&r->body, BODY_BYTES_KEPT);
        r->release_body = false;
    }
    if (r->head_len < SEAL_HEAD_BYTES) {
        const int got = take_head(r, in);
        if (got <= 0)
            return got;
    }
    const size_t want = seal_frame_bytes(r->body_len) - SEAL_HEAD_BYTES;
    if (r->body.len == 0 && in->len >= want) {
        const uint8_t *body = in->ptr;
        *in = bytes_from(*in, want);
        return close_frame(r, body, out);
    }
    const size_t n = size_min(want - r->body.len, in->len);
    if (n == 0)
        return 0;
    const int err = keep_part(r, in, n);
    if (err != 0)
        return err;
    if (r->body.len < want)
        return 0;
    r->release_body = true;
    return close_frame(r, r->body.ptr, out);
}
