/*
 * The requests of the load generator: well formed, with the arguments that were asked for, and
 * with values that their own checker accepts.
 */
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "bench/load/bench_load.h"
#include "bench/load/bench_reply.h"
#include "bench/load/bench_request.h"
#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define ARGUMENTS_MAX 400

struct fixture {
    struct bench_options options;
    struct bench_plan plan;
    struct bench_gen gen;
    uint8_t *out;
    struct bytes arguments[ARGUMENTS_MAX];
    uint64_t argument_count;
};

static void on_argument(void *ctx, const struct bench_reply_piece *piece)
{
    struct fixture *f = ctx;

    assert_true(piece->first && piece->last && piece->bulk < ARGUMENTS_MAX);
    f->arguments[piece->bulk] = bytes_of(piece->ptr, piece->len);
    f->argument_count = piece->bulk + 1;
}

/* A request is an array of bulk strings, and so is a reply: one parser reads both. */
static void parse_request(struct fixture *f, size_t len)
{
    struct bench_reply reply;
    size_t used;

    assert_true(len <= f->plan.request_bytes_max);
    bench_reply_init(&reply, on_argument, f);
    expect_i64(bench_reply_feed(&reply, f->out, len, &used), BENCH_REPLY_DONE);
    expect_u64(used, len);
    expect_u64(reply.info.type, '*');
    expect_u64((uint64_t)reply.info.number, f->argument_count);
}

static void fixture_start(struct fixture *f, const char *mix)
{
    struct rng rng;

    seed_rng(&rng, 1);
    memset(f, 0, sizeof(*f));
    bench_options_default(&f->options);
    f->options.seed = rng_u64(&rng);
    f->options.verify = true;
    f->options.keys = 5000;
    f->options.fields = 300;
    f->options.multi = 7;
    f->options.threads = 3;
    assert_int_equal(bench_size_parse("12:1,40-200:1,3000:1", &f->options.value_size), 0);
    assert_int_equal(bench_mix_parse(mix, &f->options.mix), 0);
    assert_null(bench_options_check(&f->options));
    bench_plan_init(&f->plan, &f->options);
    bench_gen_init(&f->gen, &f->plan, 0, NULL);
    f->out = mem_alloc(f->plan.request_bytes_max);
}

static void fixture_stop(struct fixture *f)
{
    mem_free(f->out);
    bench_plan_deinit(&f->plan);
}

static void build(struct fixture *f, enum bench_op op, uint64_t *owners)
{
    parse_request(f, bench_gen_build(&f->gen, op, f->out, owners));
    expect_bytes(f->arguments[0], bytes_cstr(bench_op_info(op)->verb));
}

static uint64_t expected_arguments(const char *args)
{
    uint64_t count = 1;

    for (; *args != '\0'; args++)
        count += *args == 'K' ? 7 : *args == 'P' ? 14 : *args == 'r' ? 2 : 1;
    return count;
}

static void every_operation_is_well_formed(void **state UNUSED)
{
    struct fixture f;
    struct buf all;

    buf_init(&all, 4096);
    for (size_t i = 0; i < BENCH_OP_PRELOAD; i++)
        assert_int_equal(
            buf_printf(&all, "%s%s", i == 0 ? "" : ",", bench_op_info((enum bench_op)i)->name), 0);
    assert_int_equal(buf_append_u8(&all, 0), 0);
    fixture_start(&f, (const char *)all.ptr);
    for (size_t i = 0; i < BENCH_OP_PRELOAD; i++) {
        const struct bench_op_info *info = bench_op_info((enum bench_op)i);
        for (int round = 0; round < 20; round++) {
            build(&f, (enum bench_op)i, NULL);
            expect_u64(f.argument_count, expected_arguments(info->args));
            if (info->args[0] != '\0')
                expect_u64(f.arguments[1].len, 16);
        }
    }
    fixture_stop(&f);
    buf_deinit(&all);
}

static void values_belong_to_their_keys_and_fields(void **state UNUSED)
{
    struct fixture f;

    fixture_start(&f, "set,mset,hset,rpush");
    for (int round = 0; round < 100; round++) {
        build(&f, BENCH_OP_SET, NULL);
        const uint64_t owner = bench_value_owner(f.arguments[1]);
        assert_true(bench_value_check(f.arguments[2], owner));
        assert_false(bench_value_check(f.arguments[2], owner + 1));
        build(&f, BENCH_OP_MSET, NULL);
        for (size_t i = 0; i < 7; i++)
            assert_true(bench_value_check(f.arguments[2 + 2 * i],
                                          bench_value_owner(f.arguments[1 + 2 * i])));
        build(&f, BENCH_OP_HSET, NULL);
        const uint64_t hash_owner = bench_value_owner(f.arguments[1]);
        assert_true(
            bench_value_check(f.arguments[3], bench_value_owner_field(hash_owner, f.arguments[2])));
    }
    fixture_stop(&f);
}

static void reads_name_the_owners_of_what_they_will_get(void **state UNUSED)
{
    struct fixture f;
    uint64_t owners[7];

    fixture_start(&f, "get,mget,hget,hgetall");
    build(&f, BENCH_OP_GET, owners);
    expect_u64(owners[0], bench_value_owner(f.arguments[1]));
    build(&f, BENCH_OP_MGET, owners);
    for (size_t i = 0; i < 7; i++)
        expect_u64(owners[i], bench_value_owner(f.arguments[1 + i]));
    build(&f, BENCH_OP_HGET, owners);
    expect_u64(owners[0],
               bench_value_owner_field(bench_value_owner(f.arguments[1]), f.arguments[2]));
    build(&f, BENCH_OP_HGETALL, owners);
    expect_u64(owners[0], bench_value_owner(f.arguments[1]));
    fixture_stop(&f);
}

static void a_damaged_value_is_noticed(void **state UNUSED)
{
    struct fixture f;

    fixture_start(&f, "set");
    build(&f, BENCH_OP_SET, NULL);
    const uint64_t owner = bench_value_owner(f.arguments[1]);
    const struct bytes value = f.arguments[2];
    uint8_t *bytes = f.out + (value.ptr - f.out);
    assert_true(bench_value_check(value, owner));
    for (size_t i = 0; i < value.len; i++) {
        bytes[i] ^= 1;
        assert_false(bench_value_check(value, owner));
        bytes[i] ^= 1;
    }
    for (size_t len = 0; len < value.len; len++)
        assert_false(bench_value_check(bytes_of(value.ptr, len), owner));
    fixture_stop(&f);
}

static void generic_commands_go_to_the_family_that_was_named(void **state UNUSED)
{
    struct fixture f;

    fixture_start(&f, "get");
    fixture_stop(&f);
    f.options.generic_family = BENCH_FAMILY_HASH;
    assert_int_equal(bench_mix_parse("del", &f.options.mix), 0);
    bench_plan_init(&f.plan, &f.options);
    f.out = mem_alloc(f.plan.request_bytes_max);
    build(&f, BENCH_OP_DEL, NULL);
    expect_bytes(bytes_of(f.arguments[1].ptr, 6), BYTES_LIT("key:h0"));
    fixture_stop(&f);
}

/* Runs the preload streams of all three workers. */
static void run_load(struct fixture *f, const char *verb, uint64_t per_element, uint8_t *loaded)
{
    uint64_t commands = 0;
    size_t len;

    for (uint32_t worker = 0; worker < f->options.threads; worker++) {
        struct bench_load load;
        bench_load_init(&load, &f->plan, worker);
        while ((len = bench_load_next(&load, &f->gen, f->out)) > 0) {
            parse_request(f, len);
            expect_bytes(f->arguments[0], bytes_cstr(verb));
            const uint64_t elements = (f->argument_count - 2) / per_element;
            /* The first digit, or the letter before it, is of no weight. */
            const uint64_t key = strtoul((const char *)f->arguments[1].ptr + 5, NULL, 10);
            loaded[key] = (uint8_t)(loaded[key] + elements);
            commands++;
        }
    }
    expect_u64(commands, bench_load_total(&f->plan));
}

static void the_preload_writes_every_element_once(void **state UNUSED)
{
    static const struct {
        const char *mix;
        const char *verb;
        uint64_t per_element;
        uint64_t elements;
    } cases[] = {
        {"get,mset", "SET", 1, 1},  {"incr", "SET", 1, 1},   {"hget", "HSET", 2, 44},
        {"hincrby", "HSET", 2, 44}, {"spop", "SADD", 1, 44}, {"zscore", "ZADD", 2, 44},
        {"lrange", "RPUSH", 1, 44},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint8_t loaded[100] = {0};
        struct fixture f;
        fixture_start(&f, cases[i].mix);
        f.options.keys = ARRAY_COUNT(loaded);
        f.options.fields = 44;
        run_load(&f, cases[i].verb, cases[i].per_element, loaded);
        for (size_t key = 0; key < ARRAY_COUNT(loaded); key++)
            expect_u64(loaded[key], cases[i].elements);
        fixture_stop(&f);
    }
}

static void weights_decide_how_often_an_operation_comes(void **state UNUSED)
{
    struct fixture f;
    int sets = 0;

    fixture_start(&f, "get=90,set=10");
    for (int i = 0; i < 100000; i++)
        sets += bench_gen_op(&f.gen) == BENCH_OP_SET;
    assert_in_range(sets, 9200, 10800);
    expect_u64(bench_mix_weight(&f.options.mix, 0), 90);
    expect_u64(bench_mix_weight(&f.options.mix, 1), 10);
    fixture_stop(&f);
}

static void the_notations_refuse_nonsense(void **state UNUSED)
{
    struct bench_size size;
    struct bench_mix mix;

    expect_i64(bench_size_parse("", &size), -ERR_SYNTAX);
    expect_i64(bench_size_parse("10-", &size), -ERR_SYNTAX);
    expect_i64(bench_size_parse("20-10", &size), -ERR_RANGE);
    expect_i64(bench_size_parse("10:0", &size), -ERR_RANGE);
    expect_i64(bench_size_parse("99999999999", &size), -ERR_RANGE);
    expect_i64(bench_size_parse("1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", &size), -ERR_LIMIT);
    expect_i64(bench_mix_parse("", &mix), -ERR_NOT_FOUND);
    expect_i64(bench_mix_parse("get,get", &mix), -ERR_EXISTS);
    expect_i64(bench_mix_parse("get=0", &mix), -ERR_RANGE);
    expect_i64(bench_mix_parse("get=x", &mix), -ERR_SYNTAX);
    expect_i64(bench_mix_parse("preload", &mix), -ERR_NOT_FOUND);
}

static void sizes_stay_in_their_ranges_and_mix_by_weight(void **state UNUSED)
{
    struct bench_size size;
    struct rng rng;
    double sum = 0.0;

    seed_rng(&rng, 2);
    assert_int_equal(bench_size_parse("100:3,200-400:1", &size), 0);
    for (int i = 0; i < 100000; i++) {
        const uint32_t bytes = bench_size_next(&size, &rng);
        assert_true(bytes == 100 || (bytes >= 200 && bytes <= 400));
        sum += bytes;
    }
    expect_u64((uint64_t)bench_size_mean(&size), 150);
    assert_in_range((uint64_t)(sum / 100000.0), 147, 153);
    expect_u64(bench_size_min(&size), 100);
    expect_u64(bench_size_max(&size), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_is_well_formed),
        cmocka_unit_test(values_belong_to_their_keys_and_fields),
        cmocka_unit_test(reads_name_the_owners_of_what_they_will_get),
        cmocka_unit_test(a_damaged_value_is_noticed),
        cmocka_unit_test(generic_commands_go_to_the_family_that_was_named),
        cmocka_unit_test(the_preload_writes_every_element_once),
        cmocka_unit_test(weights_decide_how_often_an_operation_comes),
        cmocka_unit_test(the_notations_refuse_nonsense),
        cmocka_unit_test(sizes_stay_in_their_ranges_and_mix_by_weight),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
