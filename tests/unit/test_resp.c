/*
 * The request parser: every stream is parsed whole and in pieces, with the same result.
 */
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

#include "server/resp.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static const struct resp_limits open_limits = {
    .bulk_bytes_max = 1u << 20,
    .args_max = RESP_ARGS_MAX,
};
static const struct resp_limits unauth_limits = {
    .bulk_bytes_max = 1u << 20,
    .args_max = RESP_ARGS_MAX,
    .unauthenticated = true,
};

/*
 * Feeds the stream in pieces that end at the given cuts (ascending) and describes what comes out:
 * each command as "[arg|arg]", then the error, "http", or nothing. Each piece lies in memory of its
 * exact size, so that a sanitizer sees a byte read too many.
 */
static void run(struct bytes stream, const size_t *cuts, size_t cuts_count,
                const struct resp_limits *limits, struct buf *out)
{
    struct resp_parser p;
    struct resp_cmd cmd;
    size_t start = 0;

    resp_parser_init(&p);
    resp_cmd_init(&cmd);
    for (size_t i = 0; i <= cuts_count; i++) {
        const size_t end = i == cuts_count ? stream.len : cuts[i];
        enum resp_result result = RESP_READY;
        while (result == RESP_READY) {
            uint8_t *piece = mem_alloc(end - start);
            if (end > start)
                memcpy(piece, stream.ptr + start, end - start);
            const struct bytes in = bytes_of(piece, end - start);
            /* The two may be mixed as one likes. */
            const bool whole = (start & 1) != 0 && resp_parse_whole(&p, &limits[0], in, &cmd);
            result = whole ? RESP_READY : resp_parse(&p, &limits[0], in, &cmd);
            if (result == RESP_MORE)
                assert_true(resp_wanted(&p) > end - start - cmd.consumed);
            for (uint32_t arg = 0; result == RESP_READY && arg < cmd.argc; arg++) {
                assert_int_equal(buf_append_u8(out, arg == 0 ? '[' : '|'), 0);
                assert_int_equal(buf_append_bytes(out, cmd.argv[arg]), 0);
            }
            if (result == RESP_READY)
                assert_int_equal(buf_append_u8(out, ']'), 0);
            start += cmd.consumed;
            assert_true(start <= end);
            mem_free(piece);
        }
        if (result == RESP_ERROR)
            assert_int_equal(buf_append(out, cmd.error, strlen(cmd.error)), 0);
        if (result == RESP_HTTP)
            assert_int_equal(buf_append(out, "http", 4), 0);
        if (result != RESP_MORE)
            break;
    }
    resp_cmd_deinit(&cmd);
}

/* Whole, byte by byte, cut at each place, and cut at all pairs of places for short streams. */
static void expect_with(struct bytes stream, const struct resp_limits *limits, struct bytes want)
{
    size_t *cuts = mem_alloc(stream.len * sizeof(*cuts));
    struct buf out;

    buf_init(&out, 1u << 24);
    run(stream, NULL, 0, limits, &out);
    expect_bytes(buf_bytes(&out), want);
    for (size_t i = 0; i < stream.len; i++)
        cuts[i] = i;
    buf_clear(&out);
    run(stream, cuts, stream.len, limits, &out);
    expect_bytes(buf_bytes(&out), want);
    for (size_t i = 0; i < stream.len; i++) {
        for (size_t j = i; j < stream.len; j += stream.len < 100 ? 1 : stream.len) {
            const size_t pair[] = {i, j};
            buf_clear(&out);
            run(stream, pair, 2, limits, &out);
            expect_bytes(buf_bytes(&out), want);
        }
    }
    buf_deinit(&out);
    mem_free(cuts);
}

#define EXPECT(stream, want)        expect_with(BYTES_LIT(stream), &open_limits, BYTES_LIT(want))
#define EXPECT_UNAUTH(stream, want) expect_with(BYTES_LIT(stream), &unauth_limits, BYTES_LIT(want))

static void commands_come_out_as_they_were_sent(void **state UNUSED)
{
    EXPECT("*1\r\n$4\r\nPING\r\n", "[PING]");
    EXPECT("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "[GET|k]");
    EXPECT("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nhello\r\nworld\r\n", "[SET||hello\r\nworld]");
    EXPECT("*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n*2\r\n$1\r\nc\r\n$2\r\n\0d\r\n", "[a][b][c|\0d]");
    EXPECT("*12\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n"
           "$1\r\n7\r\n$1\r\n8\r\n$1\r\n9\r\n$2\r\n10\r\n$2\r\n11\r\n",
           "[0|1|2|3|4|5|6|7|8|9|10|11]");
}

static void empty_commands_are_skipped(void **state UNUSED)
{
    EXPECT("\r\n\n*0\r\n*-1\r\n*-10\r\n  \r\n*1\r\n$4\r\nPING\r\n\r\n", "[PING]");
    EXPECT("*0\r\n", "");
    EXPECT("", "");
}

static void the_bytes_at_the_place_of_line_ends_are_not_looked_at(void **state UNUSED)
{
    EXPECT("*1\rX$4\rXPINGXX*1\r\n$1\r\na\r\n", "[PING][a]");
}

static void inline_commands_are_split_as_redis_does(void **state UNUSED)
{
    EXPECT("PING\r\n", "[PING]");
    EXPECT("  set\tkey   value \n", "[set|key|value]");
    EXPECT("set k \"\"\r\n", "[set|k|]");
    EXPECT("set k \"a b\\n\\x41\\\"\\q\\xZZ\" 'c\\'d\\n'\r\n", "[set|k|a b\nA\"qxZZ|c'd\\n]");
    EXPECT("foo\"bar baz\" x\r\n", "[foobar baz|x]");
    EXPECT("a\vb\r\n", "[a\vb]");
    EXPECT("a\r\nb\nc", "[a][b]");
    EXPECT("$4\r\n", "[$4]");
}

static void unbalanced_quotes_are_an_error(void **state UNUSED)
{
    EXPECT("set \"foo\r\n", "Protocol error: unbalanced quotes in request");
    EXPECT("set 'foo\r\n", "Protocol error: unbalanced quotes in request");
    EXPECT("set \"foo\"bar\r\n", "Protocol error: unbalanced quotes in request");
    EXPECT("set \"foo\\\r\n", "Protocol error: unbalanced quotes in request");
}

static void wrong_lengths_are_errors_with_the_texts_of_redis(void **state UNUSED)
{
    EXPECT("*x\r\n", "Protocol error: invalid multibulk length");
    EXPECT("*\r\n", "Protocol error: invalid multibulk length");
    EXPECT("*01\r\n", "Protocol error: invalid multibulk length");
    EXPECT("*+1\r\n", "Protocol error: invalid multibulk length");
    EXPECT("*1048577\r\n", "Protocol error: invalid multibulk length");
    EXPECT("*3000000000\r\n", "Protocol error: invalid multibulk length");
    EXPECT("*99999999999999999999\r\n", "Protocol error: invalid multibulk length");
    EXPECT("*1\r\nfoo\r\n", "Protocol error: expected '$', got 'f'");
    EXPECT("*1\r\n\r\n", "Protocol error: expected '$', got ' '");
    EXPECT("*1\r\n$\r\n", "Protocol error: invalid bulk length");
    EXPECT("*1\r\n$-1\r\n", "Protocol error: invalid bulk length");
    EXPECT("*1\r\n$00\r\n", "Protocol error: invalid bulk length");
    EXPECT("*1\r\n$blabla\r\n", "Protocol error: invalid bulk length");
    EXPECT("*1\r\n$1048577\r\n", "Protocol error: invalid bulk length");
    EXPECT("*1\r\n$9223372036854775807\r\n", "Protocol error: invalid bulk length");
    EXPECT("*2\r\n$1\r\na\r\nb\r\n", "Protocol error: expected '$', got 'b'");
}

static void clients_without_authentication_are_held_short(void **state UNUSED)
{
    EXPECT_UNAUTH("*11\r\n", "Protocol error: unauthenticated multibulk length");
    EXPECT_UNAUTH("*100\r\n", "Protocol error: unauthenticated multibulk length");
    EXPECT_UNAUTH("*1\r\n$16385\r\n", "Protocol error: unauthenticated bulk length");
    EXPECT_UNAUTH("*1\r\n$4\r\nPING\r\n", "[PING]");
    EXPECT("*1\r\n$16385\r\n", "");
}

static void requests_of_browsers_are_recognised(void **state UNUSED)
{
    EXPECT("POST / HTTP/1.1\r\nHost: x\r\n", "http");
    EXPECT("get /x HTTP/1.0\r\n", "http");
    EXPECT("hOsT: x\r\n", "http");
    EXPECT("get key\r\n", "[get|key]");
}

static void lines_without_end_are_errors(void **state UNUSED)
{
    static const struct {
        const char *start;
        const char *error;
    } cases[] = {
        {"A", "Protocol error: too big inline request"},
        {"*", "Protocol error: too big mbulk count string"},
        {"*2\r\n$1\r\na\r\n$", "Protocol error: too big bulk count string"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct resp_parser p;
        struct resp_cmd cmd;
        struct buf in;

        resp_parser_init(&p);
        resp_cmd_init(&cmd);
        buf_init(&in, 1u << 20);
        assert_int_equal(buf_append(&in, cases[i].start, strlen(cases[i].start)), 0);
        enum resp_result result = RESP_MORE;
        while (result == RESP_MORE && in.len < 2 * RESP_LINE_BYTES_MAX) {
            assert_int_equal(buf_append(&in, "1111111", 7), 0);
            result = resp_parse(&p, &open_limits, buf_bytes(&in), &cmd);
            expect_u64(cmd.consumed, 0);
        }
        expect_u64(result, RESP_ERROR);
        expect_str(cmd.error, cases[i].error);
        assert_true(in.len <= RESP_LINE_BYTES_MAX + 32);
        buf_deinit(&in);
        resp_cmd_deinit(&cmd);
    }
}

static void a_big_argument_in_pieces_is_not_read_again(void **state UNUSED)
{
    const size_t total = 64u << 20;
    const size_t step = 16u << 10;
    const struct resp_limits limits = {.bulk_bytes_max = total, .args_max = RESP_ARGS_MAX};
    static const char head[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$67108864\r\n";
    const size_t head_len = sizeof(head) - 1;
    struct resp_parser p;
    struct resp_cmd cmd;
    uint8_t *in = mem_alloc(head_len + total + 2);
    size_t have = 0;

    memcpy(in, head, head_len);
    memset(in + head_len, '$', total + 2);
    resp_parser_init(&p);
    resp_cmd_init(&cmd);
    enum resp_result result = RESP_MORE;
    while (result == RESP_MORE) {
        assert_true(have < head_len + total + 2);
        have = size_min(have + step, head_len + total + 2);
        result = resp_parse(&p, &limits, bytes_of(in, have), &cmd);
        if (result == RESP_MORE) {
            /* Nothing before this needs to be looked at again. */
            expect_u64(p.pos, head_len);
            expect_u64(resp_wanted(&p), head_len + total + 2);
        }
    }
    expect_u64(result, RESP_READY);
    expect_u64(cmd.argc, 3);
    expect_u64(cmd.argv[2].len, total);
    assert_ptr_equal(cmd.argv[2].ptr, in + head_len);
    expect_u64(cmd.consumed, head_len + total + 2);
    mem_free(in);
    resp_cmd_deinit(&cmd);
}

static void many_arguments_take_memory_only_as_they_arrive(void **state UNUSED)
{
    struct resp_parser p;
    struct resp_cmd cmd;

    resp_parser_init(&p);
    resp_cmd_init(&cmd);
    expect_u64(resp_parse(&p, &open_limits, BYTES_LIT("*1048576\r\n$1\r\na\r\n"), &cmd), RESP_MORE);
    assert_true(cmd.argv_cap < 64);
    resp_cmd_deinit(&cmd);
}

static void a_parser_without_memory_says_so(void **state UNUSED)
{
    struct resp_parser p;
    struct resp_cmd cmd;

    resp_parser_init(&p);
    resp_cmd_init(&cmd);
    mem_fault_set(1, 1);
    expect_u64(resp_parse(&p, &open_limits, BYTES_LIT("*1\r\n$1\r\na\r\n"), &cmd), RESP_ERROR);
    mem_fault_set(0, 0);
    expect_str(cmd.error, "Protocol error: out of memory");
    resp_cmd_deinit(&cmd);
}

/* One random command as protocol and as `run` describes it. */
static void random_command(struct rng *rng, struct buf *stream, struct buf *want)
{
    const uint64_t argc = 1 + rng_below(rng, rng_below(rng, 20) == 0 ? 300 : 6);

    assert_int_equal(buf_printf(stream, "*%" PRIu64 "\r\n", argc), 0);
    for (uint64_t i = 0; i < argc; i++) {
        uint8_t arg[2048];
        const size_t len = rng_below(rng, rng_below(rng, 20) == 0 ? sizeof(arg) : 24);
        rng_bytes(rng, arg, len);
        assert_int_equal(buf_printf(stream, "$%zu\r\n", len), 0);
        assert_int_equal(buf_append(stream, arg, len), 0);
        assert_int_equal(buf_append(stream, "\r\n", 2), 0);
        assert_int_equal(buf_append_u8(want, i == 0 ? '[' : '|'), 0);
        assert_int_equal(buf_append(want, arg, len), 0);
    }
    assert_int_equal(buf_append_u8(want, ']'), 0);
}

static int compare_sizes(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a;
    const size_t y = *(const size_t *)b;

    return (x > y) - (x < y);
}

static void random_pipelines_survive_random_cuts(void **state UNUSED)
{
    struct buf stream;
    struct buf want;
    struct buf got;
    struct rng rng;

    seed_rng(&rng, 1);
    buf_init(&stream, 1u << 24);
    buf_init(&want, 1u << 24);
    buf_init(&got, 1u << 24);
    for (int round = 0; round < 200; round++) {
        size_t cuts[64];
        const size_t cuts_count = rng_below(&rng, ARRAY_COUNT(cuts));

        buf_clear(&stream);
        buf_clear(&want);
        buf_clear(&got);
        for (uint64_t n = rng_below(&rng, 20); n > 0; n--)
            random_command(&rng, &stream, &want);
        for (size_t i = 0; i < cuts_count; i++)
            cuts[i] = rng_below(&rng, stream.len + 1);
        qsort(cuts, cuts_count, sizeof(cuts[0]), compare_sizes);
        run(buf_bytes(&stream), cuts, cuts_count, &open_limits, &got);
        expect_bytes(buf_bytes(&got), buf_bytes(&want));
    }
    buf_deinit(&stream);
    buf_deinit(&want);
    buf_deinit(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_come_out_as_they_were_sent),
        cmocka_unit_test(empty_commands_are_skipped),
        cmocka_unit_test(the_bytes_at_the_place_of_line_ends_are_not_looked_at),
        cmocka_unit_test(inline_commands_are_split_as_redis_does),
        cmocka_unit_test(unbalanced_quotes_are_an_error),
        cmocka_unit_test(wrong_lengths_are_errors_with_the_texts_of_redis),
        cmocka_unit_test(clients_without_authentication_are_held_short),
        cmocka_unit_test(requests_of_browsers_are_recognised),
        cmocka_unit_test(lines_without_end_are_errors),
        cmocka_unit_test(a_big_argument_in_pieces_is_not_read_again),
        cmocka_unit_test(many_arguments_take_memory_only_as_they_arrive),
        cmocka_unit_test(a_parser_without_memory_says_so),
        cmocka_unit_test(random_pipelines_survive_random_cuts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
