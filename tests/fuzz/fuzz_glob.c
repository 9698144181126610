/*
 * Fuzz target: glob patterns. The first byte is the length of the pattern and, in its highest bit,
 * whether case counts. Properties: it ends; a match starts with the literal prefix; a literal
 * pattern matches itself only.
 */
#include "engine/base/bytes.h"
#include "engine/base/check.h"

#include "server/glob.h"

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_of(data, size);
    struct bytes head;
    struct bytes pattern;

    if (!bytes_take(&text, 1, &head))
        return 0;
    if (!bytes_take(&text, head.ptr[0] & 0x7f, &pattern))
        pattern = bytes_of(NULL, 0);

    const bool match = glob_match(pattern, text, (head.ptr[0] & 0x80) != 0);
    if ((head.ptr[0] & 0x80) != 0)
        return 0;
    const struct bytes prefix = bytes_of(pattern.ptr, glob_prefix_len(pattern));
    CHECK(!match || bytes_starts(text, prefix));
    if (glob_is_literal(pattern))
        CHECK(match == bytes_eq(pattern, text));
    return 0;
}
