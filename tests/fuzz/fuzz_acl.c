/*
 * Fuzz target: ACL rules and files. The first byte chooses: an ACL file, or rules, one a line, up
 * to an empty line, and behind it a call, an argument a line. Properties: a file that is accepted
 * is printed as one that makes the same; what a user may do is not changed by printing and reading
 * it; a call that is allowed by a selector alone is allowed by the user.
 */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "server/acl_check.h"
#include "server/acl_text.h"
#include "server/acl_users.h"

#include "tests/fuzz/fuzz.h"

#define TEXT_BYTES_MAX ((size_t)64 << 20)
#define WORDS_MAX      512

static void on_bad(void *ctx, struct bytes rule, enum acl_fault fault)
{
    CHECK(rule.len != 0 && acl_fault_text(fault)[0] != '\0');
    ++*(uint32_t *)ctx;
}

static void print(const struct acl_env *env, const struct acl_users *users, struct buf *out)
{
    buf_init(out, TEXT_BYTES_MAX);
    CHECK(acl_users_print(users, env->commands, out) == 0);
}

/* What is printed makes users that print the same. */
static void check_users(const struct acl_env *env, const struct acl_users *users)
{
    struct acl_users *again = NULL;
    struct buf first, second, why;

    print(env, users, &first);
    buf_init(&why, TEXT_BYTES_MAX);
    CHECK(acl_users_parse(env, "", buf_bytes(&first), &again, &why) == 0);
    CHECK(why.len == 0 && again->count == users->count);
    for (uint32_t i = 0; i < users->count; i++)
        CHECK(again->user[i]->unrestricted == users->user[i]->unrestricted);
    print(env, again, &second);
    CHECK(bytes_eq(buf_bytes(&first), buf_bytes(&second)));
    acl_users_unref(again);
    buf_deinit(&why);
    buf_deinit(&first);
    buf_deinit(&second);
}

static void file(const struct acl_env *env, struct bytes text)
{
    struct acl_users *users = NULL;
    struct buf why;

    buf_init(&why, TEXT_BYTES_MAX);
    if (acl_users_parse(env, "", text, &users, &why) == 0) {
        check_users(env, users);
        acl_users_unref(users);
    } else {
        CHECK(why.len != 0 && users == NULL);
    }
    buf_deinit(&why);
}

/* The next lines, up to an empty one. */
static uint32_t lines(struct bytes *text, struct bytes *out)
{
    uint32_t count = 0;

    while (text->len != 0 && count < WORDS_MAX) {
        const size_t len = bytes_find_u8(*text, '\n');
        const struct bytes line = bytes_of(text->ptr, len);
        *text = bytes_from(*text, size_min(len + 1, text->len));
        if (line.len == 0)
            break;
        out[count++] = line;
    }
    return count;
}

static enum acl_result result_of(const struct acl_user *u, const struct cmd *cmd, uint32_t argc,
                                 const struct bytes *argv, struct cmd_keys *keys)
{
    const struct acl_verdict v = acl_check(u, cmd, argc, argv, keys);

    CHECK(v.arg < argc);
    CHECK((v.result == ACL_DENIED_KEY || v.result == ACL_DENIED_CHANNEL) == (v.arg != 0));
    return v.result;
}

static void call(const struct acl_env *env, const struct acl_user *u, uint32_t argc,
                 const struct bytes *argv)
{
    const struct cmd *cmd = argc == 0 ? NULL : command_resolve(env->commands, argc, argv, NULL);
    struct cmd_keys keys;

    if (cmd == NULL || !command_arity_ok(cmd, argc))
        return;
    cmd_keys_init(&keys);
    const enum acl_result result = result_of(u, cmd, argc, argv, &keys);
    if (u->unrestricted)
        CHECK(result == ACL_OK);
    if (acl_reads_all_keys(u, cmd, argc, argv, &keys))
        CHECK(result == ACL_OK);
    cmd_keys_deinit(&keys);
}

static void rules(const struct acl_env *env, struct bytes text)
{
    struct bytes *words = mem_alloc(WORDS_MAX * sizeof(*words));
    struct acl_user *u = acl_user_create(env, BYTES_LIT("u"), 1);
    uint32_t open = 0;
    uint32_t bad = 0;
    const uint32_t count = lines(&text, words);

    const struct acl_rules given = {.words = words, .count = count, .bad = on_bad, .ctx = &bad};
    if (!acl_user_rules(u, env, &given, &open))
        CHECK(open < count && bad == 0);
    acl_user_freeze(u);
    const uint32_t argc = lines(&text, words);
    call(env, u, argc, words);
    struct acl_list list = {0};
    struct acl_user *first = acl_user_create_default(env, 2);
    acl_user_freeze(first);
    acl_list_add(&list, u);
    acl_list_add(&list, first);
    struct acl_users *users = acl_users_create(&list);
    check_users(env, users);
    acl_users_unref(users);
    mem_free(words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct command_table *commands = command_table_create();
    struct bytes text = bytes_of(data, size);
    struct bytes head;

    if (bytes_take(&text, 1, &head)) {
        const struct acl_env env = {.commands = commands, .all_channels = (head.ptr[0] & 2) != 0};
        if ((head.ptr[0] & 1) != 0)
            file(&env, text);
        else
            rules(&env, text);
    }
    command_table_destroy(commands);
    return 0;
}
