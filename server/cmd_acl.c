/* ACL. What users are stands in acl_user.h, how a change reaches everybody in acl.h. */
#include "engine/base/rng.h"

#include "server/acl.h"
#include "server/acl_file.h"
#include "server/acl_log.h"
#include "server/acl_text.h"
#include "server/audit.h"
#include "server/config.h"
#include "server/config_share.h"
#include "server/conn.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"

/* As much of an argument as a reply repeats. */
#define ECHO_BYTES_MAX 1024
/* The description of one user. */
#define TEXT_BYTES_MAX   ((size_t)16 << 20)
#define GENPASS_BITS     256
#define GENPASS_BITS_MAX 4096
/* Until it is looked again whether all shards have the change, or the file is free. */
#define LOOK_MS 1

static int echo(struct bytes text)
{
    return (int)size_min(text.len, ECHO_BYTES_MAX);
}

static void park(struct request *rq)
{
    rq->parked = true;
    shard_retry_after(rq->sh, rq->conn, LOOK_MS);
}

/* --- changes: on shard 0 --- */

/* True when every shard has what `c->config_ticket` stands for; else it is called again. */
static bool shared(struct request *rq)
{
    struct conn *c = rq->conn;

    if (c->config_ticket == 0)
        c->config_ticket = config_share(rq->sh->node);
    if (!config_shared(rq->sh->node, c->config_ticket)) {
        park(rq);
        return false;
    }
    c->config_ticket = 0;
    return true;
}

struct fault {
    struct bytes rule;
    enum acl_fault fault;
    char text[ECHO_BYTES_MAX]; /* Of the rule, which goes with its words. */
};

/* The first that is wrong. */
static void on_bad_rule(void *ctx, struct bytes rule, enum acl_fault fault)
{
    struct fault *f = ctx;

    if (f->fault != ACL_FAULT_NONE)
        return;
    f->fault = fault;
    f->rule = bytes_of(f->text, size_min(rule.len, sizeof(f->text)));
    memcpy(f->text, rule.ptr, f->rule.len);
}

/* The user with the rules of the arguments, or NULL: the error was replied. */
static struct acl_user *changed_user(struct request *rq, struct bytes name)
{
    struct node *node = rq->sh->node;
    const struct acl_env env = acl_env_of(rq->sh);
    const struct acl_user *old = acl_users_find(node->users, name);
    struct acl_user *u =
        old != NULL ? acl_user_copy(old) : acl_user_create(&env, name, acl_next_serial(node));
    struct fault fault = {.fault = ACL_FAULT_NONE};
    const struct acl_rules rules = {
        .words = rq->argv + 3, .count = rq->argc - 3, .bad = on_bad_rule, .ctx = &fault};
    uint32_t open = 0;

    if (!acl_user_rules(u, &env, &rules, &open)) {
        const struct bytes word = rules.words[open];
        reply_error(rq->out, "ERR Unmatched parenthesis in acl selector starting at '%.*s'.",
                    echo(word), (const char *)word.ptr);
    } else if (fault.fault != ACL_FAULT_NONE) {
        reply_error(rq->out, "ERR Error in ACL SETUSER modifier '%.*s': %s", echo(fault.rule),
                    (const char *)fault.rule.ptr, acl_fault_text(fault.fault));
    } else {
        acl_user_freeze(u);
        return u;
    }
    acl_user_unref(u);
    return NULL;
}

static bool set_user(struct request *rq)
{
    struct node *node = rq->sh->node;
    const struct bytes name = rq->argv[2];

    if (!acl_name_ok(name)) {
        reply_error(rq->out, "ERR Usernames can't contain spaces or null characters");
        return false;
    }
    struct acl_user *u = changed_user(rq, name);
    if (u == NULL)
        return false;
    struct acl_users *users = acl_users_with(node->users, u);
    if (users == NULL) {
        acl_user_unref(u);
        reply_error(rq->out, "ERR there are %u users already", ACL_USERS_MAX);
        return false;
    }
    audit_note(rq->conn, "ACL SETUSER", name, "ok");
    acl_adopt(node, users);
    return true;
}

void cmd_acl_setuser(struct request *rq)
{
    if (rq->conn->config_ticket == 0 && !set_user(rq))
        return;
    if (shared(rq))
        reply_ok(rq->out);
}

static bool names_default(struct request *rq)
{
    for (uint32_t i = 2; i < rq->argc; i++) {
        if (bytes_eq(rq->argv[i], BYTES_LIT("default")))
            return true;
    }
    return false;
}

/* How many of them were there. */
static uint64_t delete_users(struct request *rq)
{
    struct node *node = rq->sh->node;
    struct acl_users *users = acl_users_ref(node->users);
    uint64_t count = 0;

    for (uint32_t i = 2; i < rq->argc; i++) {
        if (acl_users_find(users, rq->argv[i]) == NULL)
            continue;
        struct acl_users *less = acl_users_without(users, rq->argv[i]);
        audit_note(rq->conn, "ACL DELUSER", rq->argv[i], "ok");
        acl_users_unref(users);
        users = less;
        count++;
    }
    acl_adopt(node, users);
    return count;
}

void cmd_acl_deluser(struct request *rq)
{
    struct conn *c = rq->conn;

    if (c->config_ticket == 0) {
        if (names_default(rq)) {
            reply_error(rq->out, "ERR The 'default' user cannot be removed");
            return;
        }
        c->acl_deleted = delete_users(rq);
    }
    if (shared(rq))
        reply_u64(rq->out, c->acl_deleted);
}

static void file_command(struct request *rq, bool save)
{
    struct conn *c = rq->conn;
    struct bytes why;

    if (rq->sh->cfg->aclfile[0] == '\0') {
        reply_error(rq->out,
                    "ERR This Redis instance is not configured to use an ACL file. You may want to "
                    "specify users via the ACL SETUSER command and then issue a CONFIG REWRITE "
                    "(assuming you have a Redis configuration file set) in order to store users in "
                    "the Redis configuration.");
        return;
    }
    if (c->acl_job == NULL && !acl_file_start(c, save)) {
        park(rq);
        return;
    }
    if (!acl_file_done(c->acl_job, &why)) {
        park(rq);
        return;
    }
    if (why.len != 0) {
        reply_error(rq->out, "ERR %.*s", (int)why.len, (const char *)why.ptr);
    } else {
        audit_note(c, save ? "ACL SAVE" : "ACL LOAD", BYTES_LIT(""), "ok");
        reply_ok(rq->out);
    }
    acl_file_drop(c);
    acl_close_doomed(c);
}

void cmd_acl_load(struct request *rq)
{
    file_command(rq, false);
}

void cmd_acl_save(struct request *rq)
{
    file_command(rq, true);
}

/* --- what there is --- */

void cmd_acl_whoami(struct request *rq)
{
    reply_bulk(rq->out, acl_user_name(rq->conn->user));
}

void cmd_acl_users(struct request *rq)
{
    const struct acl_users *users = rq->sh->users;

    reply_array(rq->out, users->count);
    for (uint32_t i = 0; i < users->count; i++)
        reply_bulk(rq->out, acl_user_name(users->user[i]));
}

/* A text that does not fit into memory fails the reply. */
static void reply_text(struct request *rq, int err, const struct buf *text)
{
    if (err != 0)
        rq->out->failed = true;
    else
        reply_bulk(rq->out, buf_bytes(text));
}

void cmd_acl_list(struct request *rq)
{
    const struct acl_users *users = rq->sh->users;
    struct buf text;

    buf_init(&text, TEXT_BYTES_MAX);
    reply_array(rq->out, users->count);
    for (uint32_t i = 0; i < users->count; i++) {
        buf_clear(&text);
        reply_text(rq, acl_print_user(users->user[i], rq->sh->commands, &text), &text);
    }
    buf_deinit(&text);
}

/* Three fields. */
static void reply_selector(struct request *rq, const struct acl_selector *s)
{
    struct buf text;

    buf_init(&text, TEXT_BYTES_MAX);
    reply_bulk_cstr(rq->out, "commands");
    reply_text(rq, acl_print_commands(s, rq->sh->commands, &text), &text);
    buf_clear(&text);
    reply_bulk_cstr(rq->out, "keys");
    reply_text(rq, acl_print_keys(s, &text), &text);
    buf_clear(&text);
    reply_bulk_cstr(rq->out, "channels");
    reply_text(rq, acl_print_channels(s, &text), &text);
    buf_deinit(&text);
}

struct flags_reply {
    struct reply *out;
    uint64_t count;
};

static void reply_flag(void *ctx, const char *flag)
{
    struct flags_reply *f = ctx;

    reply_bulk_cstr(f->out, flag);
    f->count++;
}

static void reply_passwords(struct request *rq, const struct acl_user *u)
{
    struct buf text;

    buf_init(&text, 4 * ACL_HASH_BYTES);
    reply_array(rq->out, u->passwords.count);
    for (uint32_t i = 0; i < u->passwords.count; i++) {
        buf_clear(&text);
        reply_text(rq, acl_print_hash(&u->passwords.item[i], &text), &text);
    }
    buf_deinit(&text);
}

void cmd_acl_getuser(struct request *rq)
{
    const struct acl_user *u = acl_users_find(rq->sh->users, rq->argv[2]);
    struct flags_reply flags = {.out = rq->out};

    if (u == NULL) {
        reply_null(rq->out);
        return;
    }
    reply_map(rq->out, 6);
    reply_bulk_cstr(rq->out, "flags");
    const struct reply_mark mark = reply_deferred_begin(rq->out, 2);
    acl_each_flag(u, reply_flag, &flags);
    reply_deferred_set(rq->out, mark, flags.count);
    reply_bulk_cstr(rq->out, "passwords");
    reply_passwords(rq, u);
    reply_selector(rq, u->selectors[0]);
    reply_bulk_cstr(rq->out, "selectors");
    reply_array(rq->out, u->selectors_count - 1);
    for (uint32_t i = 1; i < u->selectors_count; i++) {
        reply_map(rq->out, 3);
        reply_selector(rq, u->selectors[i]);
    }
}

/* --- categories, passwords --- */

static void list_categories(struct request *rq)
{
    reply_array(rq->out, ACL_CATEGORIES_COUNT);
    for (unsigned i = 0; i < ACL_CATEGORIES_COUNT; i++)
        reply_bulk_cstr(rq->out, command_acl_category_name(i));
}

void cmd_acl_cat(struct request *rq)
{
    const struct command_table *commands = rq->sh->commands;
    uint64_t n = 0;

    if (rq->argc > 3) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    if (rq->argc == 2) {
        list_categories(rq);
        return;
    }
    const uint32_t category = command_acl_category(rq->argv[2]);
    if (category == 0) {
        reply_error(rq->out, "ERR Unknown category '%.*s'", (int)size_min(rq->argv[2].len, 128),
                    (const char *)rq->argv[2].ptr);
        return;
    }
    const struct reply_mark mark = reply_deferred_begin(rq->out, 100);
    for (uint32_t i = 0; i < command_count(commands); i++) {
        const struct cmd *cmd = command_at(commands, i);
        if ((cmd->acl & category) == 0)
            continue;
        reply_bulk_cstr(rq->out, cmd->name);
        n++;
    }
    reply_deferred_array(rq->out, mark, n);
}

void cmd_acl_genpass(struct request *rq)
{
    uint8_t random[GENPASS_BITS_MAX / 8];
    int64_t bits = GENPASS_BITS;

    if (rq->argc > 3) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    if (rq->argc == 3 && !req_i64(rq, 2, &bits))
        return;
    if (bits <= 0 || bits > GENPASS_BITS_MAX) {
        reply_error(rq->out,
                    "ERR ACL GENPASS argument must be the number of bits for the output password, "
                    "a positive number up to %d",
                    GENPASS_BITS_MAX);
        return;
    }
    if (rng_os_bytes(random, sizeof(random)) != 0) {
        reply_error(rq->out, "ERR no random numbers from the kernel");
        return;
    }
    const size_t digits = (size_t)(bits + 3) / 4;
    uint8_t *text = reply_bulk_space(rq->out, digits);
    for (size_t i = 0; text != NULL && i < digits; i++)
        text[i] = (uint8_t) "0123456789abcdef"[random[i / 2] >> (i % 2 * 4) & 15];
}

/* --- LOG --- */

struct log_reply {
    struct request *rq;
    bool stamped; /* Behind the number of the entry, for who joins the logs of all shards. */
};

static void reply_entry(void *ctx, const struct acl_log_entry *e)
{
    static const char *const reasons[] = {[ACL_LOG_COMMAND] = "command",
                                          [ACL_LOG_KEY] = "key",
                                          [ACL_LOG_CHANNEL] = "channel",
                                          [ACL_LOG_AUTH] = "auth"};
    const struct log_reply *l = ctx;
    struct reply *r = l->rq->out;
    const uint64_t now_ms = reactor_wall_ms(l->rq->sh->reactor);

    if (l->stamped) {
        reply_array(r, 2);
        reply_u64(r, e->number);
    }
    reply_map(r, 7);
    reply_bulk_cstr(r, "count");
    reply_u64(r, e->count);
    reply_bulk_cstr(r, "reason");
    reply_bulk_cstr(r, reasons[e->reason]);
    reply_bulk_cstr(r, "context");
    reply_bulk_cstr(r, e->multi ? "multi" : "toplevel");
    reply_bulk_cstr(r, "object");
    reply_bulk(r, e->object);
    reply_bulk_cstr(r, "username");
    reply_bulk(r, e->user);
    reply_bulk_cstr(r, "age-seconds");
    reply_double(r, (double)(now_ms - u64_min(now_ms, e->at_ms)) / 1000);
    reply_bulk_cstr(r, "client-info");
    reply_bulk(r, buf_bytes(&e->client));
}

/* With several shards every one runs it, by an agent. */
void cmd_acl_log(struct request *rq)
{
    const struct acl_log *log = rq->sh->acl_log;
    struct log_reply l = {.rq = rq, .stamped = rq->conn->is_agent};
    int64_t count = ACL_LOG_SHOWN_DEFAULT;

    if (rq->argc > 3) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    if (rq->argc == 3 && req_is(rq, 2, "RESET")) {
        acl_log_reset(rq->sh->acl_log);
        reply_ok(rq->out);
        return;
    }
    if (rq->argc == 3 && !req_i64(rq, 2, &count))
        return;
    const uint64_t n = u64_min(acl_log_count(log), (uint64_t)i64_max(count, 0));
    reply_array(rq->out, n);
    acl_log_each(log, n, reply_entry, &l);
}

/* --- DRYRUN --- */

static void reply_verdict(struct request *rq, const struct cmd *cmd, struct acl_verdict v)
{
    const struct bytes arg = rq->argv[3 + v.arg];

    switch (v.result) {
    case ACL_OK:
        reply_ok(rq->out);
        return;
    case ACL_DENIED_CMD:
        reply_bulk_printf(rq->out, "This user has no permissions to run the '%s' command",
                          cmd->name);
        return;
    case ACL_DENIED_KEY:
    case ACL_DENIED_CHANNEL:
        reply_bulk_printf(rq->out, "This user has no permissions to access the '%.*s' %s",
                          echo(arg), (const char *)arg.ptr,
                          v.result == ACL_DENIED_KEY ? "key" : "channel");
        return;
    }
}

void cmd_acl_dryrun(struct request *rq)
{
    const struct acl_user *u = acl_users_find(rq->sh->users, rq->argv[2]);
    const uint32_t argc = rq->argc - 3;
    const struct bytes *argv = rq->argv + 3;

    if (u == NULL) {
        reply_error(rq->out, "ERR User '%.*s' not found", echo(rq->argv[2]),
                    (const char *)rq->argv[2].ptr);
        return;
    }
    const struct cmd *cmd = command_resolve(rq->sh->commands, argc, argv, NULL);
    if (cmd == NULL) {
        reply_error(rq->out, "ERR Command '%.*s' not found", echo(argv[0]),
                    (const char *)argv[0].ptr);
        return;
    }
    if (!command_arity_ok(cmd, argc)) {
        reply_err_arity(rq->out, cmd->name);
        return;
    }
    reply_verdict(rq, cmd, acl_check(u, cmd, argc, argv, &rq->sh->keys));
}

void cmd_acl_help(struct request *rq)
{
    static const char *const lines[] = {
        "CAT [<category>]",
        "    List all commands that belong to <category>, or all command categories",
        "    when no category is specified.",
        "DELUSER <username> [<username> ...]",
        "    Delete a list of users.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Returns whether the user can execute the given command without executing the command.",
        "GETUSER <username>",
        "    Get the user's details.",
        "GENPASS [<bits>]",
        "    Generate a secure 256-bit user password. The optional `bits` argument can",
        "    be used to specify a different size.",
        "LIST",
        "    Show users details in config file format.",
        "LOAD",
        "    Reload users from the ACL file.",
        "LOG [<count> | RESET]",
        "    Show the ACL log entries.",
        "SAVE",
        "    Save the current config to the ACL file.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Create or modify a user with the specified attributes.",
        "USERS",
        "    List all the registered usernames.",
        "WHOAMI",
        "    Return the current connection username.",
        NULL,
    };

    reply_help(rq->out, "ACL", lines);
}
