/*
 * Fuzz target: the number parsers. Property: what is accepted prints to text that parses to the
 * same value, and an integer has only one spelling.
 */
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/num.h"

#include "tests/fuzz/fuzz.h"

static void fuzz_integers(struct bytes in)
{
    char text[NUM_I64_BYTES];
    int64_t i64;
    uint64_t u64;

    if (num_parse_i64(in, &i64)) {
        const size_t len = num_print_i64(text, i64);
        CHECK(bytes_eq(bytes_of(text, len), in));
    }
    if (num_parse_u64(in, &u64)) {
        const size_t len = num_print_u64(text, u64);
        CHECK(bytes_eq(bytes_of(text, len), in));
    }
}

static void fuzz_floats(struct bytes in)
{
    char text[NUM_DOUBLE_BYTES];
    static char long_text[NUM_LDOUBLE_BYTES];
    double value;
    double back;
    long double long_value;

    if (num_parse_double(in, &value)) {
        const size_t len = num_print_double(text, value);
        CHECK(num_parse_double(bytes_of(text, len), &back));
        /* Bit by bit: the sign of zero counts. */
        CHECK(le64_load(&value) == le64_load(&back));
    }
    if (num_parse_ldouble(in, &long_value))
        CHECK(num_print_ldouble(long_text, long_value) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bytes in = bytes_of(data, size);
    uint64_t bytes_count;
    char text[64];

    fuzz_integers(in);
    fuzz_floats(in);
    if (size > 0 && size < sizeof(text)) {
        memcpy(text, data, size);
        text[size] = '\0';
        /* Only that it stays within the text. */
        IGNORE_RESULT(num_parse_memory(text, &bytes_count));
    }
    return 0;
}
