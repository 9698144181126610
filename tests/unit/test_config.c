/*
 * The configuration. Error texts of CONFIG SET were compared with redis-server 7.0.15.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/config.h"
#include "server/config_reply.h"
#include "server/reply.h"

#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

struct fixture {
    struct config *cfg;
    char *dir;
    struct config_error err;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->cfg = config_create();
    f->dir = tmpdir_create();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    config_destroy(f->cfg);
    tmpdir_remove(f->dir);
    mem_free(f);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The content; valid until the next call. */
static char *read_file(const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    const size_t len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    assert_int_equal(fclose(file), 0);
    return text;
}

/* Loads lines; the error, or "" if there was none. */
static const char *load(struct fixture *f, const char *text)
{
    f->err.text[0] = '\0';
    const int failed = config_load_text(f->cfg, "test", bytes_cstr(text), &f->err);
    assert_int_equal(failed, f->err.text[0] == '\0' ? 0 : -ERR_CONFIG);
    return f->err.text;
}

/* CONFIG SET of words "name=value;name=value"; the error, or "". */
static const char *set(struct fixture *f, const char *text)
{
    struct bytes pairs[32];
    struct bytes rest = bytes_cstr(text);
    size_t count = 0;

    while (rest.len > 0) {
        const size_t len = bytes_find_u8(rest, ';');
        const struct bytes pair = bytes_of(rest.ptr, len);
        const size_t eq = bytes_find_u8(pair, '=');
        pairs[2 * count] = bytes_of(pair.ptr, eq);
        pairs[2 * count + 1] = bytes_from(pair, size_min(eq + 1, pair.len));
        count++;
        rest = bytes_from(rest, size_min(len + 1, rest.len));
    }
    f->err.text[0] = '\0';
    const int failed = config_set(f->cfg, pairs, count, true, &f->err);
    assert_int_equal(failed, f->err.text[0] == '\0' ? 0 : -ERR_CONFIG);
    return f->err.text;
}

/* "name=value;" of all that the patterns find. */
static void collect(void *ctx, const char *name, struct bytes value)
{
    struct buf *out = ctx;

    assert_int_equal(buf_printf(out, "%s=", name), 0);
    assert_int_equal(buf_append_bytes(out, value), 0);
    assert_int_equal(buf_append_u8(out, ';'), 0);
}

static void expect_get(struct fixture *f, const char *pattern, const char *want)
{
    const struct bytes patterns[] = {bytes_cstr(pattern)};
    struct buf got;

    buf_init(&got, 1u << 20);
    config_get(f->cfg, patterns, 1, collect, &got);
    expect_bytes(buf_bytes(&got), bytes_cstr(want));
    buf_deinit(&got);
}

static void fields_have_their_types_and_defaults(void **state)
{
    const struct fixture *f = *state;

    expect_i64(f->cfg->port, 6379);
    expect_str(f->cfg->bind, "* -::*");
    expect_u64(f->cfg->maxmemory, 0);
    expect_u64(f->cfg->proto_max_bulk_len, 512u << 20);
    assert_int_equal(f->cfg->maxmemory_policy, POLICY_NOEVICTION);
    assert_int_equal(f->cfg->appendfsync, APPENDFSYNC_EVERYSEC);
    assert_true(f->cfg->protected_mode);
    expect_str(f->cfg->requirepass, "");
    expect_u64(f->cfg->client_output_buffer_limit.class[CONFIG_LIMIT_PUBSUB].hard_bytes, 32u << 20);
    expect_i64(f->cfg->client_output_buffer_limit.class[CONFIG_LIMIT_REPLICA].soft_seconds, 60);
    expect_str(config_enum_name(f->cfg, CONFIG_ID_appendfsync), "everysec");
    assert_null(f->cfg->file);
}

static void every_option_takes_back_what_it_shows(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++) {
        const enum config_id id = (enum config_id)i;
        struct buf before;
        struct buf after;

        assert_true(config_is_default(f->cfg, id));
        buf_init(&before, 1u << 16);
        buf_init(&after, 1u << 16);
        assert_int_equal(config_print(f->cfg, id, &before), 0);
        if (config_set_one(f->cfg, id, buf_bytes(&before), &f->err) != 0)
            fail_msg("%s: %s", config_name(id), f->err.text);
        assert_int_equal(config_print(f->cfg, id, &after), 0);
        expect_bytes(buf_bytes(&after), buf_bytes(&before));
        /* And each has a help text, unless it does nothing. */
        if ((config_flags(id) & CONFIG_INERT) == 0)
            assert_true(strlen(config_help(id)) > 0);
        buf_deinit(&before);
        buf_deinit(&after);
    }
}

static void a_file_sets_options(void **state)
{
    struct fixture *f = *state;

    expect_str(load(f, "# comment\n"
                       "\n"
                       "  port 7000 \r\n"
                       "MaxMemory 64mb\n"
                       "requirepass \"a b\\x41\"\n"
                       "bind 127.0.0.1 -::1\n"
                       "save 900 1\n"
                       "save 300 10\n"
                       "client-output-buffer-limit pubsub 1mb 1kb 10\n"
                       "notify-keyspace-events Kx\n"
                       "unixsocketperm 700\n"
                       "lua-time-limit 7\n"
                       "lua-replicate-commands yes\n"
                       "appendfsync always"),
               "");
    expect_i64(f->cfg->port, 7000);
    expect_u64(f->cfg->maxmemory, 64u << 20);
    expect_str(f->cfg->requirepass, "a bA");
    expect_str(f->cfg->bind, "127.0.0.1 -::1");
    expect_str(f->cfg->save, "900 1 300 10");
    expect_u64(f->cfg->client_output_buffer_limit.class[CONFIG_LIMIT_PUBSUB].soft_bytes, 1024);
    expect_u64(f->cfg->client_output_buffer_limit.class[CONFIG_LIMIT_REPLICA].hard_bytes,
               256u << 20);
    assert_int_equal(f->cfg->notify_keyspace_events, EVENT_KEYSPACE | EVENT_EXPIRED);
    expect_i64(f->cfg->unixsocketperm, 0700);
    expect_i64(f->cfg->busy_reply_threshold, 7);
    assert_int_equal(f->cfg->appendfsync, APPENDFSYNC_ALWAYS);
    expect_str(load(f, "save \"\"\n"), "");
    expect_str(f->cfg->save, "");
}

static void errors_of_a_file_name_the_line_and_what_is_allowed(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"appendfsync sometimes",
         "test: 'appendfsync sometimes': argument(s) must be one of the following: everysec, "
         "always, no"},
        {"\nmaxmemry 5mb", "test: 'maxmemry 5mb': unknown directive, did you mean 'maxmemory'?"},
        {"foo 1", "test: 'foo 1': unknown directive"},
        {"port", "test: 'port': wrong number of arguments"},
        {"port 1 2", "test: 'port 1 2': wrong number of arguments"},
        {"port 70000", "test: 'port 70000': argument must be between 0 and 65535 inclusive"},
        {"dir \"a", "test: 'dir \"a': Unbalanced quotes in configuration line"},
        {"daemonize yes",
         "test: 'daemonize yes': only 'no' is supported: the service manager does that"},
        {"rename-command a b",
         "test: 'rename-command a b': directive is not supported: use ACLs to forbid commands"},
        {"include", "test: 'include': wrong number of arguments"},
        {"requirepass secret word", "test: 'requirepass': wrong number of arguments"},
        {"unixsocketperm 888",
         "test: 'unixsocketperm 888': argument couldn't be parsed as an octal number"},
        {"unixsocketperm 1000",
         "test: 'unixsocketperm 1000': argument must be between 0 and 777 inclusive"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        expect_str(load(*state, cases[i].text), cases[i].error);
}

static void files_include_files(void **state)
{
    struct fixture *f = *state;
    char *paths[4] = {
        tmpdir_path(f->dir, "main.conf"),
        tmpdir_path(f->dir, "a.inc"),
        tmpdir_path(f->dir, "b.inc"),
        tmpdir_path(f->dir, "loop.conf"),
    };
    char text[1024];

    (void)snprintf(text, sizeof(text), "port 1\ninclude %s/*.inc\ntimeout 3\ninclude %s/*.none\n",
                   f->dir, f->dir);
    write_file(paths[0], text);
    write_file(paths[1], "port 2\ntimeout 1\nhz 11\n");
    write_file(paths[2], "port 3\n");
    assert_int_equal(config_load_file(f->cfg, paths[0], &f->err), 0);
    expect_i64(f->cfg->port, 3);
    expect_i64(f->cfg->timeout, 3);
    expect_i64(f->cfg->hz, 11);

    write_file(paths[2], "\nnosuch 1\n");
    assert_int_equal(config_load_file(f->cfg, paths[0], &f->err), -ERR_CONFIG);
    (void)snprintf(text, sizeof(text), "%s:2: 'nosuch 1': unknown directive", paths[2]);
    expect_str(f->err.text, text);

    (void)snprintf(text, sizeof(text), "include %s\n", paths[3]);
    write_file(paths[3], text);
    assert_int_equal(config_load_file(f->cfg, paths[3], &f->err), -ERR_CONFIG);
    assert_non_null(strstr(f->err.text, "too many files include each other"));
    (void)snprintf(text, sizeof(text), "%s/missing", f->dir);
    assert_int_equal(config_load_file(f->cfg, text, &f->err), -ERR_CONFIG);
    assert_non_null(strstr(f->err.text, err_str(ENOENT)));
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        mem_free(paths[i]);
}

/* A new config from arguments separated by '|'; the error, or "". */
static const char *start(struct fixture *f, const char *text)
{
    const char *argv[32];
    char *copy = mem_strdup(text);
    int argc = 0;

    for (char *at = copy; at != NULL;) {
        char *bar = strchr(at, '|');
        if (bar != NULL)
            *bar++ = '\0';
        argv[argc++] = at;
        at = bar;
    }
    config_destroy(f->cfg);
    f->cfg = config_create();
    f->err.text[0] = '\0';
    const int failed = config_load(f->cfg, argc, argv, &f->err);
    assert_int_equal(failed, f->err.text[0] == '\0' ? 0 : -ERR_CONFIG);
    mem_free(copy);
    return f->err.text;
}

static void on_notice(void *ctx, const char *text)
{
    struct buf *out = ctx;

    assert_int_equal(buf_printf(out, "%s\n", text), 0);
}

static void the_file_that_is_delivered_is_valid(void **state)
{
    struct fixture *f = *state;
    struct buf notices;

    buf_init(&notices, 1u << 16);
    if (config_load_file(f->cfg, TIERRA_CONF, &f->err) != 0)
        fail_msg("%s", f->err.text);
    config_notices(f->cfg, on_notice, &notices);
    expect_u64(notices.len, 0);
    /* It says what the defaults are, but for the one that it announces. */
    for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++) {
        if (i != CONFIG_ID_bind && !config_is_default(f->cfg, (enum config_id)i))
            fail_msg("%s is not the default", config_name((enum config_id)i));
    }
    buf_deinit(&notices);
}

static void the_command_line_overrides_the_file(void **state)
{
    struct fixture *f = *state;
    char *path = tmpdir_path(f->dir, "tierra.conf");
    char text[1024];

    write_file(path, "port 1\ntimeout 2\n");
    (void)snprintf(text, sizeof(text), "%s|--port|7|--bind|127.0.0.1|::1|--loglevel|debug", path);
    expect_str(start(f, text), "");
    expect_i64(f->cfg->port, 7);
    expect_i64(f->cfg->timeout, 2);
    expect_str(f->cfg->bind, "127.0.0.1 ::1");
    assert_int_equal(f->cfg->loglevel, LOGLEVEL_DEBUG);
    expect_str(f->cfg->file, path);
    assert_true(f->cfg->dir[0] == '/');
    mem_free(path);
}

static void the_command_line_is_read_as_redis_reads_it(void **state)
{
    struct fixture *f = *state;

    expect_str(start(f, "--maxmemory 700mb|--maxmemory-policy 'volatile-lru'"), "");
    expect_u64(f->cfg->maxmemory, UINT64_C(700) << 20);
    assert_int_equal(f->cfg->maxmemory_policy, POLICY_VOLATILE_LRU);
    expect_str(start(f, "--proc-title-template|--my--title|--loglevel|verbose"), "");
    expect_str(f->cfg->proc_title_template, "--my--title");
    expect_str(start(f, "--save|--loglevel|verbose"), "");
    expect_str(start(f, "--loglevel|verbose|--save"), "");
    expect_str(start(f, "--save|900 1|--port|1"), "");
    expect_str(f->cfg->save, "900 1");
    expect_str(start(f, "--shutdown-on-sigint|nosave|force|now"), "");
    expect_get(f, "shutdown-on-sigint", "shutdown-on-sigint=nosave now force;");
    expect_str(start(f, "--requirepass|a \"b\\"), "");
    expect_str(f->cfg->requirepass, "a \"b\\");

    expect_str(start(f, "--port"), "command line: 'port': wrong number of arguments");
    expect_str(start(f, "--port|6379|6380"),
               "command line: 'port \"6379\" \"6380\"': wrong number of arguments");
    expect_str(start(f, "--port|--bla"),
               "command line: 'port \"--bla\"': argument couldn't be parsed into an integer");
    expect_str(start(f, "--nosuch|1"), "command line: 'nosuch \"1\"': unknown directive");
    expect_str(start(f, "-x"), "command line: '-x': options start with --");
}

static void what_has_no_effect_is_said_once(void **state)
{
    struct fixture *f = *state;
    struct buf out;

    buf_init(&out, 1u << 16);
    expect_str(load(f, "databases 1\nappendonly yes\nsave \"\"\nhz 10\nport 1\n"), "");
    config_notices(f->cfg, on_notice, &out);
    expect_u64(out.len, 0);
    expect_str(load(f, "databases 16\nappendonly no\n"), "");
    config_notices(f->cfg, on_notice, &out);
    expect_bytes(buf_bytes(&out),
                 BYTES_LIT("directive has no effect here name=databases why=there is database 0 "
                           "only\n"
                           "directive has no effect here name=appendonly why=the op log is always "
                           "on; see appendfsync\n"));
    buf_deinit(&out);
}

#define FAILED(name) "CONFIG SET failed (possibly related to argument '" name "') - "

static void config_set_refuses_with_the_texts_of_redis(void **state)
{
    static const struct {
        const char *set;
        const char *error;
    } cases[] = {
        {"nosuch=1", "Unknown option or number of arguments for CONFIG SET - 'nosuch'"},
        {"maxmemory=1;maxmemory=2", FAILED("maxmemory") "duplicate parameter"},
        {"maxmemory=1;MaxMemory=2", FAILED("MaxMemory") "duplicate parameter"},
        {"daemonize=yes", FAILED("daemonize") "can't set immutable config"},
        {"Daemonize=yes", FAILED("Daemonize") "can't set immutable config"},
        {"daemonize=no", FAILED("daemonize") "can't set immutable config"},
        {"shards=7", FAILED("shards") "can't set immutable config"},
        {"dbfilename=x", FAILED("dbfilename") "can't set protected config"},
        {"dir=/x", FAILED("dir") "can't set protected config"},
        {"maxmemory=foo", FAILED("maxmemory") "argument must be a memory value"},
        {"maxmemory=-1", FAILED("maxmemory") "argument must be a memory value"},
        {"maxmemory-clients=foo",
         FAILED("maxmemory-clients") "argument must be a memory or percent value"},
        {"maxmemory-clients=200%",
         FAILED("maxmemory-clients") "percentage argument must be less or equal to 100"},
        {"hz=x", FAILED("hz") "argument couldn't be parsed into an integer"},
        {"timeout=-1", FAILED("timeout") "argument must be between 0 and 2147483647 inclusive"},
        {"proto-max-bulk-len=10",
         FAILED("proto-max-bulk-len") "argument must be between 1048576 and 9223372036854775807 "
                                      "inclusive"},
        {"protected-mode=maybe", FAILED("protected-mode") "argument must be 'yes' or 'no'"},
        {"notify-keyspace-events=q",
         FAILED("notify-keyspace-events") "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."},
        {"save=1 2 3", FAILED("save") "Invalid save parameters"},
        {"save=0 1", FAILED("save") "Invalid save parameters"},
        {"client-output-buffer-limit=normal 1 2 3 x",
         FAILED("client-output-buffer-limit") "Wrong number of arguments in buffer limit "
                                              "configuration."},
        {"client-output-buffer-limit=foo 1 2 3",
         FAILED("client-output-buffer-limit") "Invalid client class specified in buffer limit "
                                              "configuration."},
        {"client-output-buffer-limit=normal a 2 3",
         FAILED("client-output-buffer-limit") "Error in hard, soft or soft_seconds setting in "
                                              "buffer limit configuration."},
        {"latency-tracking-info-percentiles=101",
         FAILED("latency-tracking-info-percentiles") "latency-tracking-info-percentiles parameters "
                                                     "should sit between [0.0,100.0]"},
        {"shutdown-on-sigint=nosave save",
         FAILED("shutdown-on-sigint") "shutdown options SAVE and NOSAVE can't be used "
                                      "simultaneously"},
        {"oom-score-adj-values=1 2", FAILED("oom-score-adj-values") "wrong number of arguments"},
        {"oom-score-adj-values=1 2 3000",
         FAILED("oom-score-adj-values") "Invalid oom-score-adj-values, elements must be between "
                                        "-2000 and 2000."},
        {"maxmemory=1gb;maxmemory-policy=foo",
         FAILED("maxmemory-policy") "argument(s) must be one of the following: volatile-lru, "
                                    "volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, "
                                    "allkeys-lfu, allkeys-random, noeviction"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        expect_str(set(f, cases[i].set), cases[i].error);
    /* And nothing changed. */
    for (unsigned i = 0; i < CONFIG_IDS_COUNT; i++)
        assert_true(config_is_default(f->cfg, (enum config_id)i));
}

static void config_set_shows_values_in_one_spelling(void **state)
{
    static const struct {
        const char *set;
        const char *get;
    } cases[] = {
        {"maxmemory=1gb", "maxmemory=1073741824;"},
        {"maxmemory-clients=5%", "maxmemory-clients=5%;"},
        {"notify-keyspace-events=KEA", "notify-keyspace-events=AKE;"},
        {"notify-keyspace-events=Kg$lshzxetdnm", "notify-keyspace-events=AKm;"},
        {"notify-keyspace-events=xE", "notify-keyspace-events=xE;"},
        {"client-output-buffer-limit=replica 1mb 1kb 3",
         "client-output-buffer-limit=normal 0 0 0 slave 1048576 1024 3 pubsub 33554432 8388608 "
         "60;"},
        {"save=60 1 70 2", "save=60 1 70 2;"},
        {"save=", "save=;"},
        {"latency-tracking-info-percentiles=50 99.95 100 0.5",
         "latency-tracking-info-percentiles=50 99.95 100 0.5;"},
        {"latency-tracking-info-percentiles=", "latency-tracking-info-percentiles=;"},
        {"shutdown-on-sigint=force default nosave", "shutdown-on-sigint=nosave force;"},
        {"LogLevel=DEBUG", "loglevel=debug;"},
        {"bind=127.0.0.1  -::1", "bind=127.0.0.1 -::1;"},
        {"requirepass=a b", "requirepass=a b;"},
        {"shards=0", "shards=0;"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char name[64];
        const size_t len = strcspn(cases[i].get, "=");
        memcpy(name, cases[i].get, len);
        name[len] = '\0';
        expect_str(set(f, cases[i].set), "");
        expect_get(f, name, cases[i].get);
    }
}

static void config_get_takes_patterns_and_aliases(void **state)
{
    struct fixture *f = *state;
    const struct bytes several[] = {BYTES_LIT("maxmemory"), BYTES_LIT("MAXMEMORY*"),
                                    BYTES_LIT("*of")};
    struct buf got;

    expect_get(f, "hash-max-*-entries",
               "hash-max-listpack-entries=512;hash-max-ziplist-entries=512;");
    expect_get(f, "lua-time-limit", "lua-time-limit=5000;");
    expect_get(f, "key-load-del*", "");
    expect_get(f, "KEY-load-delay", "key-load-delay=0;");
    expect_get(f, "nosuch", "");
    expect_str(set(f, "hash-max-ziplist-entries=3"), "");
    expect_get(f, "hash-max-*-entries", "hash-max-listpack-entries=3;hash-max-ziplist-entries=3;");
    expect_str(set(f, "hash-max-ziplist-entries=6;hash-max-ziplist-entries=4"),
               FAILED("hash-max-ziplist-entries") "duplicate parameter");
    expect_get(f, "hash-max-*-entries", "hash-max-listpack-entries=3;hash-max-ziplist-entries=3;");
    buf_init(&got, 1u << 16);
    config_get(f->cfg, several, 3, collect, &got);
    expect_bytes(buf_bytes(&got),
                 BYTES_LIT("maxmemory-clients=0;maxmemory=0;maxmemory-policy=noeviction;"
                           "maxmemory-samples=5;maxmemory-eviction-tenacity=10;replicaof=;"
                           "slaveof=;"));
    buf_deinit(&got);
}

/* By its name and an alias it is not twice: the last counts. */
static void an_alias_may_stand_beside_its_option(void **state)
{
    struct fixture *f = *state;

    expect_str(set(f, "hash-max-ziplist-entries=3;hash-max-listpack-entries=4"), "");
    expect_i64(f->cfg->hash_max_listpack_entries, 4);
    expect_str(set(f, "hash-max-listpack-entries=5;hash-max-ziplist-entries=4"), "");
    expect_i64(f->cfg->hash_max_listpack_entries, 4);
    expect_str(set(f, "hash-max-ziplist-entries=6;hash-max-listpack-entries=7;hz=x"),
               FAILED("hz") "argument couldn't be parsed into an integer");
    expect_i64(f->cfg->hash_max_listpack_entries, 4);
}

/* --- Owners of options --- */

struct owner {
    struct buf calls;
    const char *refuse; /* In `validate` or `apply`, or NULL. */
    uint64_t maxmemory;
};

static bool on_validate(void *ctx, const struct config *cfg, const char **out_reason)
{
    struct owner *owner = ctx;

    assert_int_equal(buf_printf(&owner->calls, "validate %" PRIu64 ";", cfg->maxmemory), 0);
    *out_reason = "not this";
    return owner->refuse == NULL || strcmp(owner->refuse, "validate") != 0;
}

static bool on_apply(void *ctx, const struct config *cfg, const char **out_reason)
{
    struct owner *owner = ctx;

    assert_int_equal(buf_printf(&owner->calls, "apply %" PRIu64 ";", cfg->maxmemory), 0);
    *out_reason = "Unable to listen on this port. Check server logs.";
    if (owner->refuse != NULL && strcmp(owner->refuse, "apply") == 0)
        return false;
    owner->maxmemory = cfg->maxmemory;
    return true;
}

static void owners_are_asked_and_then_told(void **state)
{
    struct fixture *f = *state;
    struct owner owner = {.maxmemory = 0};

    buf_init(&owner.calls, 4096);
    config_hook(f->cfg, CONFIG_ID_maxmemory,
                (struct config_hook){.validate = on_validate, .apply = on_apply, .ctx = &owner});
    expect_str(set(f, "maxmemory=5;hz=20"), "");
    expect_bytes(buf_bytes(&owner.calls), BYTES_LIT("validate 5;apply 5;"));
    buf_clear(&owner.calls);
    expect_str(set(f, "maxmemory=5b"), "");
    expect_u64(owner.calls.len, 0); /* The same value is no change. */

    owner.refuse = "validate";
    expect_str(set(f, "hz=30;maxmemory=6"), FAILED("maxmemory") "not this");
    expect_bytes(buf_bytes(&owner.calls), BYTES_LIT("validate 6;"));
    expect_u64(f->cfg->maxmemory, 5);
    expect_i64(f->cfg->hz, 20);
    /* What stands twice is again what it was, too. */
    expect_str(set(f, "hash-max-ziplist-entries=3;hash-max-listpack-entries=4;maxmemory=6"),
               FAILED("maxmemory") "not this");
    expect_i64(f->cfg->hash_max_listpack_entries, 512);
    buf_deinit(&owner.calls);
}

static void a_refusal_takes_back_what_was_applied(void **state)
{
    struct fixture *f = *state;
    struct owner owner = {.maxmemory = 0};
    struct owner port = {.refuse = "apply"};

    buf_init(&owner.calls, 4096);
    buf_init(&port.calls, 4096);
    config_hook(f->cfg, CONFIG_ID_maxmemory,
                (struct config_hook){.apply = on_apply, .ctx = &owner});
    config_hook(f->cfg, CONFIG_ID_port, (struct config_hook){.apply = on_apply, .ctx = &port});
    expect_str(set(f, "maxmemory=10000001;port=1;requirepass=x"),
               FAILED("port") "Unable to listen on this port. Check server logs.");
    expect_u64(f->cfg->maxmemory, 0);
    expect_u64(owner.maxmemory, 0);
    expect_i64(f->cfg->port, 6379);
    expect_str(f->cfg->requirepass, "");
    expect_bytes(buf_bytes(&owner.calls), BYTES_LIT("apply 10000001;apply 0;"));
    /* Who refused is told too. */
    expect_bytes(buf_bytes(&port.calls), BYTES_LIT("apply 10000001;apply 0;"));
    buf_deinit(&owner.calls);
    buf_deinit(&port.calls);
}

static void protected_options_need_permission(void **state)
{
    struct fixture *f = *state;
    const struct bytes pair[] = {BYTES_LIT("dbfilename"), BYTES_LIT("x")};

    expect_str(load(f, "enable-protected-configs local"), "");
    assert_int_equal(config_set(f->cfg, pair, 1, false, &f->err), -ERR_CONFIG);
    assert_int_equal(config_set(f->cfg, pair, 1, true, &f->err), 0);
    expect_str(load(f, "enable-protected-configs yes"), "");
    assert_int_equal(config_set(f->cfg, pair, 1, false, &f->err), 0);
}

/* --- CONFIG REWRITE --- */

static void rewrite_keeps_comments_order_and_spelling(void **state)
{
    struct fixture *f = *state;
    char *path = tmpdir_path(f->dir, "tierra.conf");

    write_file(path, "# My server.\n"
                     "\n"
                     "port 7000\n"
                     "maxmemory   64MB\n"
                     "# limits\n"
                     "slave-read-only yes\n"
                     "save 900 1\n"
                     "save 300 10\n"
                     "timeout 1\n"
                     "timeout 2\n");
    assert_int_equal(chmod(path, 0600), 0);
    expect_str(start(f, path), "");
    expect_str(set(f, "port=7001;requirepass=a \"b;maxclients=5;replica-read-only=no;timeout=3"),
               "");
    assert_int_equal(config_rewrite(f->cfg, false, &f->err), 0);
    expect_str(read_file(path), "# My server.\n"
                                "\n"
                                "port 7001\n"
                                "maxmemory   64MB\n"
                                "# limits\n"
                                "slave-read-only no\n"
                                "save 900 1 300 10\n"
                                "timeout 3\n"
                                "# Generated by CONFIG REWRITE\n"
                                "requirepass \"a \\\"b\"\n"
                                "maxclients 5\n");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    expect_u64(st.st_mode & 0777, 0600);

    /* What was written reads to the same values, and is stable. */
    char *first = mem_strdup(read_file(path));
    expect_str(start(f, path), "");
    expect_str(f->cfg->requirepass, "a \"b");
    assert_int_equal(config_rewrite(f->cfg, false, &f->err), 0);
    expect_str(read_file(path), first);
    mem_free(first);
    mem_free(path);
}

static void rewrite_of_everything_reads_back(void **state)
{
    struct fixture *f = *state;
    char *path = tmpdir_path(f->dir, "all.conf");
    const struct bytes all[] = {BYTES_LIT("*")};
    struct buf before;
    struct buf after;

    buf_init(&before, 1u << 20);
    buf_init(&after, 1u << 20);
    write_file(path, "save 1 2\n");
    expect_str(start(f, path), "");
    expect_str(set(f, "bind=;save=;notify-keyspace-events=KEA;shutdown-on-sigterm=nosave now"), "");
    config_get(f->cfg, all, 1, collect, &before);
    assert_int_equal(config_rewrite(f->cfg, true, &f->err), 0);
    expect_str(start(f, path), "");
    config_get(f->cfg, all, 1, collect, &after);
    expect_bytes(buf_bytes(&after), buf_bytes(&before));
    buf_deinit(&before);
    buf_deinit(&after);
    mem_free(path);
}

static void rewrite_without_a_file_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(config_rewrite(f->cfg, false, &f->err), -ERR_CONFIG);
    expect_str(f->err.text, "The server is running without a config file");
}

static void rewrite_that_fails_leaves_the_file(void **state)
{
    struct fixture *f = *state;
    char *path = tmpdir_path(f->dir, "gone.conf");

    write_file(path, "port 1\n");
    expect_str(start(f, path), "");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(config_rewrite(f->cfg, false, &f->err), -ERR_CONFIG);
    assert_non_null(strstr(f->err.text, "Rewriting config file: "));
    assert_int_equal(access(path, F_OK), -1);
    mem_free(path);
}

static void the_commands_reply_as_redis_does(void **state)
{
    struct fixture *f = *state;
    const struct bytes set_argv[] = {BYTES_LIT("config"), BYTES_LIT("set"), BYTES_LIT("hz"),
                                     BYTES_LIT("20"), BYTES_LIT("timeout")};
    const struct bytes get_argv[] = {BYTES_LIT("config"), BYTES_LIT("get"), BYTES_LIT("hz"),
                                     BYTES_LIT("h?")};
    struct reply r;

    reply_init(&r, 1u << 16, NULL);
    config_reply_set(&r, f->cfg, true, 4, set_argv);
    config_reply_set(&r, f->cfg, true, 5, set_argv);
    config_reply_get(&r, f->cfg, 4, get_argv);
    r.proto = 3;
    config_reply_get(&r, f->cfg, 4, get_argv);
    config_reply_rewrite(&r, f->cfg);
    expect_bytes(buf_bytes(&r.out),
                 BYTES_LIT("+OK\r\n-ERR syntax error\r\n*2\r\n$2\r\nhz\r\n$2\r\n20\r\n"
                           "%1\r\n$2\r\nhz\r\n$2\r\n20\r\n"
                           "-ERR The server is running without a config file\r\n"));
    reply_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fields_have_their_types_and_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(every_option_takes_back_what_it_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_sets_options, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_of_a_file_name_the_line_and_what_is_allowed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(files_include_files, setup, teardown),
        cmocka_unit_test_setup_teardown(the_file_that_is_delivered_is_valid, setup, teardown),
        cmocka_unit_test_setup_teardown(the_command_line_overrides_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(the_command_line_is_read_as_redis_reads_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_has_no_effect_is_said_once, setup, teardown),
        cmocka_unit_test_setup_teardown(config_set_refuses_with_the_texts_of_redis, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(config_set_shows_values_in_one_spelling, setup, teardown),
        cmocka_unit_test_setup_teardown(config_get_takes_patterns_and_aliases, setup, teardown),
        cmocka_unit_test_setup_teardown(an_alias_may_stand_beside_its_option, setup, teardown),
        cmocka_unit_test_setup_teardown(owners_are_asked_and_then_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_takes_back_what_was_applied, setup, teardown),
        cmocka_unit_test_setup_teardown(protected_options_need_permission, setup, teardown),
        cmocka_unit_test_setup_teardown(rewrite_keeps_comments_order_and_spelling, setup, teardown),
        cmocka_unit_test_setup_teardown(rewrite_of_everything_reads_back, setup, teardown),
        cmocka_unit_test_setup_teardown(rewrite_without_a_file_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(rewrite_that_fails_leaves_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(the_commands_reply_as_redis_does, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
