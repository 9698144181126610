/*
 * Memberships, messages of control and of digests, and the stored state: decoding must survive any
 * bytes, and what is decoded well is encoded to the same bytes again.
 *
 * Input: byte 0 chooses: 0 a membership, 1 a message, 2 a digest, else a stored state; the rest are
 * the bytes, whose sum is made right first, so that the fuzzer need not guess it.
 */
#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

#include "replication/group/control_impl.h"
#include "replication/group/digest.h"

#include "tests/fuzz/fuzz.h"

static void fuzz_membership(struct bytes in, struct buf *out)
{
    static struct membership members;
    static struct membership again;

    if (membership_decode(in, &members) != 0)
        return;
    CHECK(membership_encode(&members, out) == 0);
    CHECK(bytes_eq(buf_bytes(out), in));
    membership_copy(&again, &members);
    CHECK(membership_compare(&members, &again) == MEMBERSHIP_SAME);
}

static void fuzz_message(struct bytes in, struct buf *out)
{
    static struct control_msg msg;

    if (control_msg_decode(in, &msg) != 0)
        return;
    CHECK(control_msg_encode(&msg, out) == 0);
    CHECK(bytes_eq(buf_bytes(out), in));
}

static void fuzz_stored(struct bytes in, struct buf *out)
{
    static struct control_stored stored;

    control_stored_init(&stored);
    if (control_stored_decode(in, &stored) == 0) {
        CHECK(control_stored_encode(&stored, out) == 0);
        CHECK(bytes_eq(buf_bytes(out), in));
    }
    control_stored_deinit(&stored);
}

static void fuzz_digest(struct bytes in, struct buf *out)
{
    struct digest_side *side = digest_side_create();
    struct digest_head head;
    struct digest_ask ask;
    struct bytes body, names, name;
    uint64_t sum;

    if (digest_open(in, &head, &body) == 0 && digest_get_answer(body, side) == 0) {
        for (names = buf_bytes(&side->names); digest_next_name(&names, &name, &sum);)
            CHECK(name.len <= side->names.len);
        CHECK(digest_put_answer(&head, side, out) == 0);
        CHECK(head.kind != DIGEST_ANSWER || bytes_eq(buf_bytes(out), in));
    }
    if (digest_open(in, &head, &body) == 0 && digest_get_ask(body, &ask) == 0) {
        CHECK(digest_put_ask(&head, &ask, out) == 0);
        CHECK(head.kind != DIGEST_ASK || bytes_eq(buf_bytes(out), in));
    }
    digest_side_destroy(side);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf in;
    struct buf out;

    if (size < 1 + CONTROL_HEAD_BYTES || size > CONTROL_STORED_BYTES_MAX)
        return 0;
    buf_init(&in, size);
    buf_init(&out, CONTROL_STORED_BYTES_MAX);
    CHECK(buf_append(&in, data + 1, size - 1) == 0);
    if (data[0] == 1 || data[0] == 2)
        le64_store(in.ptr + 8, sum64_seed(in.ptr + 16, in.len - 16, le64_load(in.ptr)));
    else
        le64_store(in.ptr + in.len - 8, sum64(in.ptr, in.len - 8));
    if (data[0] == 0)
        fuzz_membership(buf_bytes(&in), &out);
    else if (data[0] == 1)
        fuzz_message(buf_bytes(&in), &out);
    else if (data[0] == 2)
        fuzz_digest(buf_bytes(&in), &out);
    else
        fuzz_stored(buf_bytes(&in), &out);
    buf_deinit(&in);
    buf_deinit(&out);
    return 0;
}
