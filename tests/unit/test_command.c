/*
 * The command table with all families, without handlers.
 */
#include <ctype.h>
#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/num.h"

#include "server/command.h"
#include "server/command_docs.h"
#include "server/reply.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define WORDS_MAX 16

struct fixture {
    struct command_table *table;
    struct bytes argv[WORDS_MAX];
    uint32_t argc;
};

static int setup(void **state)
{
    static struct fixture f;

    f.table = command_table_create();
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    command_table_destroy(f->table);
    return 0;
}

/* The words of a call, separated by one blank, as its arguments. */
static const struct cmd *call(struct fixture *f, const char *text)
{
    struct bytes rest = bytes_cstr(text);

    f->argc = 0;
    while (rest.len != 0) {
        const size_t len = bytes_find_u8(rest, ' ');
        assert_true(f->argc < WORDS_MAX);
        f->argv[f->argc++] = bytes_of(rest.ptr, len);
        rest = bytes_from(rest, size_min(len + 1, rest.len));
    }
    return command_resolve(f->table, f->argc, f->argv, NULL);
}

static void every_command_is_found_by_its_name_in_any_case(void **state)
{
    struct fixture *f = *state;
    struct rng rng;

    seed_rng(&rng, 1);
    expect_u64(command_count(f->table), CMD_IDS_COUNT);
    for (uint32_t i = 0; i < command_count(f->table); i++) {
        const struct cmd *cmd = command_at(f->table, i);
        char name[64];
        const size_t len = strlen(cmd->name);

        assert_true(len < sizeof(name));
        for (int round = 0; round < 20; round++) {
            for (size_t k = 0; k <= len; k++) {
                const int c = (uint8_t)cmd->name[k];
                name[k] = (char)(rng_below(&rng, 2) == 0 ? toupper(c) : c);
            }
            assert_ptr_equal(command_lookup_full(f->table, bytes_cstr(name)), cmd);
        }
        assert_ptr_equal(command_lookup_full(f->table, bytes_cstr(cmd->name)), cmd);
    }
    expect_str(command_at(f->table, CMD_ID_config_get)->name, "config|get");
}

static void other_names_are_not_found(void **state)
{
    static const char letters[] = "gGeEtTsS|\0@[`{ \xc7\xe7";
    struct fixture *f = *state;
    struct rng rng;

    seed_rng(&rng, 2);
    assert_null(command_lookup(f->table, BYTES_LIT("")));
    assert_null(command_lookup(f->table, BYTES_LIT("config|get")));
    assert_null(command_lookup(f->table, BYTES_LIT("zrangebyscorezrangebyscorezrangebyscore")));
    assert_null(command_lookup_full(f->table, BYTES_LIT("get|key")));
    assert_null(command_lookup_full(f->table, BYTES_LIT("config|get|key")));
    assert_null(command_lookup_full(f->table, BYTES_LIT("|")));
    for (int i = 0; i < 200000; i++) {
        char name[9];
        const size_t len = rng_below(&rng, sizeof(name));
        for (size_t k = 0; k < len; k++)
            name[k] = letters[rng_below(&rng, sizeof(letters) - 1)];
        const struct cmd *cmd = command_lookup(f->table, bytes_of(name, len));
        if (cmd != NULL)
            assert_true(bytes_eq_nocase(bytes_of(name, len), cmd->name));
    }
}

static void subcommands_are_resolved_through_their_container(void **state)
{
    struct fixture *f = *state;
    bool container = false;

    assert_ptr_equal(call(f, "config get x"), command_at(f->table, CMD_ID_config_get));
    assert_ptr_equal(call(f, "CONFIG"), command_at(f->table, CMD_ID_config));
    assert_ptr_equal(call(f, "command"), command_at(f->table, CMD_ID_command));
    assert_null(call(f, "config nosuch"));
    assert_null(command_resolve(f->table, f->argc, f->argv, &container));
    assert_true(container);
    assert_null(call(f, "nosuch get"));
    assert_null(command_resolve(f->table, f->argc, f->argv, &container));
    assert_false(container);
    const struct cmd *load = call(f, "script load x");
    assert_false(command_is_here(load));
    assert_ptr_equal(load, command_at(f->table, CMD_ID_script_load));
    assert_ptr_equal(call(f, "get config"), command_at(f->table, CMD_ID_get));
}

static void arity_counts_the_name(void **state)
{
    struct fixture *f = *state;
    const struct cmd *get = command_at(f->table, CMD_ID_get);
    const struct cmd *mget = command_at(f->table, CMD_ID_mget);

    assert_true(command_arity_ok(get, 2));
    assert_false(command_arity_ok(get, 1));
    assert_false(command_arity_ok(get, 3));
    assert_true(command_arity_ok(mget, 2));
    assert_true(command_arity_ok(mget, 100));
    assert_false(command_arity_ok(mget, 1));
}

/* "<index>:<flags of the spec> ..." of the keys of a call, or "error". */
static void keys_as_text(struct fixture *f, const char *text, char out[256])
{
    const struct cmd *cmd = call(f, text);
    struct cmd_keys keys;
    size_t len = 0;

    assert_non_null(cmd);
    cmd_keys_init(&keys);
    out[0] = '\0';
    const int err = command_keys(cmd, f->argc, f->argv, &keys);
    if (err != 0) {
        expect_i64(err, -ERR_SYNTAX);
        expect_u64(keys.count, 0);
        memcpy(out, "error", sizeof("error"));
    }
    for (uint32_t i = 0; i < keys.count; i++) {
        const struct cmd_key *key = &keys.key[i];
        const char *flags = (key->flags & KEY_RO) != 0   ? "r"
                            : (key->flags & KEY_RW) != 0 ? "rw"
                                                         : "w";
        len += (size_t)snprintf(out + len, 256 - len, "%s%u%s", i == 0 ? "" : " ", key->pos, flags);
    }
    cmd_keys_deinit(&keys);
}

static void keys_are_found_where_redis_finds_them(void **state)
{
    static const struct {
        const char *call;
        const char *keys;
    } cases[] = {
        {"get k", "1r"},
        {"set k v", "1w"},
        {"set k v nx get", "1rw"},
        {"mset a 1 b 2 c 3", "1w 3w 5w"},
        {"mset a 1 b", "1w 3w"},
        {"del a b c", "1w 2w 3w"},
        {"rename a b", "1rw 2w"},
        {"lmove a b left right", "1rw 2rw"},
        {"zunionstore t 2 a b weights 1 2", "1w 3r 4r"},
        {"zunionstore t 3 a b", "error"},
        {"zunionstore t 0 a b", "error"},
        {"zunionstore t -1 a b", "error"},
        {"zunionstore t x a b", "error"},
        {"zunionstore t 9223372036854775807 a b", "error"},
        {"zinter 2 a b", "2r 3r"},
        {"zmpop 1 a min", "2rw"},
        {"pfmerge a", "1rw"},
        {"pfmerge a b c", "1rw 2r 3r"},
        {"georadius k 1 2 3 m store a STOREDIST b store c", "1r 11w 9w"},
        {"georadius k 1 2 3 m store STORE", "1r 7w"},
        {"georadius k 1 2 3 m store storedist STOREDIST a", "1r 7w 9w"},
        {"georadius k 1 2 3 m store", "1r"},
        {"bitfield k get u4 0 get u4 1", "1r"},
        {"bitfield k get u4 0 set u4 0 1", "1rw"},
        {"bitfield k get u4", "1rw"},
        {"migrate h p k 0 5", "3rw"},
        {"migrate h p k 0 5 copy replace auth keys", "3rw"},
        {"migrate h p  0 5 KEYS a b c", "7rw 8rw 9rw"},
        {"migrate h p  0 5 copy auth keys keys a", "10rw"},
        {"migrate h p  0 5 AUTH2 user keys keys a b", "10rw 11rw"},
        {"migrate h p k 0 5 keys a b", ""},
        {"migrate h p  0 5 keys", "3rw"},
        {"memory usage k", "2r"},
        {"object encoding k", "2r"},
        {"ping", ""},
        {"keys *", ""},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char keys[256];
        keys_as_text(*state, cases[i].call, keys);
        if (strcmp(cases[i].keys, keys) != 0)
            fail_msg("%s: got '%s', want '%s'", cases[i].call, keys, cases[i].keys);
    }
}

static void many_keys_of_a_call_are_all_found(void **state)
{
    enum {
        COUNT = 10000
    };
    static struct bytes argv[COUNT + 1];
    struct fixture *f = *state;
    struct cmd_keys keys;

    argv[0] = BYTES_LIT("del");
    for (size_t i = 1; i <= COUNT; i++)
        argv[i] = BYTES_LIT("k");
    cmd_keys_init(&keys);
    assert_int_equal(command_keys(command_at(f->table, CMD_ID_del), COUNT + 1, argv, &keys), 0);
    expect_u64(keys.count, COUNT);
    expect_u64(keys.key[COUNT - 1].pos, COUNT);
    cmd_keys_deinit(&keys);
}

static void needs_follow_from_the_arguments(void **state)
{
    static const struct {
        const char *call;
        enum cmd_need_kind kind;
        uint32_t first;
        uint32_t end;
        uint32_t step;
    } cases[] = {
        {"set k v", NEED_BLIND, 0, 0, 1},           {"set k v ex 10", NEED_BLIND, 0, 0, 1},
        {"set k v NX", NEED_NOTHING, 0, 0, 1},      {"set k v ex 10 xx", NEED_NOTHING, 0, 0, 1},
        {"set k v KeepTTL", NEED_KEY, 0, 0, 1},     {"set k v nx get", NEED_WHOLE, 0, 0, 1},
        {"hget h f", NEED_SUBKEYS, 2, 3, 1},        {"hset h f v g w", NEED_SUBKEYS, 2, 6, 2},
        {"hmget h a b c", NEED_SUBKEYS, 2, 5, 1},   {"zincrby z 1 m", NEED_SUBKEYS, 3, 4, 1},
        {"zadd z 1 m 2 n", NEED_SUBKEYS, 3, 6, 2},  {"zadd z xx GT ch 1 m", NEED_SUBKEYS, 6, 7, 2},
        {"zadd z incr 1 m", NEED_SUBKEYS, 4, 5, 2}, {"zrank z m", NEED_RANK, 2, 3, 1},
        {"lpush l a", NEED_KEY, 0, 0, 1},           {"lpop l", NEED_ENDS, 0, 0, 1},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct cmd *cmd = call(f, cases[i].call);
        assert_non_null(cmd);
        const struct cmd_need need = command_need(cmd, 0, f->argc, f->argv);
        if (need.kind != cases[i].kind || need.first != cases[i].first ||
            need.end != cases[i].end || need.step != cases[i].step)
            fail_msg("%s: kind %d first %u end %u step %u", cases[i].call, (int)need.kind,
                     need.first, need.end, need.step);
    }
}

static void entries_are_consistent(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < command_count(f->table); i++) {
        const struct cmd *cmd = command_at(f->table, i);

        assert_int_not_equal(cmd->arity, 0);
        assert_non_null(cmd->doc->summary);
        assert_non_null(cmd->doc->since);
        /* A command reads or writes or neither, and has keys or no class that needs them. */
        assert_false((cmd->flags & CMD_WRITE) != 0 && (cmd->flags & CMD_READONLY) != 0);
        assert_true(command_is_here(cmd) || cmd->fn == NULL);
        if (cmd->class == CMD_CLASS_POINT)
            assert_true(cmd->key_specs_count > 0);
        /* A shard channel stands where keys do, and is none. */
        const bool no_key = cmd->key_specs_count != 0 && (cmd->key_specs->flags & KEY_NOT_KEY) != 0;
        if (cmd->class == CMD_CLASS_NONE)
            assert_true(cmd->key_specs_count == 0 || no_key);
        assert_int_equal((cmd->acl & ACL_FAST) == 0, (cmd->acl & ACL_SLOW) != 0);
        for (uint8_t k = 0; k < cmd->key_specs_count && !no_key; k++) {
            const struct cmd_key_spec *spec = &cmd->key_specs[k];
            const uint32_t access = spec->flags & (KEY_RO | KEY_RW | KEY_OW | KEY_RM);

            assert_true(spec->step >= 1);
            /* Exactly one way of access, and no writing by a command that only reads. */
            assert_int_equal(__builtin_popcount(access), 1);
            /* Redis's PFCOUNT keeps its result in the value. */
            if ((cmd->flags & CMD_WRITE) == 0 && command_is_here(cmd) &&
                strcmp(cmd->name, "watch") != 0 && strcmp(cmd->name, "pfcount") != 0)
                expect_u64(access, KEY_RO);
            /* The first key is within the least number of arguments; a last range may be empty. */
            const bool may_miss = k > 0 && spec->find == KEY_FIND_RANGE && spec->last < 0;
            if (spec->begin == KEY_BEGIN_INDEX)
                assert_true(spec->index - may_miss < (cmd->arity < 0 ? -cmd->arity : cmd->arity));
            if (spec->need == NEED_SUBKEYS || spec->need == NEED_RANK)
                assert_true(spec->sub_step >= 1 && spec->sub_first > spec->index);
        }
    }
}

/* Checks that there is exactly one well-formed element at the start; returns what is behind it. */
/* NOLINTNEXTLINE(misc-no-recursion): replies of our own, a few levels deep. */
static struct bytes skip_element(struct bytes in)
{
    struct bytes line;
    struct bytes body;
    int64_t n = 0;

    assert_true(bytes_take(&in, bytes_find_u8(in, '\r'), &line));
    assert_true(bytes_take(&in, 2, &body));
    switch (line.ptr[0]) {
    case '+':
    case ':':
        return in;
    case '$':
        assert_true(num_parse_i64(bytes_from(line, 1), &n));
        assert_true(bytes_take(&in, (size_t)n + 2, &body));
        return in;
    case '*':
    case '~':
    case '%':
        assert_true(num_parse_i64(bytes_from(line, 1), &n));
        for (int64_t i = 0; i < n * (line.ptr[0] == '%' ? 2 : 1); i++)
            in = skip_element(in);
        return in;
    default:
        fail_msg("element '%c'", line.ptr[0]);
        return in;
    }
}

static void documentation_of_all_commands_is_well_formed(void **state)
{
    struct fixture *f = *state;

    for (uint8_t proto = 2; proto <= 3; proto++) {
        struct reply r;

        reply_init(&r, 1u << 24, NULL);
        r.proto = proto;
        call(f, "command docs");
        command_reply_docs(&r, f->table, f->argc, f->argv);
        expect_u64(skip_element(buf_bytes(&r.out)).len, 0);
        buf_clear(&r.out);
        call(f, "command");
        command_reply_info(&r, f->table, f->argc, f->argv);
        expect_u64(skip_element(buf_bytes(&r.out)).len, 0);
        buf_clear(&r.out);
        call(f, "command list filterby aclcat hash");
        command_reply_list(&r, f->table, f->argc, f->argv);
        expect_u64(skip_element(buf_bytes(&r.out)).len, 0);
        buf_clear(&r.out);
        command_reply_help(&r);
        expect_u64(skip_element(buf_bytes(&r.out)).len, 0);
        assert_false(r.failed);
        reply_deinit(&r);
    }
}

static void info_and_docs_have_the_shapes_of_redis(void **state)
{
    struct fixture *f = *state;
    struct reply r;

    reply_init(&r, 1u << 20, NULL);
    call(f, "command info get nosuch");
    command_reply_info(&r, f->table, f->argc, f->argv);
    expect_bytes(
        buf_bytes(&r.out),
        BYTES_LIT("*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n"
                  ":1\r\n*3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n*1\r\n*6\r\n"
                  "$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n$12\r\nbegin_search\r\n*4\r\n"
                  "$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n"
                  "$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n"
                  "*6\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n"
                  ":0\r\n*0\r\n$-1\r\n"));
    buf_clear(&r.out);
    r.proto = 3;
    call(f, "command docs getset");
    command_reply_docs(&r, f->table, f->argc, f->argv);
    expect_bytes(
        buf_bytes(&r.out),
        BYTES_LIT("%1\r\n$6\r\ngetset\r\n%8\r\n$7\r\nsummary\r\n$54\r\nSet the string value "
                  "of a key and return its old value\r\n$5\r\nsince\r\n$5\r\n1.0.0\r\n"
                  "$5\r\ngroup\r\n$6\r\nstring\r\n$10\r\ncomplexity\r\n$4\r\nO(1)\r\n"
                  "$9\r\ndoc_flags\r\n~1\r\n+deprecated\r\n$16\r\ndeprecated_since\r\n"
                  "$5\r\n6.2.0\r\n$11\r\nreplaced_by\r\n$30\r\n`SET` with the `!GET` "
                  "argument\r\n$9\r\narguments\r\n*2\r\n%3\r\n$4\r\nname\r\n$3\r\nkey\r\n"
                  "$4\r\ntype\r\n$3\r\nkey\r\n$14\r\nkey_spec_index\r\n:0\r\n%2\r\n"
                  "$4\r\nname\r\n$5\r\nvalue\r\n$4\r\ntype\r\n$6\r\nstring\r\n"));
    reply_deinit(&r);
}

static void keys_of_a_call_can_be_asked_for(void **state)
{
    static const struct {
        const char *call;
        struct bytes reply;
    } cases[] = {
        {"command getkeysandflags lmove a b left right",
         BYTES_INIT("*2\r\n*2\r\n$1\r\na\r\n*3\r\n+RW\r\n+access\r\n+delete\r\n"
                    "*2\r\n$1\r\nb\r\n*2\r\n+RW\r\n+insert\r\n")},
        {"command getkeysandflags set a b",
         BYTES_INIT("*1\r\n*2\r\n$1\r\na\r\n*2\r\n+OW\r\n+update\r\n")},
        /* One that is not here. */
        {"command getkeysandflags xread count 2 streams a b 0 0",
         BYTES_INIT("*2\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n"
                    "*2\r\n$1\r\nb\r\n*2\r\n+RO\r\n+access\r\n")},
        {"command getkeysandflags nosuch a", BYTES_INIT("-ERR Invalid command specified\r\n")},
        {"command getkeysandflags ping a", BYTES_INIT("-ERR The command has no key arguments\r\n")},
        {"command getkeysandflags get a b",
         BYTES_INIT("-ERR Invalid number of arguments specified for command\r\n")},
        {"command getkeysandflags zunion 3 a b",
         BYTES_INIT("-ERR Invalid arguments specified for command\r\n")},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct reply r;

        reply_init(&r, 1u << 20, NULL);
        call(f, cases[i].call);
        command_reply_getkeys(&r, f->table, f->argc, f->argv, true);
        expect_bytes(buf_bytes(&r.out), cases[i].reply);
        reply_deinit(&r);
    }
}

static void acl_categories_have_names(void **state UNUSED)
{
    expect_u64(command_acl_category(BYTES_LIT("SortedSet")), ACL_SORTEDSET);
    expect_u64(command_acl_category(BYTES_LIT("nosuch")), 0);
    expect_str(command_acl_category_name(ACL_SCRIPTING_BIT), "scripting");
    expect_u64(ACL_CATEGORIES_COUNT, 21);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_found_by_its_name_in_any_case),
        cmocka_unit_test(other_names_are_not_found),
        cmocka_unit_test(subcommands_are_resolved_through_their_container),
        cmocka_unit_test(arity_counts_the_name),
        cmocka_unit_test(keys_are_found_where_redis_finds_them),
        cmocka_unit_test(many_keys_of_a_call_are_all_found),
        cmocka_unit_test(needs_follow_from_the_arguments),
        cmocka_unit_test(entries_are_consistent),
        cmocka_unit_test(documentation_of_all_commands_is_well_formed),
        cmocka_unit_test(info_and_docs_have_the_shapes_of_redis),
        cmocka_unit_test(keys_of_a_call_can_be_asked_for),
        cmocka_unit_test(acl_categories_have_names),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
