/*
 * What every test program includes: cmocka with the headers that it wants first, and comparisons
 * that it lacks.
 *
 * cmocka 1.1 compares through one signed type and prints hexadecimal; these print what a reader
 * expects, and where. They are macros only to know the place.
 */
#ifndef TIERRA_TESTS_LIB_TCASE_H
#define TIERRA_TESTS_LIB_TCASE_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/bytes.h"

/* Bytes of each side that a failed comparison shows. */
#define EXPECT_SHOW_BYTES_MAX 64

static inline void expect_u64_at(uint64_t got, uint64_t want, const char *file, int line)
{
    if (got == want)
        return;
    print_error("got %" PRIu64 ", want %" PRIu64 "\n", got, want);
    _fail(file, line);
}

static inline void expect_i64_at(int64_t got, int64_t want, const char *file, int line)
{
    if (got == want)
        return;
    print_error("got %" PRId64 ", want %" PRId64 "\n", got, want);
    _fail(file, line);
}

/* Printable ASCII as it is, the rest as \xNN. */
static inline void expect_show(const char *name, struct bytes b)
{
    char text[EXPECT_SHOW_BYTES_MAX * 4 + 1];
    size_t at = 0;

    for (size_t i = 0; i < b.len && i < EXPECT_SHOW_BYTES_MAX; i++) {
        static const char hex[] = "0123456789abcdef";
        const uint8_t c = b.ptr[i];
        if (c >= ' ' && c < 0x7f && c != '\\') {
            text[at++] = (char)c;
            continue;
        }
        text[at++] = '\\';
        text[at++] = 'x';
        text[at++] = hex[c >> 4];
        text[at++] = hex[c & 15];
    }
    text[at] = '\0';
    print_error("%s %zu bytes: \"%s\"%s\n", name, b.len, text,
                b.len > EXPECT_SHOW_BYTES_MAX ? ".." : "");
}

static inline void expect_bytes_at(struct bytes got, struct bytes want, const char *file, int line)
{
    if (bytes_eq(got, want))
        return;
    expect_show("got ", got);
    expect_show("want", want);
    _fail(file, line);
}

/* The value that the code under test gave comes first. */
#define expect_u64(got, want)   expect_u64_at((got), (want), __FILE__, __LINE__)
#define expect_i64(got, want)   expect_i64_at((got), (want), __FILE__, __LINE__)
#define expect_bytes(got, want) expect_bytes_at((got), (want), __FILE__, __LINE__)
#define expect_str(got, want)   expect_bytes(bytes_cstr(got), bytes_cstr(want))

#endif
