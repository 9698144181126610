/* Sets of users, and their file; acl_users.h. */
#include "server/acl_users.h"

#include <stdlib.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/acl_text.h"

/* As much of a rule or a name as an error repeats. */
#define ECHO_BYTES_MAX 128

/* --- lists --- */

void acl_list_add(struct acl_list *list, struct acl_user *take_user)
{
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 16 : list->cap * 2;
        list->user = mem_realloc(list->user, list->cap * sizeof(struct acl_user *));
    }
    list->user[list->count++] = take_user;
}

struct acl_user *acl_list_find(const struct acl_list *list, struct bytes name)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (bytes_eq(acl_user_name(list->user[i]), name))
            return list->user[i];
    }
    return NULL;
}

void acl_list_deinit(struct acl_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        acl_user_unref(list->user[i]);
    mem_free(list->user);
    *list = (struct acl_list){0};
}

/* --- sets --- */

static struct acl_users *allocate(uint32_t count)
{
    struct acl_users *users = mem_zalloc(sizeof(*users) + count * sizeof(struct acl_user *));

    atomic_init(&users->refs, 1);
    users->count = count;
    return users;
}

static int by_name(const void *a, const void *b)
{
    struct acl_user *const *x = a;
    struct acl_user *const *y = b;

    return bytes_cmp(acl_user_name(*x), acl_user_name(*y));
}

/* The users are in it. */
static struct acl_users *finish(struct acl_users *users)
{
    users->first = acl_users_find(users, BYTES_LIT("default"));
    CHECK(users->first != NULL);
    return users;
}

struct acl_users *acl_users_create(struct acl_list *take_list)
{
    struct acl_users *users = allocate(take_list->count);

    CHECK(take_list->count != 0);
    memcpy(users->user, take_list->user, take_list->count * sizeof(struct acl_user *));
    qsort(users->user, users->count, sizeof(struct acl_user *), by_name);
    take_list->count = 0;
    acl_list_deinit(take_list);
    return finish(users);
}

struct acl_users *acl_users_ref(struct acl_users *users)
{
    atomic_fetch_add_explicit(&users->refs, 1, memory_order_relaxed);
    return users;
}

void acl_users_unref(struct acl_users *users)
{
    if (users == NULL || atomic_fetch_sub_explicit(&users->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < users->count; i++)
        acl_user_unref(users->user[i]);
    mem_free(users);
}

/* The index of the first whose name is not less. */
static uint32_t place_of(const struct acl_users *users, struct bytes name)
{
    uint32_t low = 0, high = users->count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (bytes_cmp(acl_user_name(users->user[middle]), name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct acl_users *users, uint32_t index, struct bytes name)
{
    return index < users->count && bytes_eq(acl_user_name(users->user[index]), name);
}

struct acl_user *acl_users_find(const struct acl_users *users, struct bytes name)
{
    const uint32_t at = place_of(users, name);

    return is_at(users, at, name) ? users->user[at] : NULL;
}

struct acl_users *acl_users_with(const struct acl_users *users, struct acl_user *take_user)
{
    const struct bytes name = acl_user_name(take_user);
    const uint32_t at = place_of(users, name);
    const uint32_t replaced = is_at(users, at, name);

    if (replaced == 0 && users->count >= ACL_USERS_MAX)
        return NULL;
    struct acl_users *made = allocate(users->count + 1 - replaced);
    for (uint32_t i = 0; i < at; i++)
        made->user[i] = acl_user_ref(users->user[i]);
    made->user[at] = take_user;
    for (uint32_t i = at + replaced; i < users->count; i++)
        made->user[i + 1 - replaced] = acl_user_ref(users->user[i]);
    return finish(made);
}

struct acl_users *acl_users_without(const struct acl_users *users, struct bytes name)
{
    const uint32_t at = place_of(users, name);
    struct acl_users *made = allocate(users->count - 1);

    CHECK(is_at(users, at, name));
    for (uint32_t i = 0; i < made->count; i++)
        made->user[i] = acl_user_ref(users->user[i < at ? i : i + 1]);
    return finish(made);
}

/* --- the file --- */

struct parser {
    const struct acl_env *env;
    const char *path;
    uint32_t line;
    struct buf *why;
    struct acl_list found;
    bool wrong;
    bool syntax_told; /* Of this line: what follows may come of it. */
};

/* What does not fit into the text is left out: there is enough to mend. */
#define COMPLAIN(p, ...)                                  \
    do {                                                  \
        (p)->wrong = true;                                \
        IGNORE_RESULT(buf_printf((p)->why, __VA_ARGS__)); \
    } while (0)

static int echo(struct bytes text)
{
    return (int)size_min(text.len, ECHO_BYTES_MAX);
}

static void on_bad_rule(void *ctx, struct bytes rule, enum acl_fault fault)
{
    struct parser *p = ctx;

    if (fault == ACL_FAULT_UNKNOWN)
        COMPLAIN(p, "%s:%u: Error in applying operation '%.*s': %s. ", p->path, p->line, echo(rule),
                 (const char *)rule.ptr, acl_fault_text(fault));
    else if (!p->syntax_told)
        COMPLAIN(p, "%s:%u: %s. ", p->path, p->line, acl_fault_text(fault));
    p->syntax_told |= fault != ACL_FAULT_UNKNOWN;
}

static void parse_user(struct parser *p, const struct bytes *words, uint32_t count)
{
    uint32_t open;

    p->syntax_told = false;
    if (count < 2 || !bytes_eq(words[0], BYTES_LIT("user"))) {
        COMPLAIN(p, "%s:%u should start with user keyword followed by the username. ", p->path,
                 p->line);
        return;
    }
    if (!acl_name_ok(words[1])) {
        COMPLAIN(p, "'%s:%u: username '%.*s' contains invalid characters. ", p->path, p->line,
                 echo(words[1]), (const char *)words[1].ptr);
        return;
    }
    if (acl_list_find(&p->found, words[1]) != NULL) {
        COMPLAIN(p, "WARNING: Duplicate user '%.*s' found on line %u. ", echo(words[1]),
                 (const char *)words[1].ptr, p->line);
        return;
    }
    if (p->found.count == ACL_USERS_MAX) {
        COMPLAIN(p, "%s:%u: more than %u users. ", p->path, p->line, ACL_USERS_MAX);
        return;
    }
    struct acl_user *u = acl_user_create(p->env, words[1], 0);
    const struct acl_rules rules = {
        .words = words + 2, .count = count - 2, .bad = on_bad_rule, .ctx = p};
    if (!acl_user_rules(u, p->env, &rules, &open))
        COMPLAIN(p, "%s:%u: Unmatched parenthesis in selector definition.", p->path, p->line);
    acl_user_freeze(u);
    acl_list_add(&p->found, u);
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Words are separated by one blank; two of them have an empty word between them, which is no rule.
 */
static void parse_line(struct parser *p, struct bytes line)
{
    uint32_t count = 1;

    p->line++;
    while (line.len != 0 && is_blank(line.ptr[0]))
        line = bytes_from(line, 1);
    while (line.len != 0 && is_blank(line.ptr[line.len - 1]))
        line.len--;
    if (line.len == 0)
        return;
    for (size_t i = 0; i < line.len; i++)
        count += line.ptr[i] == ' ';
    struct bytes *words = mem_alloc(count * sizeof(*words));
    for (uint32_t i = 0; i < count; i++) {
        const size_t len = bytes_find_u8(line, ' ');
        words[i] = bytes_of(line.ptr, len);
        line = bytes_from(line, size_min(len + 1, line.len));
    }
    parse_user(p, words, count);
    mem_free(words);
}

int acl_users_parse(const struct acl_env *env, const char *path, struct bytes text,
                    struct acl_users **out, struct buf *why)
{
    struct parser p = {.env = env, .path = path, .why = why};

    while (text.len != 0) {
        const size_t len = bytes_find_u8(text, '\n');
        parse_line(&p, bytes_of(text.ptr, len));
        text = bytes_from(text, size_min(len + 1, text.len));
    }
    if (p.wrong) {
        acl_list_deinit(&p.found);
        IGNORE_RESULT(buf_printf(why, "WARNING: ACL errors detected, no change to the previously "
                                      "active ACL rules was performed"));
        return -ERR_CONFIG;
    }
    if (acl_list_find(&p.found, BYTES_LIT("default")) == NULL) {
        struct acl_user *u = acl_user_create_default(env, 0);
        acl_user_freeze(u);
        acl_list_add(&p.found, u);
    }
    *out = acl_users_create(&p.found);
    return 0;
}

void acl_users_number(struct acl_users *users, uint64_t first_serial, uint64_t *serial)
{
    for (uint32_t i = 0; i < users->count; i++)
        users->user[i]->serial = users->user[i] == users->first ? first_serial : ++*serial;
}

int acl_users_print(const struct acl_users *users, const struct command_table *commands,
                    struct buf *out)
{
    int err = 0;

    for (uint32_t i = 0; i < users->count && err == 0; i++) {
        err = acl_print_user(users->user[i], commands, out);
        if (err == 0)
            err = buf_append_u8(out, '\n');
    }
    return err;
}
