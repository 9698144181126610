/*
 * Fuzz target: varints. Property: what is accepted is what the encoder writes for the value, and
 * an error moves nothing.
 */
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/le.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);

    while (!bytes_empty(in)) {
        const struct bytes before = in;
        uint8_t out[VARINT_BYTES_MAX];
        uint64_t value;
        if (varint_get(&in, &value) != 0) {
            CHECK(in.ptr == before.ptr);
            CHECK(in.len == before.len);
            break;
        }
        const size_t len = varint_put(out, value);
        CHECK(len == varint_size(value));
        CHECK(bytes_eq(bytes_of(out, len), bytes_of(before.ptr, before.len - in.len)));
    }
    return 0;
}
