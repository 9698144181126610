/* The users of a node; acl.h tells how a change reaches everybody. */
#include "server/acl.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"

#include "server/acl_log.h"
#include "server/acl_text.h"
#include "server/audit.h"
#include "server/client_line.h"
#include "server/config.h"
#include "server/conn.h"
#include "server/dispatch.h"
#include "server/forward.h"
#include "server/node.h"
#include "server/pubsub.h"
#include "server/shard.h"
#include "server/txn.h"
#include "server/words.h"

/* Of a file, of an error, of the text of one user. */
#define FILE_BYTES_MAX ((size_t)64 << 20)
#define WHY_BYTES_MAX  4096u
#define TEXT_BYTES_MAX ((size_t)16 << 20)

/* --- the node --- */

static struct acl_env env_of(const struct node *node)
{
    return (struct acl_env){.commands = node->commands,
                            .all_channels = node->cfg->acl_pubsub_default == CHANNELS_ALL};
}

struct acl_env acl_env_of(const struct shard *sh)
{
    return (struct acl_env){.commands = sh->commands,
                            .all_channels = sh->cfg->acl_pubsub_default == CHANNELS_ALL};
}

uint64_t acl_next_serial(struct node *node)
{
    return ++node->acl_serial;
}

void acl_adopt(struct node *node, struct acl_users *take_users)
{
    acl_users_unref(node->users);
    node->users = take_users;
    if (node->shards[0] != NULL)
        acl_follow(node->shards[0], acl_users_ref(take_users));
}

bool acl_set_requirepass(struct node *node, const char *password)
{
    struct acl_user *u = acl_user_copy(node->users->first);

    if (!acl_user_set_password(u, bytes_cstr(password))) {
        acl_user_unref(u);
        return false;
    }
    acl_user_freeze(u);
    struct acl_users *users = acl_users_with(node->users, u);
    CHECK(users != NULL); /* It takes the place of another. */
    acl_adopt(node, users);
    return true;
}

void acl_path(const struct node *node, char *out, size_t out_len)
{
    const char *path = node->cfg->aclfile;
    const bool relative = path[0] != '\0' && path[0] != '/';

    (void)snprintf(out, out_len, "%s%s%s", relative ? node->cfg->dir : "", relative ? "/" : "",
                   path);
}

/* As the start makes it: with requirepass. NULL: there is no SHA-256. */
static struct acl_user *plain_user(const struct node *node, uint64_t serial)
{
    const struct acl_env env = env_of(node);
    struct acl_user *u = acl_user_create_default(&env, serial);

    if (acl_user_set_password(u, bytes_cstr(node->cfg->requirepass)))
        return u;
    acl_user_unref(u);
    return NULL;
}

/* No file needs the users: there is the default one, as the start and requirepass make it. */
static bool is_plain(const struct node *node)
{
    struct acl_user *plain = node->users->count == 1 ? plain_user(node, 0) : NULL;
    struct buf is, would;

    if (plain == NULL)
        return false;
    buf_init(&is, TEXT_BYTES_MAX);
    buf_init(&would, TEXT_BYTES_MAX);
    const bool same = acl_print_user(node->users->first, node->commands, &is) == 0 &&
                      acl_print_user(plain, node->commands, &would) == 0 &&
                      bytes_eq(buf_bytes(&is), buf_bytes(&would));
    buf_deinit(&is);
    buf_deinit(&would);
    acl_user_unref(plain);
    return same;
}

/* A configuration file takes quotes in words, an ACL file does not. */
static MUST_USE int print_quoted(struct bytes line, struct buf *out)
{
    int err = 0;

    while (line.len != 0 && err == 0) {
        const struct bytes word = bytes_of(line.ptr, bytes_find_u8(line, ' '));
        line = bytes_from(line, size_min(word.len + 1, line.len));
        err = words_quoted(word) ? words_quote(out, word) : buf_append_bytes(out, word);
        if (err == 0)
            err = buf_append_u8(out, line.len == 0 ? '\n' : ' ');
    }
    return err;
}

int acl_print_directives(void *ctx, bool asked, struct buf *out)
{
    const struct node *node = ctx;

    if (node->cfg->aclfile[0] != '\0' || (!asked && is_plain(node)))
        return 0;
    struct buf lines;
    buf_init(&lines, FILE_BYTES_MAX);
    int err = acl_users_print(node->users, node->commands, &lines);
    struct bytes left = buf_bytes(&lines);
    while (left.len != 0 && err == 0) {
        const size_t len = bytes_find_u8(left, '\n');
        err = print_quoted(bytes_of(left.ptr, len), out);
        left = bytes_from(left, size_min(len + 1, left.len));
    }
    buf_deinit(&lines);
    return err;
}

/* --- the start --- */

struct start {
    const struct config_user *from;
    char *why;
    size_t why_len;
    bool wrong;
};

/* The first that is wrong. A password is not repeated. */
static void on_bad_rule(void *ctx, struct bytes rule, enum acl_fault fault)
{
    struct start *s = ctx;
    const struct bytes name = s->from->words[0];
    const uint8_t sign = rule.ptr[0];
    const bool secret = sign == '>' || sign == '<' || sign == '#' || sign == '!';

    if (s->wrong)
        return;
    s->wrong = true;
    (void)snprintf(
        s->why, s->why_len, "%s: Error loading ACL rule '%.*s' for the user named '%.*s': %s",
        s->from->place, secret ? 1 : (int)size_min(rule.len, 128), (const char *)rule.ptr,
        (int)size_min(name.len, 128), (const char *)name.ptr, acl_fault_text(fault));
}

static int add_configured(struct node *node, const struct config_user *from, struct acl_list *list,
                          char *why, size_t why_len)
{
    const struct acl_env env = env_of(node);
    struct start s = {.from = from, .why = why, .why_len = why_len};
    const struct acl_rules rules = {
        .words = from->words + 1, .count = from->count - 1, .bad = on_bad_rule, .ctx = &s};
    uint32_t open;

    if (!acl_name_ok(from->words[0])) {
        (void)snprintf(why, why_len, "%s: Spaces not allowed in ACL usernames", from->place);
        return -ERR_CONFIG;
    }
    struct acl_user *u = acl_user_create(&env, from->words[0], acl_next_serial(node));
    acl_list_add(list, u);
    if (!acl_user_rules(u, &env, &rules, &open)) {
        (void)snprintf(why, why_len, "%s: Unmatched parenthesis in acl selector", from->place);
        s.wrong = true;
    }
    acl_user_freeze(u);
    if (s.wrong)
        return -ERR_CONFIG;
    if (!u->enabled)
        LOG_NOTICE("acl", "user is disabled: there is no 'on' in its rules at=%s", from->place);
    return 0;
}

/* The directives `user`; the default user, if it is not among them, as requirepass makes it. */
static int open_configured(struct node *node, char *why, size_t why_len)
{
    const struct config_users *from = &node->cfg->users;
    struct acl_list list = {0};
    int err = 0;

    for (uint32_t i = 0; i < from->count && err == 0; i++)
        err = add_configured(node, &from->user[i], &list, why, why_len);
    if (err == 0 && acl_list_find(&list, BYTES_LIT("default")) == NULL) {
        struct acl_user *u = plain_user(node, acl_next_serial(node));
        if (u == NULL) {
            (void)snprintf(why, why_len, "requirepass: %s", acl_fault_text(ACL_FAULT_NO_SHA256));
            err = -ERR_CONFIG;
        } else {
            acl_user_freeze(u);
            acl_list_add(&list, u);
        }
    }
    if (err == 0)
        node->users = acl_users_create(&list);
    acl_list_deinit(&list);
    return err;
}

static int open_file(struct node *node, const char *path, char *why, size_t why_len)
{
    const struct acl_env env = env_of(node);
    struct buf text, reason;

    buf_init(&text, FILE_BYTES_MAX);
    buf_init(&reason, WHY_BYTES_MAX);
    int err = file_read_all(path, &text);
    if (err != 0) {
        (void)snprintf(why, why_len, "Error loading ACLs, opening file '%s': %s", path,
                       err_str(err));
        err = -ERR_CONFIG;
    } else {
        err = acl_users_parse(&env, path, buf_bytes(&text), &node->users, &reason);
        if (err != 0)
            (void)snprintf(why, why_len, "Aborting startup because of ACL errors: %.*s",
                           (int)reason.len, (const char *)reason.ptr);
    }
    buf_deinit(&text);
    buf_deinit(&reason);
    if (err == 0)
        acl_users_number(node->users, acl_next_serial(node), &node->acl_serial);
    return err;
}

int acl_open(struct node *node, char *why, size_t why_len)
{
    char path[PATH_MAX];

    acl_path(node, path, sizeof(path));
    if (path[0] == '\0')
        return open_configured(node, why, why_len);
    if (node->cfg->users.count != 0) {
        (void)snprintf(why, why_len,
                       "aclfile and the directive user (%s) exclude each other: declare users in "
                       "one of the two places",
                       node->cfg->users.user[0].place);
        return -ERR_CONFIG;
    }
    if (node->cfg->requirepass[0] != '\0')
        LOG_WARN("acl", "requirepass is ignored: aclfile says who may log in");
    return open_file(node, path, why, why_len);
}

void acl_close(struct node *node)
{
    acl_users_unref(node->users);
    node->users = NULL;
}

/* --- connections --- */

/* Part of its command has happened: a refusal would stand within its reply, or leave a ticket. */
static bool has_begun(const struct conn *c)
{
    return c->stream != NULL || c->block != NULL || c->acl_job != NULL || c->waited ||
           (c->config_ticket | c->save_ticket | c->digest_ticket) != 0;
}

static void set_gate(struct conn *c)
{
    const bool out = c->doomed || (!c->authenticated && !acl_users_open(c->sh->users));

    c->allowed = c->allowed || has_begun(c);
    const bool was_out = (c->gate & ACL_GATE_AUTH) != 0;
    c->gate = (uint8_t)((out ? ACL_GATE_AUTH : 0) | (c->user->unrestricted ? 0 : ACL_GATE_USER));
    if (out != was_out)
        conn_follow_limits(c);
}

static void set_user(struct conn *c, struct acl_user *user)
{
    if (c->user != user) {
        acl_user_unref(c->user);
        c->user = acl_user_ref(user);
    }
    set_gate(c);
}

void acl_greet(struct conn *c)
{
    c->authenticated = acl_users_open(c->sh->users);
    set_user(c, c->sh->users->first);
}

void acl_forget(struct conn *c)
{
    acl_user_unref(c->user);
    c->user = NULL;
}

/* Nobody's from now on. Closed at once, or behind the reply of what it has under way. */
static void doom(struct conn *c)
{
    c->doomed = true;
    /* It goes on with the user that it has: what it waits for is ACL LOAD. */
    if (c->acl_job != NULL)
        return;
    c->authenticated = false;
    set_user(c, c->sh->users->first);
    if (c->now != NULL)
        conn_close_after_reply(c);
    else if (!forward_pending(c) || c->fw->blocking)
        conn_close(c);
}

void acl_close_doomed(struct conn *c)
{
    if (unlikely(c->doomed) && !forward_pending(c))
        conn_close_after_reply(c);
}

static bool hears_forbidden(const struct conn *c, const struct acl_user *user)
{
    for (int kind = 0; kind < PUBSUB_KINDS_COUNT; kind++) {
        LIST_FOR_EACH(link, &c->pubsub->subs[kind]) {
            const struct pubsub_topic *topic = LIST_ITEM(link, struct pubsub_sub, conn_link)->topic;
            if (!acl_channel_ok(user, pubsub_name(topic), kind == PUBSUB_PATTERN))
                return true;
        }
    }
    return false;
}

/* The user of the same name that is the same one, not one made anew. NULL: it is gone. */
static struct acl_user *successor(const struct acl_users *users, const struct acl_user *user)
{
    struct acl_user *now = acl_users_find(users, acl_user_name(user));

    return now != NULL && now->serial == user->serial ? now : NULL;
}

static void follow(struct conn *c, const struct acl_users *users)
{
    struct acl_user *now = successor(users, c->user);

    if (now == NULL || (now != c->user && pubsub_listens(c) && acl_channels_lost(c->user, now) &&
                        hears_forbidden(c, now)))
        doom(c);
    else
        set_user(c, now);
}

void acl_follow(struct shard *sh, struct acl_users *take_users)
{
    struct acl_users *before = sh->users;

    sh->users = take_users;
    LIST_FOR_EACH_SAFE(link, &sh->conns)
        follow(LIST_ITEM(link, struct conn, link), take_users);
    acl_users_unref(before);
}

void acl_take(struct conn *c, const struct conn *agent)
{
    struct acl_user *now = successor(c->sh->users, agent->user);

    c->authenticated = agent->authenticated;
    if (now == NULL)
        doom(c);
    else
        set_user(c, now);
}

void acl_lend(struct conn *agent, const struct conn *c)
{
    agent->authenticated = true;
    agent->doomed = false;
    if (agent->user != c->user) {
        acl_user_unref(agent->user);
        agent->user = acl_user_ref(c->user);
    }
    agent->gate = c->gate & ACL_GATE_USER;
}

/* --- denials --- */

static void note(struct conn *c, enum acl_log_reason reason, struct bytes object, struct bytes user)
{
    struct shard *sh = c->sh;
    const struct acl_log_entry e = {
        .reason = reason,
        .multi = txn_active(c),
        .number = atomic_fetch_add_explicit(&sh->node->next_denial, 1, memory_order_relaxed),
        .at_ms = reactor_wall_ms(sh->reactor),
        .object = object,
        .user = user};
    struct buf line;

    buf_init(&line, CLIENT_LINE_BYTES_MAX);
    client_line(c, c, e.at_ms, &line);
    /* Without the end of the line. */
    acl_log_add(sh->acl_log, &e, bytes_of(line.ptr, line.len - (line.len != 0)),
                (uint64_t)sh->cfg->acllog_max_len);
    buf_deinit(&line);
}

bool acl_login(struct conn *c, struct bytes command, struct bytes name, struct bytes password)
{
    struct acl_user *user = acl_users_find(c->sh->users, name);

    if (user == NULL || !acl_user_accepts(user, password)) {
        note(c, ACL_LOG_AUTH, command, name);
        return false;
    }
    c->authenticated = true;
    set_user(c, user);
    return true;
}

static void note_denied(struct conn *c, const struct cmd *cmd, const struct bytes *argv,
                        struct acl_verdict v)
{
    static const enum acl_log_reason reasons[] = {
        [ACL_DENIED_CMD] = ACL_LOG_COMMAND,
        [ACL_DENIED_KEY] = ACL_LOG_KEY,
        [ACL_DENIED_CHANNEL] = ACL_LOG_CHANNEL,
    };

    c->last_cmd = cmd; /* As if it had run, for the description of the client. */
    note(c, reasons[v.result], v.arg == 0 ? bytes_cstr(cmd->name) : argv[v.arg],
         acl_user_name(c->user));
}

bool acl_admits(struct conn *c, const struct cmd *cmd, uint32_t argc, const struct bytes *argv)
{
    if ((c->gate & ACL_GATE_AUTH) != 0 && (cmd->flags & CMD_NO_AUTH) == 0) {
        reply_err_noauth(&c->out);
        dispatch_reject(c, cmd);
        return false;
    }
    /* What is not possible within MULTI is refused as that. */
    if ((c->gate & ACL_GATE_USER) == 0 || (txn_active(c) && (cmd->flags & CMD_NO_MULTI) != 0))
        return true;
    const struct acl_verdict v = acl_check(c->user, cmd, argc, argv, &c->sh->keys);
    if (v.result == ACL_OK)
        return true;
    note_denied(c, cmd, argv, v);
    if ((cmd->flags & CMD_ADMIN) != 0)
        audit_note(c, "command", bytes_cstr(cmd->name), "denied");
    if (v.result == ACL_DENIED_CMD)
        reply_err_noperm_cmd(&c->out, cmd->name);
    else if (v.result == ACL_DENIED_KEY)
        reply_err_noperm_key(&c->out);
    else
        reply_err_noperm_channel(&c->out);
    dispatch_reject(c, cmd);
    return false;
}

bool acl_admits_queued(struct conn *c, const struct txn_cmd *q)
{
    static const char *const reasons[] = {
        [ACL_DENIED_CMD] = "no permission to execute the command or subcommand",
        [ACL_DENIED_KEY] = "no permission to touch the specified keys",
        [ACL_DENIED_CHANNEL] = "no permission to access one of the channels used as arguments",
    };

    if (likely((c->gate & ACL_GATE_USER) == 0))
        return true;
    const struct acl_verdict v = acl_check(c->user, q->cmd, q->argc, q->argv, &c->sh->keys);
    if (v.result == ACL_OK)
        return true;
    note_denied(c, q->cmd, q->argv, v);
    reply_error(&c->out,
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and "
                "the EXEC call. This command is no longer allowed for the following reason: %s",
                reasons[v.result]);
    return false;
}
