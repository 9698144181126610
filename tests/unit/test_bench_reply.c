/*
 * The skipping reply parser: every kind of reply, cut at every byte; the sink; refusals.
 */
#include "engine/base/buf.h"
#include "engine/base/err.h"

#include "bench/load/bench_reply.h"
#include "tests/lib/tcase.h"

struct expected {
    const char *text;
    uint8_t type;
    bool nil;
    int64_t number;
    uint64_t nils;
    const char *error; /* Of '-' replies. */
    const char *bulks; /* Contents, each followed by a bar. */
};

static const struct expected replies[] = {
    {"+OK\r\n", '+', false, 0, 0, NULL, ""},
    {"+\r\n", '+', false, 0, 0, NULL, ""},
    {"-ERR it is wrong\r\n", '-', false, 0, 0, "ERR it is wrong", ""},
    {":0\r\n", ':', false, 0, 0, NULL, ""},
    {":-12\r\n", ':', false, -12, 0, NULL, ""},
    {":9223372036854775807\r\n", ':', false, INT64_MAX, 0, NULL, ""},
    {"$-1\r\n", '$', true, -1, 0, NULL, ""},
    {"$0\r\n\r\n", '$', false, 0, 0, NULL, "|"},
    {"$5\r\nab\r\nc\r\n", '$', false, 5, 0, NULL, "ab\r\nc|"},
    {"*-1\r\n", '*', true, -1, 0, NULL, ""},
    {"*0\r\n", '*', false, 0, 0, NULL, ""},
    {"*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbc\r\n", '*', false, 3, 1, NULL, "a|bc|"},
    {"*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n*2\r\n$1\r\nx\r\n+y\r\n", '*', false, 2, 0, NULL, "x|"},
    {"*3\r\n-ERR inside\r\n*-1\r\n$-1\r\n", '*', false, 3, 1, NULL, ""},
};

static void collect(void *ctx, const struct bench_reply_piece *piece)
{
    struct buf *out = ctx;

    assert_int_equal(buf_append(out, piece->ptr, piece->len), 0);
    if (piece->last)
        assert_int_equal(buf_append_u8(out, '|'), 0);
}

static void expect_info(const struct bench_reply_info *info, const struct expected *want)
{
    expect_u64(info->type, want->type);
    assert_true(info->nil == want->nil);
    if (want->type != '+' && want->type != '-')
        expect_i64(info->number, want->number);
    expect_u64(info->nils, want->nils);
    if (want->error != NULL)
        expect_bytes(bytes_of(info->text, info->text_len), bytes_cstr(want->error));
}

/* Feeds `data` and counts the replies that it completes, checking each against the table. */
static size_t feed(struct bench_reply *reply, struct bytes data, size_t done)
{
    size_t used;

    while (data.len > 0) {
        const int result = bench_reply_feed(reply, data.ptr, data.len, &used);
        assert_true(result >= 0);
        data = bytes_from(data, used);
        if (result == BENCH_REPLY_DONE)
            expect_info(&reply->info, &replies[done++ % ARRAY_COUNT(replies)]);
        else
            expect_u64(data.len, 0);
    }
    return done;
}

static void build_stream(struct buf *stream, struct buf *bulks)
{
    buf_init(stream, 1 << 16);
    buf_init(bulks, 1 << 16);
    for (size_t i = 0; i < ARRAY_COUNT(replies); i++) {
        assert_int_equal(buf_append_bytes(stream, bytes_cstr(replies[i].text)), 0);
        assert_int_equal(buf_append_bytes(bulks, bytes_cstr(replies[i].bulks)), 0);
    }
}

static void replies_are_understood_wherever_they_are_cut(void **state UNUSED)
{
    struct bench_reply reply;
    struct buf stream;
    struct buf bulks;
    struct buf got;

    build_stream(&stream, &bulks);
    buf_init(&got, 1 << 16);
    for (size_t cut = 0; cut <= stream.len; cut++) {
        buf_clear(&got);
        bench_reply_init(&reply, collect, &got);
        size_t done = feed(&reply, bytes_of(stream.ptr, cut), 0);
        done = feed(&reply, bytes_from(buf_bytes(&stream), cut), done);
        expect_u64(done, ARRAY_COUNT(replies));
        expect_bytes(buf_bytes(&got), buf_bytes(&bulks));
    }
    buf_deinit(&got);
    buf_deinit(&bulks);
    buf_deinit(&stream);
}

static void replies_are_understood_byte_by_byte(void **state UNUSED)
{
    struct bench_reply reply;
    struct buf stream;
    struct buf bulks;
    struct buf got;
    size_t done = 0;

    build_stream(&stream, &bulks);
    buf_init(&got, 1 << 16);
    bench_reply_init(&reply, collect, &got);
    for (size_t i = 0; i < stream.len; i++)
        done = feed(&reply, bytes_of(stream.ptr + i, 1), done);
    expect_u64(done, ARRAY_COUNT(replies));
    expect_bytes(buf_bytes(&got), buf_bytes(&bulks));
    buf_deinit(&got);
    buf_deinit(&bulks);
    buf_deinit(&stream);
}

static void count_pieces(void *ctx, const struct bench_reply_piece *piece)
{
    uint64_t *counts = ctx;

    counts[0] += piece->first;
    counts[1] += piece->last;
    counts[2] = piece->bulk;
}

static void bulks_are_numbered_with_the_nils_among_them(void **state UNUSED)
{
    static const char text[] = "*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbc\r\n";
    uint64_t counts[3] = {0};
    struct bench_reply reply;
    size_t used;

    bench_reply_init(&reply, count_pieces, counts);
    for (size_t i = 0; i + 1 < sizeof(text); i++)
        assert_true(bench_reply_feed(&reply, (const uint8_t *)text + i, 1, &used) >= 0);
    expect_u64(counts[0], 2);
    expect_u64(counts[1], 2);
    expect_u64(counts[2], 2);
}

static void what_is_not_a_reply_is_refused(void **state UNUSED)
{
    static const char *const wrong[] = {
        "x",
        "\r\n",
        "$\r",
        ":\r",
        ":1\n",
        ":--1",
        "$-2\r\n",
        "*-2\r\n",
        "$1\r\nab",
        "$1\r\na\rx",
        ":1x",
        "+OK\rx",
        "*1\r\n%",
        ":99999999999999999999",
        "$4294967297\r\n",
        "*4294967297\r\n",
        ":-\r",
    };
    struct bench_reply reply;
    size_t used;

    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        const struct bytes data = bytes_cstr(wrong[i]);
        bench_reply_init(&reply, NULL, NULL);
        if (bench_reply_feed(&reply, data.ptr, data.len, &used) == -ERR_PROTOCOL)
            continue;
        print_error("accepted: %s\n", wrong[i]);
        fail();
    }
}

static void nested_arrays_cannot_ask_for_endless_elements(void **state UNUSED)
{
    static const char text[] = "*4294967296\r\n*4294967296\r\n";
    struct bench_reply reply;
    size_t used;

    bench_reply_init(&reply, NULL, NULL);
    expect_i64(bench_reply_feed(&reply, (const uint8_t *)text, sizeof(text) - 1, &used),
               -ERR_PROTOCOL);
}

static void a_line_without_end_is_refused(void **state UNUSED)
{
    struct bench_reply reply;
    uint8_t text[1024];
    size_t used;
    int result = BENCH_REPLY_MORE;

    memset(text, 'a', sizeof(text));
    bench_reply_init(&reply, NULL, NULL);
    expect_i64(bench_reply_feed(&reply, (const uint8_t *)"-", 1, &used), BENCH_REPLY_MORE);
    for (int i = 0; i < 100 && result == BENCH_REPLY_MORE; i++)
        result = bench_reply_feed(&reply, text, sizeof(text), &used);
    expect_i64(result, -ERR_PROTOCOL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_are_understood_wherever_they_are_cut),
        cmocka_unit_test(replies_are_understood_byte_by_byte),
        cmocka_unit_test(bulks_are_numbered_with_the_nils_among_them),
        cmocka_unit_test(what_is_not_a_reply_is_refused),
        cmocka_unit_test(nested_arrays_cannot_ask_for_endless_elements),
        cmocka_unit_test(a_line_without_end_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
