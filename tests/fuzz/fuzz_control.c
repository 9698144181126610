/*
 * Memberships, messages of control and its stored state: decoding must survive any bytes, and what
 * is decoded well is encoded to the same bytes again.
 *
 * Input: byte 0 chooses: 0 a membership, 1 a message, 2 a stored state; the rest are the bytes,
 * whose sum is made right first, so that the fuzzer need not guess it.
 */
#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

#include "replication/group/control_impl.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf in;
    struct buf out;

    if (size < 1 + CONTROL_HEAD_BYTES || size > CONTROL_STORED_BYTES_MAX)
        return 0;
    buf_init(&in, size);
    buf_init(&out, CONTROL_STORED_BYTES_MAX);
    CHECK(buf_append(&in, data + 1, size - 1) == 0);
    if (data[0] == 1)
        le64_store(in.ptr + 8, sum64_seed(in.ptr + 16, in.len - 16, le64_load(in.ptr)));
    else
        le64_store(in.ptr + in.len - 8, sum64(in.ptr, in.len - 8));
    if (data[0] == 0)
        fuzz_membership(buf_bytes(&in), &out);
    else if (data[0] == 1)
        fuzz_message(buf_bytes(&in), &out);
    else
        fuzz_stored(buf_bytes(&in), &out);
    buf_deinit(&in);
    buf_deinit(&out);
    return 0;
}
