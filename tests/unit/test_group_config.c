/* The directives of a replication group. */
#include <stdio.h>

#include "engine/base/err.h"

#include "server/config.h"
#include "server/group_config.h"

#include "tests/lib/tcase.h"

static struct config *config_of(const char *text)
{
    struct config *cfg = config_create();
    struct config_error err;

    assert_int_equal(config_load_text(cfg, "test", bytes_cstr(text), &err), 0);
    return cfg;
}

static void check_refused(const char *text, const char *word)
{
    struct config *cfg = config_of(text);
    struct group_config g;
    char why[512] = "";

    assert_int_equal(group_config_read(cfg, &g, why, sizeof(why)), -ERR_CONFIG);
    if (strstr(why, word) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why, word);
    config_destroy(cfg);
}

#define WHOLE                                                          \
    "group-nickname earth\n"                                           \
    "member-name tokyo\n"                                              \
    "linked-databases berlin=10.0.0.1:6380 tokyo=[2001:db8::1]:6380\n" \
    "group-secret-file /etc/secret\n"

static void a_whole_configuration_is_read(void **state)
{
    struct config *cfg = config_of(WHOLE "maxmemory 100mb\nmaxflash 1gb\n");
    struct group_config g;
    struct control_options options;
    char why[512] = "";

    (void)state;
    assert_true(group_configured(cfg));
    assert_int_equal(group_config_read(cfg, &g, why, sizeof(why)), 0);
    expect_u64(g.linked_count, 2);
    expect_u64(g.own, 1);
    assert_string_equal(g.linked[0].name, "berlin");
    assert_string_equal(g.linked[0].address, "10.0.0.1:6380");
    assert_string_equal(g.linked[1].address, "[2001:db8::1]:6380");
    group_config_control(cfg, &g, 4, &options);
    expect_u64(options.config.maxmemory_bytes, 100u << 20);
    expect_u64(options.config.maxflash_bytes, 1u << 30);
    expect_u64(options.config.shards, 4);
    assert_string_equal(options.config.eviction, "noeviction");
    assert_string_equal(options.config.clustering, "none");
    assert_string_equal(options.name, "tokyo");
    config_destroy(cfg);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    check_refused("group-nickname earth\n", "member-name");
    check_refused("group-nickname earth\nmember-name a\n", "linked-databases");
    check_refused("group-nickname earth\nmember-name a\nlinked-databases a=h:1\n",
                  "group-secret-file");
    check_refused("group-nickname earth-\nmember-name a\nlinked-databases a=h:1\n"
                  "group-secret-file f\n",
                  "hyphens");
    check_refused("group-nickname earth\nmember-name b\nlinked-databases a=h:1\n"
                  "group-secret-file f\n",
                  "not in linked-databases");
    check_refused("member-name a\n", "group-nickname");
    check_refused("linked-databases a=h:1\n", "group-nickname");
    check_refused("group-secret-file f\n", "group-nickname");
    check_refused("group-bind *:1\n", "group-nickname");
}

static void a_group_needs_a_synced_log_and_no_eviction(void **state)
{
    (void)state;
    check_refused(WHOLE "maxmemory-policy allkeys-lru\n", "noeviction");
    check_refused(WHOLE "appendfsync no\n", "everysec");
}

static void a_node_without_a_group_is_left_alone(void **state)
{
    struct config *cfg = config_of("port 0\nmaxmemory-policy allkeys-lru\n");
    struct group_config g;
    char why[512] = "";

    (void)state;
    assert_false(group_configured(cfg));
    assert_int_equal(group_config_read(cfg, &g, why, sizeof(why)), 0);
    config_destroy(cfg);
}

static void entries_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "a",     "a=",     "=h:1",        "a=h",    "a=h:",    "a=:1",        "a=h:0",  "a=h:65536",
        "a=h:x", "a=h:01", "a=fe80::1:1", "-a=h:1", "a b=h:1", "a=[fe80::1]", "a=[x:1", "a=h:1 ",
    };
    struct config_linked out;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        if (config_linked_parse(bytes_cstr(bad[i]), &out))
            fail_msg("\"%s\" was taken", bad[i]);
    }
    assert_true(config_linked_parse(BYTES_LIT("a=example.org:1"), &out));
    assert_true(config_linked_parse(BYTES_LIT("eu-west-1=[::1]:65535"), &out));
    assert_string_equal(out.name, "eu-west-1");
    assert_string_equal(out.address, "[::1]:65535");
}

static void a_list_has_five_different_members(void **state)
{
    static const char *const bad[] = {
        "linked-databases a=h:1 b=h:2 c=h:3 d=h:4 e=h:5 f=h:6",
        "linked-databases a=h:1 a=h:2",
        "linked-databases a=h:1 b=h:1",
        "linked-databases a=h:1 nothing",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct config *cfg = config_create();
        struct config_error err;

        assert_int_equal(config_load_text(cfg, "test", bytes_cstr(bad[i]), &err), -ERR_CONFIG);
        config_destroy(cfg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_configuration_is_read),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(a_group_needs_a_synced_log_and_no_eviction),
        cmocka_unit_test(a_node_without_a_group_is_left_alone),
        cmocka_unit_test(entries_that_are_none_are_refused),
        cmocka_unit_test(a_list_has_five_different_members),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
