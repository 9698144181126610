/*
 * The reply writer. The error texts were compared with what redis-server 7.0.15 sends.
 */
#include <math.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "server/reply.h"

#include "tests/lib/tcase.h"

struct errors {
    char codes[256];
};

static void on_error(void *ctx, struct bytes code)
{
    struct errors *errors = ctx;
    const size_t len = strlen(errors->codes);

    assert_true(len + code.len + 2 < sizeof(errors->codes));
    memcpy(errors->codes + len, code.ptr, code.len);
    memcpy(errors->codes + len + code.len, ";", 2);
}

static void start(struct reply *r, uint8_t proto)
{
    reply_init(r, 1u << 24, NULL);
    r->proto = proto;
}

#define EXPECT(r, want)                                      \
    do {                                                     \
        assert_false((r)->failed);                           \
        expect_bytes(buf_bytes(&(r)->out), BYTES_LIT(want)); \
        reply_deinit(r);                                     \
    } while (0)

static void write_all_kinds(struct reply *r)
{
    reply_ok(r);
    reply_status(r, "a\r\nb");
    reply_i64(r, 0);
    reply_i64(r, 9);
    reply_i64(r, 10);
    reply_i64(r, 99);
    reply_i64(r, 100);
    reply_i64(r, -1);
    reply_i64(r, INT64_MIN);
    reply_i64(r, INT64_MAX);
    reply_u64(r, UINT64_MAX);
    reply_bulk(r, BYTES_LIT(""));
    reply_bulk(r, BYTES_LIT("a\0b\r\n"));
    reply_bulk_cstr(r, NULL);
    reply_bulk_cstr(r, "hello world");
    reply_bulk_i64(r, -12);
    reply_bulk_printf(r, "%d-%s", 5, "x");
    reply_null(r);
    reply_null_array(r);
    reply_double(r, 3.0);
    reply_double(r, 0.1);
    reply_double(r, -(double)INFINITY);
    reply_ldouble(r, 10.5L);
    reply_bool(r, true);
    reply_bool(r, false);
    reply_bignum(r, BYTES_LIT("12345678901234567890"));
    reply_verbatim(r, BYTES_LIT("some text"), "txt");
    reply_array(r, 3);
    reply_map(r, 6);
    reply_set(r, 12);
    reply_push(r, 100);
}

static void every_kind_has_its_form_in_resp2(void **state UNUSED)
{
    struct reply r;

    start(&r, 2);
    write_all_kinds(&r);
    EXPECT(&r, "+OK\r\n+a  b\r\n:0\r\n:9\r\n:10\r\n:99\r\n:100\r\n:-1\r\n"
               ":-9223372036854775808\r\n:9223372036854775807\r\n:18446744073709551615\r\n"
               "$0\r\n\r\n$5\r\na\0b\r\n\r\n$-1\r\n$11\r\nhello world\r\n$3\r\n-12\r\n"
               "$3\r\n5-x\r\n$-1\r\n*-1\r\n$1\r\n3\r\n$19\r\n0.10000000000000001\r\n"
               "$4\r\n-inf\r\n$4\r\n10.5\r\n:1\r\n:0\r\n$20\r\n12345678901234567890\r\n"
               "$9\r\nsome text\r\n*3\r\n*12\r\n*12\r\n*100\r\n");
}

static void every_kind_has_its_form_in_resp3(void **state UNUSED)
{
    struct reply r;

    start(&r, 3);
    write_all_kinds(&r);
    reply_attribute(&r, 1);
    EXPECT(&r, "+OK\r\n+a  b\r\n:0\r\n:9\r\n:10\r\n:99\r\n:100\r\n:-1\r\n"
               ":-9223372036854775808\r\n:9223372036854775807\r\n:18446744073709551615\r\n"
               "$0\r\n\r\n$5\r\na\0b\r\n\r\n_\r\n$11\r\nhello world\r\n$3\r\n-12\r\n"
               "$3\r\n5-x\r\n_\r\n_\r\n,3\r\n,0.10000000000000001\r\n"
               ",-inf\r\n,10.5\r\n#t\r\n#f\r\n(12345678901234567890\r\n"
               "=13\r\ntxt:some text\r\n*3\r\n%6\r\n~12\r\n>100\r\n|1\r\n");
}

static void deferred_lengths_fit_whatever_was_guessed(void **state UNUSED)
{
    static const uint64_t guesses[] = {0, 5, 10, 1000};

    for (size_t i = 0; i < ARRAY_COUNT(guesses); i++) {
        struct reply r;

        start(&r, 3);
        const struct reply_mark outer = reply_deferred_begin(&r, guesses[i]);
        reply_i64(&r, 1);
        const struct reply_mark inner = reply_deferred_begin(&r, guesses[i]);
        for (int n = 0; n < 12; n++)
            reply_null(&r);
        reply_deferred_set(&r, inner, 12);
        const struct reply_mark map = reply_deferred_begin(&r, guesses[i]);
        reply_deferred_map(&r, map, 0);
        reply_deferred_array(&r, outer, 3);
        reply_ok(&r);
        EXPECT(&r, "*3\r\n:1\r\n~12\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n_\r\n"
                   "%0\r\n+OK\r\n");
    }
}

static void a_deferred_map_counts_twice_in_resp2(void **state UNUSED)
{
    struct reply r;

    start(&r, 2);
    const struct reply_mark mark = reply_deferred_begin(&r, 1);
    for (int i = 0; i < 10; i++)
        reply_i64(&r, i);
    reply_deferred_map(&r, mark, 5);
    EXPECT(&r, "*10\r\n:0\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n");
}

static void errors_have_the_texts_of_redis(void **state UNUSED)
{
    const struct bytes unknown[] = {BYTES_LIT("nosuch"), BYTES_LIT("a"), BYTES_LIT("b"),
                                    BYTES_LIT("c\r\nd"), BYTES_LIT("e\0f")};
    const struct bytes config[] = {BYTES_LIT("CoNfig"), BYTES_LIT("nosuch")};
    struct reply r;

    start(&r, 2);
    reply_err_wrongtype(&r);
    reply_err_syntax(&r);
    reply_err_arity(&r, "config|get");
    reply_err_expire_time(&r, "setex");
    reply_err_unknown_command(&r, 5, unknown);
    reply_err_unknown_command(&r, 1, unknown);
    reply_err_unknown_subcommand(&r, config);
    reply_err_subcommand_syntax(&r, config);
    reply_err_noperm_cmd(&r, "get");
    reply_err_oom(&r, NULL);
    reply_err_oom(&r, "maxflash is reached.");
    expect_u64(r.errors_count, 11);
    EXPECT(&r, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
               "-ERR syntax error\r\n"
               "-ERR wrong number of arguments for 'config|get' command\r\n"
               "-ERR invalid expire time in 'setex' command\r\n"
               "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' 'c  d' 'e' \r\n"
               "-ERR unknown command 'nosuch', with args beginning with: \r\n"
               "-ERR unknown subcommand 'nosuch'. Try CONFIG HELP.\r\n"
               "-ERR unknown subcommand or wrong number of arguments for 'nosuch'. Try CONFIG "
               "HELP.\r\n"
               "-NOPERM this user has no permissions to run the 'get' command\r\n"
               "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
               "-OOM command not allowed when used memory > 'maxmemory'. maxflash is reached.\r\n");
}

static void long_arguments_are_cut_in_errors_as_redis_does(void **state UNUSED)
{
    uint8_t text[200] = {0};
    const struct bytes args[] = {bytes_of(text, sizeof(text)), bytes_of(text, 100),
                                 bytes_of(text, 100), bytes_of(text, 100)};
    struct buf want;
    struct reply r;

    memset(text, 'b', sizeof(text));
    buf_init(&want, 4096);
    assert_int_equal(
        buf_printf(&want,
                   "-ERR unknown command '%.128s', with args beginning with: '%.100s' '%.25s' \r\n",
                   (const char *)text, (const char *)text, (const char *)text),
        0);
    start(&r, 2);
    reply_err_unknown_command(&r, 4, args);
    expect_bytes(buf_bytes(&r.out), buf_bytes(&want));
    reply_deinit(&r);
    buf_deinit(&want);
}

static void a_refused_exec_names_the_reason(void **state UNUSED)
{
    struct reply r;

    start(&r, 2);
    reply_ok(&r);
    reply_err_oom(&r, NULL);
    reply_execabort_because(&r);
    EXPECT(&r,
           "+OK\r\n-EXECABORT Transaction discarded because of: OOM command not allowed when used "
           "memory > 'maxmemory'.\r\n");
    start(&r, 2);
    reply_error(&r, "ERR x");
    reply_execabort_because(&r);
    EXPECT(&r, "-EXECABORT Transaction discarded because of: x\r\n");
}

static void errors_are_counted_by_their_first_word(void **state UNUSED)
{
    struct errors errors = {0};
    const struct reply_env env = {.on_error = on_error, .ctx = &errors};
    struct reply r;

    reply_init(&r, 4096, &env);
    reply_err_wrongtype(&r);
    reply_ok(&r);
    reply_error(&r, "ERR some %s", "thing");
    reply_error(&r, "ONEWORD");
    expect_str(errors.codes, "WRONGTYPE;ERR;ONEWORD;");
    expect_u64(r.errors_count, 3);
    reply_deinit(&r);
}

static void error_texts_cannot_break_the_protocol(void **state UNUSED)
{
    struct reply r;

    start(&r, 2);
    reply_error(&r, "ERR %s", "a\r\n+OK\r\n");
    EXPECT(&r, "-ERR a  +OK\r\n");
}

static void a_reply_beyond_its_limit_fails_and_stays_failed(void **state UNUSED)
{
    struct reply r;

    reply_init(&r, 1000, NULL);
    reply_ok(&r);
    assert_null(reply_bulk_space(&r, 1000));
    assert_true(r.failed);
    reply_ok(&r);
    reply_error(&r, "ERR x");
    const struct reply_mark mark = reply_deferred_begin(&r, 1);
    reply_deferred_array(&r, mark, 100000);
    assert_null(reply_bulk_space(&r, SIZE_MAX));
    expect_bytes(buf_bytes(&r.out), BYTES_LIT("+OK\r\n"));
    reply_deinit(&r);
}

static void a_reply_without_memory_fails(void **state UNUSED)
{
    struct reply r;

    start(&r, 2);
    mem_fault_set(1, 1);
    reply_ok(&r);
    mem_fault_set(0, 0);
    assert_true(r.failed);
    reply_deinit(&r);
}

static void bulk_strings_of_all_lengths_are_framed(void **state UNUSED)
{
    static const size_t lengths[] = {0, 1, 9, 10, 99, 100, 101, 999, 1000, 16384, 100000};

    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        const size_t len = lengths[i];
        uint8_t *value = mem_alloc(len);
        struct buf want;
        struct reply r;
        struct rng rng;

        rng_seed(&rng, len);
        rng_bytes(&rng, value, len);
        buf_init(&want, 1u << 20);
        assert_int_equal(buf_printf(&want, "$%zu\r\n", len), 0);
        assert_int_equal(buf_append(&want, value, len), 0);
        assert_int_equal(buf_append(&want, "\r\n", 2), 0);
        start(&r, 2);
        reply_bulk(&r, bytes_of(value, len));
        expect_bytes(buf_bytes(&r.out), buf_bytes(&want));
        reply_deinit(&r);
        buf_deinit(&want);
        mem_free(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_has_its_form_in_resp2),
        cmocka_unit_test(every_kind_has_its_form_in_resp3),
        cmocka_unit_test(deferred_lengths_fit_whatever_was_guessed),
        cmocka_unit_test(a_deferred_map_counts_twice_in_resp2),
        cmocka_unit_test(errors_have_the_texts_of_redis),
        cmocka_unit_test(long_arguments_are_cut_in_errors_as_redis_does),
        cmocka_unit_test(a_refused_exec_names_the_reason),
        cmocka_unit_test(errors_are_counted_by_their_first_word),
        cmocka_unit_test(error_texts_cannot_break_the_protocol),
        cmocka_unit_test(a_reply_beyond_its_limit_fails_and_stays_failed),
        cmocka_unit_test(a_reply_without_memory_fails),
        cmocka_unit_test(bulk_strings_of_all_lengths_are_framed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
