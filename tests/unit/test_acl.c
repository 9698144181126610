/*
 * Users: rules, what they allow, how they are written down, and files of them.
 */
#include <stdio.h>

#include "engine/base/err.h"

#include "server/acl_check.h"
#include "server/acl_text.h"
#include "server/acl_users.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define WORDS_MAX 512

struct fixture {
    struct command_table *commands;
    struct acl_env env;
    struct acl_user *user;
    struct cmd_keys keys;
    struct bytes words[WORDS_MAX];
    uint32_t count;
    enum acl_fault fault; /* Of the last wrong rule. */
    char text[4096];
};

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){.commands = command_table_create()};
    f.env.commands = f.commands;
    cmd_keys_init(&f.keys);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    acl_user_unref(f->user);
    cmd_keys_deinit(&f->keys);
    command_table_destroy(f->commands);
    return 0;
}

static void split(struct fixture *f, const char *text)
{
    struct bytes rest = bytes_cstr(text);

    f->count = 0;
    while (rest.len != 0) {
        const size_t len = bytes_find_u8(rest, ' ');
        assert_true(f->count < WORDS_MAX);
        f->words[f->count++] = bytes_of(rest.ptr, len);
        rest = bytes_from(rest, size_min(len + 1, rest.len));
    }
}

static void on_bad(void *ctx, struct bytes rule, enum acl_fault fault)
{
    struct fixture *f = ctx;

    (void)rule;
    f->fault = fault;
}

/* From the `from`th word on. */
static bool apply(struct fixture *f, struct acl_user *u, uint32_t from, uint32_t *open)
{
    const struct acl_rules rules = {
        .words = f->words + from, .count = f->count - from, .bad = on_bad, .ctx = f};

    return acl_user_rules(u, &f->env, &rules, open);
}

/* The user "u" with these rules takes the place of the one before. */
static void make(struct fixture *f, const char *rules)
{
    uint32_t open;

    acl_user_unref(f->user);
    f->user = acl_user_create(&f->env, BYTES_LIT("u"), 1);
    f->fault = ACL_FAULT_NONE;
    split(f, rules);
    assert_true(apply(f, f->user, 0, &open));
}

static const char *fault_of(struct fixture *f, const char *rules)
{
    make(f, rules);
    return acl_fault_text(f->fault);
}

/* What a call is told: "ok", or what is denied. */
static const char *verdict(struct fixture *f, const char *call)
{
    split(f, call);
    const struct cmd *cmd = command_resolve(f->env.commands, f->count, f->words, NULL);
    assert_non_null(cmd);
    assert_true(command_arity_ok(cmd, f->count));
    const struct acl_verdict v = acl_check(f->user, cmd, f->count, f->words, &f->keys);
    switch (v.result) {
    case ACL_OK:
        return "ok";
    case ACL_DENIED_CMD:
        return "command";
    case ACL_DENIED_KEY:
        (void)snprintf(f->text, sizeof(f->text), "key %u", v.arg);
        return f->text;
    case ACL_DENIED_CHANNEL:
        (void)snprintf(f->text, sizeof(f->text), "channel %u", v.arg);
        return f->text;
    }
    return "?";
}

#define EXPECT(f, call, what)                                       \
    do {                                                            \
        const char *told_ = verdict(f, call);                       \
        if (strcmp(told_, what) != 0)                               \
            fail_msg("%s: got '%s', want '%s'", call, told_, what); \
    } while (0)

static const char *as_text(struct fixture *f)
{
    struct buf out;

    buf_init(&out, 65536);
    expect_i64(acl_print_user(f->user, f->env.commands, &out), 0);
    assert_true(out.len < sizeof(f->text));
    memcpy(f->text, out.ptr, out.len);
    f->text[out.len] = '\0';
    buf_deinit(&out);
    return f->text;
}

/* --- tests --- */

static void a_new_user_may_do_nothing(void **state)
{
    struct fixture *f = *state;

    make(f, "");
    EXPECT(f, "get a", "command");
    EXPECT(f, "ping", "command");
    EXPECT(f, "auth x", "ok"); /* But become somebody else. */
    expect_str(as_text(f), "user u off resetchannels -@all");
    assert_false(acl_user_accepts(f->user, BYTES_LIT("")));
}

static void later_rules_win(void **state)
{
    struct fixture *f = *state;

    make(f, "+@all -@string +get ~*");
    EXPECT(f, "get a", "ok");
    EXPECT(f, "set a b", "command");
    EXPECT(f, "hset a b c", "ok");
    make(f, "+get -@all ~*");
    EXPECT(f, "get a", "command");
    make(f, "+@all -get -@read +@read ~*");
    EXPECT(f, "get a", "ok");
}

static void a_container_stands_for_its_subcommands(void **state)
{
    struct fixture *f = *state;

    make(f, "+config -config|set");
    EXPECT(f, "config get a", "ok");
    EXPECT(f, "config set a b", "command");
    make(f, "+@all -config +config|get -replgroup|flush");
    EXPECT(f, "config get a", "ok");
    EXPECT(f, "config rewrite", "command");
    EXPECT(f, "replgroup status", "ok");
    EXPECT(f, "replgroup flush earth", "command");
    expect_str(as_text(f), "user u off resetchannels +@all -config +config|get "
                           "-replgroup|flush");
    make(f, "+config|get +config");
    expect_str(as_text(f), "user u off resetchannels -@all +config");
}

static void a_first_argument_alone_can_be_allowed(void **state)
{
    struct fixture *f = *state;

    make(f, "+select|0 +select|0 +SELECT|1");
    EXPECT(f, "select 0", "ok");
    EXPECT(f, "select 1", "ok");
    EXPECT(f, "select 2", "command");
    expect_str(as_text(f), "user u off resetchannels -@all +select|0 +select|1");
    make(f, "+select|0 -select");
    EXPECT(f, "select 0", "command");
}

static void keys_are_allowed_by_access(void **state)
{
    struct fixture *f = *state;

    make(f, "+@all %R~r* %W~w* ~a*");
    EXPECT(f, "get r", "ok");
    EXPECT(f, "get w", "key 1");
    EXPECT(f, "get x", "key 1");
    EXPECT(f, "lpush w 1", "ok");
    EXPECT(f, "lpush r 1", "key 1");
    EXPECT(f, "copy r w", "ok");
    EXPECT(f, "copy w r", "key 1");
    EXPECT(f, "copy r r", "key 2");
    EXPECT(f, "mget r a x r", "key 3");
    EXPECT(f, "exists r w", "ok");
    EXPECT(f, "strlen w", "ok"); /* Neither reads what is in it nor writes. */
    EXPECT(f, "zunionstore w 2 r a", "ok");
    EXPECT(f, "zunionstore w 2 r w", "key 4");
    EXPECT(f, "zunionstore r 2 r a", "key 1");
}

static void a_command_that_writes_and_reads_needs_both(void **state)
{
    struct fixture *f = *state;

    make(f, "+@all %R~r* %W~w* %R~b* %W~b*");
    EXPECT(f, "set w 1", "ok");
    EXPECT(f, "set w 1 get", "key 1");
    EXPECT(f, "set w 1 ex get", "key 1");
    EXPECT(f, "set r 1 get", "key 1");
    EXPECT(f, "set b 1 get", "ok");
    EXPECT(f, "getset w 1", "key 1");
    EXPECT(f, "getdel w", "key 1");
    EXPECT(f, "getdel b", "ok");
    EXPECT(f, "bitfield r get u4 0", "ok");
    EXPECT(f, "bitfield r get u4 0 set u4 0 1", "key 1");
    EXPECT(f, "bitfield r get u4", "key 1");
    EXPECT(f, "bitfield w get u4 0", "key 1");
    EXPECT(f, "bitfield w set u4 0 1", "key 1");
    EXPECT(f, "incr w", "key 1");
    EXPECT(f, "lpop r", "key 1");
    expect_str(as_text(f), "user u off %R~r* %W~w* ~b* resetchannels +@all");
}

/* The value of an option may be spelled like the option. */
static void no_spelling_hides_a_key(void **state)
{
    struct fixture *f = *state;

    make(f, "+@all ~ok ~STORE ~STOREDIST ~store ~storedist");
    EXPECT(f, "georadius ok 1 2 3 m store ok", "ok");
    EXPECT(f, "georadius ok 1 2 3 m store no", "key 7");
    EXPECT(f, "georadius ok 1 2 3 m store store", "ok");
    EXPECT(f, "georadius no 1 2 3 m store store", "key 1");
    EXPECT(f, "georadius no 1 2 3 m store", "key 1");
    EXPECT(f, "georadius ok 1 2 3 m store storedist storedist no", "key 9");
    EXPECT(f, "georadius ok 1 2 3 m storedist store store no", "key 9");
    EXPECT(f, "georadius ok 1 2 3 m store no store ok", "ok"); /* The last counts. */
    EXPECT(f, "georadiusbymember ok m 3 m store no", "key 6");
    EXPECT(f, "lmpop 2 ok no left", "key 3");
    EXPECT(f, "bzmpop 0 2 ok no max", "key 4");
}

static void one_selector_must_allow_it_all(void **state)
{
    struct fixture *f = *state;

    make(f, "(%R~read* +@all) (%W~write* +@all)");
    EXPECT(f, "get read1", "ok");
    EXPECT(f, "lpush write1 a", "ok");
    EXPECT(f, "copy read1 write1", "key 2"); /* The furthest that any of them came. */
    make(f, "-@all +set ~a (+@all ~b) ( +get ~c )");
    EXPECT(f, "set a 1", "ok");
    EXPECT(f, "get a", "key 1");
    EXPECT(f, "get b", "ok");
    EXPECT(f, "get c", "ok");
    EXPECT(f, "set c 1", "key 1");
    expect_str(as_text(f), "user u off ~a resetchannels -@all +set (~b "
                           "resetchannels +@all) (~c resetchannels -@all +get)");
    make(f, "(+@all ~*) clearselectors");
    EXPECT(f, "get a", "command");
}

/* A denial in one selector takes nothing from another, and one behind it nothing from the user. */
static void a_denial_stays_in_its_selector(void **state)
{
    struct fixture *f = *state;

    make(f, "+@all ~* (-@all -get)");
    EXPECT(f, "get a", "ok");
    make(f, "+get ~a (+@all -get ~*)");
    EXPECT(f, "get a", "ok");
    EXPECT(f, "get b", "key 1");
    EXPECT(f, "set b 1", "ok");
    make(f, "+@all -get ~* (+set ~*)");
    EXPECT(f, "get a", "command");
    make(f, "(+@all ~*) -@all");
    EXPECT(f, "get a", "ok");
}

static void channels_are_allowed_by_pattern(void **state)
{
    struct fixture *f = *state;

    make(f, "+@pubsub &news &log:*");
    EXPECT(f, "publish news x", "ok");
    EXPECT(f, "publish other x", "channel 1");
    EXPECT(f, "spublish log:1 x", "ok");
    EXPECT(f, "subscribe news log:1 other", "channel 3");
    EXPECT(f, "ssubscribe other", "channel 1");
    EXPECT(f, "psubscribe log:*", "ok");
    EXPECT(f, "psubscribe log:1", "channel 1"); /* A pattern must be one of the user's. */
    EXPECT(f, "psubscribe *", "channel 1");
    EXPECT(f, "unsubscribe other", "ok");
    make(f, "+@all allchannels");
    EXPECT(f, "psubscribe *", "ok");
}

static void faults_have_the_texts_of_redis(void **state)
{
    static const struct {
        const char *rule;
        const char *text;
    } cases[] = {
        {"nonsense", "Syntax error"},
        {"+nosuch", "Unknown command or category name in ACL"},
        {"-nosuch", "Unknown command or category name in ACL"},
        {"+@nosuch", "Unknown command or category name in ACL"},
        {"+", "Unknown command or category name in ACL"},
        {"-", "Unknown command or category name in ACL"},
        {"+@", "Unknown command or category name in ACL"},
        {"+config|asdf", "Unknown command or category name in ACL"},
        {"-config|asdf", "Unknown command or category name in ACL"},
        {"-select|0", "Unknown command or category name in ACL"},
        {"+get|a|b", "Unknown command or category name in ACL"},
        {"+|", "Unknown command or category name in ACL"},
        {"+config|get|a", "Allowing first-arg of a subcommand is not supported"},
        {"+select|", "Syntax error"},
        {"+config|", "Syntax error"},
        {"%", "Syntax error"},
        {"%~", "Syntax error"},
        {"%RR~a", "Syntax error"},
        {"%X~a", "Syntax error"},
        {"~a\tb", "Syntax error"},
        {"&a\tb", "Syntax error"},
        {")", "Syntax error"},
        {"(nonsense)", "Syntax error"},
        {"(on)", "Syntax error"},
        {"(>p)", "Syntax error"},
        {"((+get))", "Syntax error"},
        {"(\"+get)", "Syntax error"},
        /* They could not be written down. */
        {"(~a)\t+get)", "Syntax error"},
        {"(\"~a\\\"b\")", "Syntax error"},
        {"(\"~a'b\")", "Syntax error"},
        {"(+select|0)\t)", "Syntax error"},
        {"(+nosuch)", "Unknown command or category name in ACL"},
        {"#abc", "The password hash must be exactly 64 characters and contain only lowercase "
                 "hexadecimal characters"},
        {"<none", "The password you are trying to remove from the user does not exist"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        expect_str(fault_of(f, cases[i].rule), cases[i].text);
        expect_str(as_text(f), "user u off resetchannels -@all");
    }
    assert_non_null(strstr(fault_of(f, "~* ~a"), "Try 'resetkeys'"));
    assert_non_null(strstr(fault_of(f, "&* &a"), "Try 'resetchannels'"));
    assert_non_null(strstr(fault_of(f, "(&* &a)"), "Try 'resetchannels'"));
}

static void a_selector_may_be_spread_over_words(void **state)
{
    static const char *const open[] = {"(", "(+get", "on ( ~a", "(+get ~a"};
    struct fixture *f = *state;
    uint32_t at;

    make(f, "( +get ~a ) (~b +set) ()");
    expect_u64(f->user->selectors_count, 4);
    for (size_t i = 0; i < ARRAY_COUNT(open); i++) {
        make(f, "");
        split(f, open[i]);
        assert_false(apply(f, f->user, 0, &at));
        expect_u64(f->words[at].ptr[0], '(');
        expect_str(as_text(f), "user u off resetchannels -@all");
    }
}

static void passwords_are_kept_as_hashes(void **state)
{
    struct fixture *f = *state;

    make(f, "on >passwd4 >other");
    assert_true(acl_user_accepts(f->user, BYTES_LIT("passwd4")));
    assert_true(acl_user_accepts(f->user, BYTES_LIT("other")));
    assert_false(acl_user_accepts(f->user, BYTES_LIT("passwd")));
    assert_null(strstr(as_text(f), "passwd4"));
    assert_non_null(
        strstr(as_text(f), "#34344e4d60c2b6d639b7bd22e18f2b0b91bc34bf0ac5f9952744435093cfb4e6"));
    make(f, "on #34344e4d60c2b6d639b7bd22e18f2b0b91bc34bf0ac5f9952744435093cfb4e6 >x <x");
    assert_true(acl_user_accepts(f->user, BYTES_LIT("passwd4")));
    assert_false(acl_user_accepts(f->user, BYTES_LIT("x")));
    make(f, "on >x off");
    assert_false(acl_user_accepts(f->user, BYTES_LIT("x")));
    make(f, "on >x nopass");
    assert_true(acl_user_accepts(f->user, BYTES_LIT("anything")));
    make(f, "on nopass resetpass");
    assert_false(acl_user_accepts(f->user, BYTES_LIT("")));
}

static void reset_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    make(f, "on >x ~* &* +@all (+get ~a) skip-sanitize-payload reset");
    expect_str(as_text(f), "user u off sanitize-payload resetchannels -@all");
    f->env.all_channels = true;
    make(f, "reset ()");
    expect_str(as_text(f), "user u off sanitize-payload &* -@all (&* -@all)");
}

static void only_who_may_do_all_is_unrestricted(void **state)
{
    static const struct {
        const char *rules;
        bool free;
    } cases[] = {
        {"+@all ~* &*", true},   {"+@all ~*", false},         {"+@all &*", false},
        {"~* &*", false},        {"+@all -get ~* &*", false}, {"+@all -get +get ~* &*", true},
        {"(+@all ~* &*)", true}, {"+@all (~* &*)", false},    {"+@all %R~* &*", false},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        make(f, cases[i].rules);
        acl_user_freeze(f->user);
        assert_int_equal(f->user->unrestricted, cases[i].free);
    }
}

/* The categories' description gives exactly the bits back. */
static void what_is_printed_makes_the_same_user(void **state)
{
    static const char *const rules[] = {
        "+@read",
        "-@read",
        "+@write",
        "-@write",
        "+@admin",
        "-@dangerous",
        "+get",
        "-get",
        "+config",
        "-config",
        "+config|get",
        "-acl",
        "+@all",
        "-@all",
        "+@hash",
        "-@fast",
        "+@slow",
        "+select|0",
        "~a*",
        "%R~r*",
        "%W~r*",
        "&c*",
        "allkeys",
        "resetkeys",
        "resetchannels",
        "(+@all -@string ~s)",
        "(+get %R~* &x)",
        "clearselectors",
        "on",
        "nopass",
        ">secret",
        "-@connection",
    };
    struct fixture *f = *state;
    struct rng rng;
    char first[4096];
    uint32_t open;

    seed_rng(&rng, 1);
    for (int round = 0; round < 400; round++) {
        make(f, "");
        for (uint64_t n = rng_below(&rng, 12); n > 0; n--)
            IGNORE_RESULT(acl_user_rule(f->user, &f->env,
                                        bytes_cstr(rules[rng_below(&rng, ARRAY_COUNT(rules))])));
        (void)snprintf(first, sizeof(first), "%s", as_text(f));
        split(f, first);
        struct acl_user *again = acl_user_create(&f->env, BYTES_LIT("u"), 1);
        f->fault = ACL_FAULT_NONE;
        assert_true(apply(f, again, 2, &open));
        expect_i64(f->fault, ACL_FAULT_NONE);
        expect_u64(again->selectors_count, f->user->selectors_count);
        for (uint32_t i = 0; i < again->selectors_count; i++)
            assert_memory_equal(again->selectors[i]->allowed, f->user->selectors[i]->allowed,
                                sizeof(again->selectors[i]->allowed));
        acl_user_unref(f->user);
        f->user = again;
        expect_str(as_text(f), first);
    }
}

/* Users are ruled by names that only Redis can run, too, as those of a file that comes from there.
 */
static void commands_that_are_not_here_have_rules(void **state)
{
    struct fixture *f = *state;

    make(f, "+@all -@stream ~read");
    EXPECT(f, "xadd read * f v", "command");
    EXPECT(f, "eval s 1 read", "ok");
    EXPECT(f, "eval s 1 other", "key 3");
    expect_str(as_text(f), "user u off ~read resetchannels +@all -@stream");
    make(f, "+eval +script|load -migrate ~*");
    EXPECT(f, "eval s 1 a", "ok");
    EXPECT(f, "script load s", "ok");
    EXPECT(f, "script flush", "command");
    expect_str(as_text(f), "user u off ~* resetchannels -@all +eval +script|load");
}

static void each_category_is_told_by_its_name(void **state)
{
    struct fixture *f = *state;
    char rules[64], want[128];

    for (unsigned i = 0; i < ACL_CATEGORIES_COUNT; i++) {
        const char *name = command_acl_category_name(i);
        bool any = false;
        for (uint32_t k = 0; k < command_count(f->env.commands); k++)
            any |= (command_at(f->env.commands, k)->acl & 1u << i) != 0;
        assert_true(any);
        (void)snprintf(rules, sizeof(rules), "+@all -@%s", name);
        make(f, rules);
        (void)snprintf(want, sizeof(want), "user u off resetchannels %s", rules);
        expect_str(as_text(f), want);
        (void)snprintf(rules, sizeof(rules), "-@all +@%s", name);
        make(f, rules);
        (void)snprintf(want, sizeof(want), "user u off resetchannels %s", rules);
        expect_str(as_text(f), want);
    }
}

static void a_copy_is_of_its_own(void **state)
{
    struct fixture *f = *state;

    make(f, "on >x ~a +get +select|0 (+set ~b)");
    struct acl_user *copy = acl_user_copy(f->user);
    expect_i64(acl_user_rule(copy, &f->env, BYTES_LIT("reset")), ACL_FAULT_NONE);
    expect_i64(acl_user_rule(copy, &f->env, BYTES_LIT("clearselectors")), ACL_FAULT_NONE);
    EXPECT(f, "get a", "ok");
    EXPECT(f, "set b 1", "ok");
    acl_user_unref(copy);
}

static void a_user_has_a_bounded_number_of_rules(void **state)
{
    struct fixture *f = *state;
    enum acl_fault fault = ACL_FAULT_NONE;
    char rule[32];
    uint32_t added = 0;

    make(f, "");
    while (fault == ACL_FAULT_NONE && added <= ACL_ITEMS_MAX) {
        (void)snprintf(rule, sizeof(rule), "~%u", added);
        fault = acl_user_rule(f->user, &f->env, bytes_cstr(rule));
        added += fault == ACL_FAULT_NONE;
    }
    expect_i64(fault, ACL_FAULT_LIMIT);
    assert_true(added > ACL_ITEMS_MAX - 16);
    expect_i64(acl_user_rule(f->user, &f->env, BYTES_LIT("resetkeys")), ACL_FAULT_LIMIT);
}

static void channels_that_are_lost_are_noticed(void **state)
{
    static const struct {
        const char *before;
        const char *after;
        bool lost;
    } cases[] = {
        {"&*", "&a", true},    {"&a", "&*", false},    {"&a &b", "&a &b &c", false},
        {"&a &b", "&b", true}, {"&a:*", "&a:1", true}, {"&a (&b)", "&b (&a)", false},
        {"&a", "(&*)", false}, {"(&*)", "&a", true},   {"", "", false},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        make(f, cases[i].before);
        struct acl_user *before = acl_user_copy(f->user);
        make(f, cases[i].after);
        assert_int_equal(acl_channels_lost(before, f->user), cases[i].lost);
        acl_user_unref(before);
    }
    make(f, "&a:*");
    assert_true(acl_channel_ok(f->user, BYTES_LIT("a:1"), false));
    assert_false(acl_channel_ok(f->user, BYTES_LIT("a:1"), true));
    assert_true(acl_channel_ok(f->user, BYTES_LIT("a:*"), true));
}

static void who_reads_all_keys_is_known(void **state)
{
    struct fixture *f = *state;
    const struct cmd *get = command_lookup(f->env.commands, BYTES_LIT("get"));
    static const struct {
        const char *rules;
        bool all;
    } cases[] = {
        {"+get ~*", true},
        {"+get ~a %R~*", true},
        {"+get ~a %W~*", false},
        {"+get ~a", false},
        {"(+get ~a) (~*)", false},
        {"+get ~a (+get %R~*)", true},
        {"+set ~* (+get ~a)", false},
    };

    split(f, "get a");
    const struct bytes argv[2] = {f->words[0], f->words[1]};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        make(f, cases[i].rules);
        assert_int_equal(acl_reads_all_keys(f->user, get, 2, argv, &f->keys), cases[i].all);
    }
}

/* --- sets and files --- */

static int parse(struct fixture *f, const char *text, struct acl_users **out)
{
    struct buf why;

    buf_init(&why, sizeof(f->text) - 1);
    const int err = acl_users_parse(&f->env, "f", bytes_cstr(text), out, &why);
    memcpy(f->text, why.len == 0 ? (const uint8_t *)"" : why.ptr, why.len);
    f->text[why.len] = '\0';
    buf_deinit(&why);
    return err;
}

static void a_file_makes_its_users(void **state)
{
    struct fixture *f = *state;
    struct acl_users *users;
    struct buf text;
    uint64_t serial = 7;

    expect_i64(parse(f,
                     "\n  user bob on  +@set ~s* ( +get ~a ) \r\n\nuser alice off\n"
                     "user default on nopass +@all ~*",
                     &users),
               0);
    expect_u64(users->count, 3);
    assert_true(acl_users_open(users));
    assert_null(acl_users_find(users, BYTES_LIT("carol")));
    acl_users_number(users, 3, &serial);
    expect_u64(users->first->serial, 3);
    expect_u64(serial, 9);
    buf_init(&text, 4096);
    expect_i64(acl_users_print(users, f->env.commands, &text), 0);
    expect_bytes(buf_bytes(&text), BYTES_LIT("user alice off resetchannels -@all\n"
                                             "user bob on ~s* resetchannels -@all +@set (~a "
                                             "resetchannels -@all +get)\n"
                                             "user default on nopass ~* resetchannels +@all\n"));
    buf_deinit(&text);
    acl_users_unref(users);
    expect_i64(parse(f, "", &users), 0);
    expect_u64(users->count, 1);
    assert_true(users->first->unrestricted);
    acl_users_unref(users);
}

static void a_wrong_file_tells_all_its_errors(void **state)
{
    struct fixture *f = *state;
    struct acl_users *users = NULL;

    expect_i64(parse(f, "# comment\nuser a +nosuch +nosuch2 nonsense &* &a\nuser a on\nuser b (\n",
                     &users),
               -ERR_CONFIG);
    expect_str(f->text,
               "f:1 should start with user keyword followed by the username. f:2: Error in "
               "applying operation '+nosuch': Unknown command or category name in ACL. "
               "f:2: Error in applying operation '+nosuch2': Unknown command or category "
               "name in ACL. f:2: Syntax error. WARNING: Duplicate user 'a' found on line "
               "3. f:4: Unmatched parenthesis in selector definition.WARNING: ACL errors "
               "detected, no change to the previously active ACL rules was performed");
    assert_null(users);
}

static void sets_share_what_stays(void **state)
{
    struct fixture *f = *state;
    struct acl_users *one, *two, *three;

    expect_i64(parse(f, "user b on\nuser d on", &one), 0);
    make(f, "+get");
    acl_user_freeze(f->user);
    two = acl_users_with(one, acl_user_ref(f->user));
    assert_non_null(two);
    expect_u64(two->count, 4);
    assert_ptr_equal(acl_users_find(two, BYTES_LIT("u")), f->user);
    assert_ptr_equal(acl_users_find(two, BYTES_LIT("b")), acl_users_find(one, BYTES_LIT("b")));
    three = acl_users_without(two, BYTES_LIT("b"));
    acl_users_unref(one);
    acl_users_unref(two);
    expect_u64(three->count, 3);
    assert_null(acl_users_find(three, BYTES_LIT("b")));
    assert_non_null(acl_users_find(three, BYTES_LIT("d")));
    assert_ptr_equal(acl_users_find(three, BYTES_LIT("u")), f->user);
    acl_users_unref(three);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_user_may_do_nothing),
        TEST(later_rules_win),
        TEST(a_container_stands_for_its_subcommands),
        TEST(a_first_argument_alone_can_be_allowed),
        TEST(keys_are_allowed_by_access),
        TEST(a_command_that_writes_and_reads_needs_both),
        TEST(no_spelling_hides_a_key),
        TEST(one_selector_must_allow_it_all),
        TEST(a_denial_stays_in_its_selector),
        TEST(channels_are_allowed_by_pattern),
        TEST(faults_have_the_texts_of_redis),
        TEST(a_selector_may_be_spread_over_words),
        TEST(passwords_are_kept_as_hashes),
        TEST(reset_leaves_nothing),
        TEST(only_who_may_do_all_is_unrestricted),
        TEST(what_is_printed_makes_the_same_user),
        TEST(commands_that_are_not_here_have_rules),
        TEST(each_category_is_told_by_its_name),
        TEST(a_copy_is_of_its_own),
        TEST(a_user_has_a_bounded_number_of_rules),
        TEST(channels_that_are_lost_are_noticed),
        TEST(who_reads_all_keys_is_known),
        TEST(a_file_makes_its_users),
        TEST(a_wrong_file_tells_all_its_errors),
        TEST(sets_share_what_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
