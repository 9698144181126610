/*
 * COMMAND from the table.
 *
 * The arguments of a command are described in the table as one text, here with two of SET's:
 *
 *     key|k#0 condition|o?@2.6.12(nx|t=NX xx|t=XX)
 *
 * Items are separated by blanks. An item is: name | type, and then any of #key-spec-index,
 * ? optional, + multiple, * multiple token, @since, !deprecated-since, =token; one of type o (one
 * of) or b (block) ends with its own items in parentheses. Types: s string, i integer, d double,
 * k key, p pattern, u unix time, t pure token.
 */
#include "server/command_docs.h"

#include <string.h>

#include "engine/base/check.h"

#include "server/command.h"
#include "server/glob.h"
#include "server/reply.h"

/* Parentheses within parentheses. */
#define ARGS_DEPTH_MAX 8

static const char *const cmd_flag_names[] = {
#define NAME(name, text) text,
    CMD_FLAGS(NAME)
#undef NAME
};

static const char *const key_flag_names[] = {
#define NAME(name, text) text,
    CMD_KEY_FLAGS(NAME)
#undef NAME
};

static const char *const group_names[] = {
#define NAME(name, text) text,
    CMD_GROUPS(NAME)
#undef NAME
};

/* The names of the bits that are set, as a set of simple strings. Empty names are not shown. */
static void reply_flags(struct reply *r, uint32_t flags, const char *const *names, size_t count)
{
    const struct reply_mark mark = reply_deferred_begin(r, 2);
    uint64_t shown = 0;

    for (size_t i = 0; i < count; i++) {
        if ((flags & (1u << i)) == 0 || names[i][0] == '\0')
            continue;
        reply_status(r, names[i]);
        shown++;
    }
    reply_deferred_set(r, mark, shown);
}

/* --- Lists of lines --- */

/* Cuts the first line off `*text`; false if there is none left. */
static bool next_line(const char **text, struct bytes *out)
{
    if (*text == NULL || **text == '\0')
        return false;
    const char *end = strchrnul(*text, '\n');
    *out = bytes_of(*text, (size_t)(end - *text));
    *text = *end == '\0' ? end : end + 1;
    return true;
}

static void reply_tips(struct reply *r, const char *tips)
{
    const struct reply_mark mark = reply_deferred_begin(r, 0);
    uint64_t count = 0;
    struct bytes line;

    for (; next_line(&tips, &line); count++)
        reply_bulk(r, line);
    reply_deferred_set(r, mark, count);
}

/* Lines of a version and a text. */
static void reply_history(struct reply *r, const char *history)
{
    const struct reply_mark mark = reply_deferred_begin(r, 1);
    uint64_t count = 0;
    struct bytes line;

    for (; next_line(&history, &line); count++) {
        const size_t blank = bytes_find_u8(line, ' ');
        CHECK(blank < line.len);
        reply_array(r, 2);
        reply_bulk(r, bytes_of(line.ptr, blank));
        reply_bulk(r, bytes_from(line, blank + 1));
    }
    reply_deferred_set(r, mark, count);
}

/* --- Arguments --- */

struct arg_item {
    struct bytes name;
    struct bytes token;
    struct bytes since;
    struct bytes deprecated_since;
    const char *type;
    uint32_t flags;
    int key_spec; /* -1: none */
    bool nested;
};

static const char *arg_type(char letter)
{
    switch (letter) {
    case 's':
        return "string";
    case 'i':
        return "integer";
    case 'd':
        return "double";
    case 'k':
        return "key";
    case 'p':
        return "pattern";
    case 'u':
        return "unix-time";
    case 't':
        return "pure-token";
    case 'o':
        return "oneof";
    case 'b':
        return "block";
    default:
        UNREACHABLE();
    }
}

/* The part of `*at` made of (or, with `until`, up to one of) the characters; moves `*at` past it.
 */
static struct bytes arg_span(const char **at, const char *characters, bool until)
{
    const size_t len = until ? strcspn(*at, characters) : strspn(*at, characters);
    const struct bytes part = bytes_of(*at, len);

    *at += len;
    return part;
}

/* Reads the item at `*at` up to what separates it from the next. */
static struct arg_item arg_parse(const char **at)
{
    static const char version[] = "0123456789.";
    struct arg_item item = {.key_spec = -1};

    item.name = arg_span(at, "|", true);
    CHECK(**at == '|');
    item.type = arg_type((*at)[1]);
    *at += 2;
    for (;;) {
        const char c = **at;
        if (c == '\0' || c == ' ' || c == ')' || c == '(') {
            item.nested = c == '(';
            return item;
        }
        *at += 1;
        if (c == '#')
            item.key_spec = *(*at)++ - '0';
        else if (c == '@')
            item.since = arg_span(at, version, false);
        else if (c == '!')
            item.deprecated_since = arg_span(at, version, false);
        else if (c == '=')
            item.token = arg_span(at, " ()", true);
        else if (c == '?')
            item.flags |= 1u << 0;
        else if (c == '+')
            item.flags |= 1u << 1;
        else if (c == '*')
            item.flags |= 1u << 2;
        else
            UNREACHABLE();
    }
}

static void reply_text_pair(struct reply *r, const char *name, struct bytes value)
{
    if (value.len == 0)
        return;
    reply_bulk_cstr(r, name);
    reply_bulk(r, value);
}

static void reply_arg(struct reply *r, const struct arg_item *item)
{
    static const char *const names[] = {"optional", "multiple", "multiple_token"};

    reply_map(r, 2u + (item->key_spec >= 0) + (item->token.ptr != NULL) + (item->since.len != 0) +
                     (item->deprecated_since.len != 0) + (item->flags != 0) + item->nested);
    reply_text_pair(r, "name", item->name);
    reply_text_pair(r, "type", bytes_cstr(item->type));
    if (item->key_spec >= 0) {
        reply_bulk_cstr(r, "key_spec_index");
        reply_i64(r, item->key_spec);
    }
    if (item->token.ptr != NULL) {
        /* It may be empty. */
        reply_bulk_cstr(r, "token");
        reply_bulk(r, item->token);
    }
    reply_text_pair(r, "since", item->since);
    reply_text_pair(r, "deprecated_since", item->deprecated_since);
    if (item->flags != 0) {
        reply_bulk_cstr(r, "flags");
        reply_flags(r, item->flags, names, ARRAY_COUNT(names));
    }
}

static void reply_args(struct reply *r, const char *args)
{
    struct reply_mark marks[ARGS_DEPTH_MAX];
    uint64_t counts[ARGS_DEPTH_MAX];
    size_t depth = 0;

    marks[0] = reply_deferred_begin(r, 1);
    counts[0] = 0;
    while (*args != '\0') {
        if (*args == ')') {
            CHECK(depth > 0);
            reply_deferred_array(r, marks[depth], counts[depth]);
            depth--;
        }
        if (*args == ')' || *args == ' ') {
            args++;
            continue;
        }
        const struct arg_item item = arg_parse(&args);
        reply_arg(r, &item);
        counts[depth]++;
        if (item.nested) {
            args++;
            depth++;
            CHECK(depth < ARGS_DEPTH_MAX);
            reply_bulk_cstr(r, "arguments");
            marks[depth] = reply_deferred_begin(r, 2);
            counts[depth] = 0;
        }
    }
    CHECK(depth == 0);
    reply_deferred_array(r, marks[0], counts[0]);
}

/* --- COMMAND INFO --- */

static void reply_number_pair(struct reply *r, const char *name, int64_t value)
{
    reply_bulk_cstr(r, name);
    reply_i64(r, value);
}

/* "type" and its name, "spec" and the start of a map of `n`. */
static void reply_spec_head(struct reply *r, const char *name, const char *type, uint64_t n)
{
    reply_bulk_cstr(r, name);
    reply_map(r, 2);
    reply_bulk_cstr(r, "type");
    reply_bulk_cstr(r, type);
    reply_bulk_cstr(r, "spec");
    reply_map(r, n);
}

static void reply_key_spec(struct reply *r, const struct cmd_key_spec *spec)
{
    reply_map(r, spec->notes == NULL ? 3 : 4);
    if (spec->notes != NULL)
        reply_text_pair(r, "notes", bytes_cstr(spec->notes));
    reply_bulk_cstr(r, "flags");
    reply_flags(r, spec->flags, key_flag_names, ARRAY_COUNT(key_flag_names));
    if (spec->begin == KEY_BEGIN_KEYWORD ||
        (spec->begin == KEY_BEGIN_MIGRATE && spec->keyword != NULL)) {
        reply_spec_head(r, "begin_search", "keyword", 2);
        reply_text_pair(r, "keyword", bytes_cstr(spec->keyword));
        reply_number_pair(r, "startfrom", spec->index);
    } else if (spec->begin == KEY_BEGIN_UNKNOWN) {
        reply_spec_head(r, "begin_search", "unknown", 0);
    } else {
        reply_spec_head(r, "begin_search", "index", 1);
        reply_number_pair(r, "index", spec->index);
    }
    if (spec->find == KEY_FIND_RANGE) {
        reply_spec_head(r, "find_keys", "range", 3);
        reply_number_pair(r, "lastkey", spec->last);
        reply_number_pair(r, "keystep", spec->step);
        reply_number_pair(r, "limit", spec->limit);
    } else if (spec->find == KEY_FIND_NUM) {
        reply_spec_head(r, "find_keys", "keynum", 3);
        reply_number_pair(r, "keynumidx", spec->num_index);
        reply_number_pair(r, "firstkey", spec->num_first);
        reply_number_pair(r, "keystep", spec->step);
    } else {
        reply_spec_head(r, "find_keys", "unknown", 0);
    }
}

static void reply_acl(struct reply *r, uint32_t acl)
{
    const struct reply_mark mark = reply_deferred_begin(r, 3);
    uint64_t count = 0;

    for (unsigned i = 0; i < ACL_CATEGORIES_COUNT; i++) {
        char name[32] = "@";
        if ((acl & (1u << i)) == 0)
            continue;
        (void)strncat(name, command_acl_category_name(i), sizeof(name) - 2);
        reply_status(r, name);
        count++;
    }
    reply_deferred_set(r, mark, count);
}

/* All of the entry but its last element, the subcommands. */
static void reply_info_head(struct reply *r, const struct cmd *cmd)
{
    reply_array(r, 10);
    reply_bulk_cstr(r, cmd->name);
    reply_i64(r, cmd->arity);
    reply_flags(r, cmd->flags, cmd_flag_names, ARRAY_COUNT(cmd_flag_names));
    reply_i64(r, cmd->key_first);
    reply_i64(r, cmd->key_last);
    reply_i64(r, cmd->key_step);
    reply_acl(r, cmd->acl);
    reply_tips(r, cmd->doc->tips);
    reply_set(r, cmd->key_specs_count);
    for (uint8_t i = 0; i < cmd->key_specs_count; i++)
        reply_key_spec(r, &cmd->key_specs[i]);
}

/* Subcommands stand behind their container, up to the next command that is none of them. */
static const struct cmd *next_sub(const struct command_table *table, const struct cmd *container,
                                  const struct cmd *sub)
{
    uint32_t id = (sub == NULL ? container->id : sub->id) + 1u;

    for (; id < command_count(table) && command_at(table, id)->parent == container->id; id++) {
        if (command_is_here(command_at(table, id)))
            return command_at(table, id);
    }
    return NULL;
}

static bool is_top(const struct cmd *cmd)
{
    return cmd->parent == CMD_NONE && command_is_here(cmd);
}

/* NULL: there is none of that name here. */
static const struct cmd *find_shown(const struct command_table *table, struct bytes name)
{
    const struct cmd *cmd = command_lookup_full(table, name);

    return cmd != NULL && command_is_here(cmd) ? cmd : NULL;
}

static void reply_info_one(struct reply *r, const struct command_table *table,
                           const struct cmd *cmd)
{
    if (cmd == NULL) {
        reply_null(r);
        return;
    }
    reply_info_head(r, cmd);
    if ((cmd->flags & CMD_CONTAINER) == 0) {
        reply_set(r, 0);
        return;
    }
    const struct reply_mark mark = reply_deferred_begin(r, 9);
    uint64_t count = 0;
    for (const struct cmd *sub = next_sub(table, cmd, NULL); sub != NULL;
         sub = next_sub(table, cmd, sub)) {
        reply_info_head(r, sub);
        reply_set(r, 0);
        count++;
    }
    reply_deferred_array(r, mark, count);
}

/* How many there are beside the subcommands. */
static uint64_t count_top(const struct command_table *table)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < command_count(table); i++)
        count += is_top(command_at(table, i));
    return count;
}

void command_reply_info(struct reply *r, const struct command_table *table, uint32_t argc,
                        const struct bytes *argv)
{
    if (argc > 2) {
        reply_array(r, argc - 2);
        for (uint32_t i = 2; i < argc; i++)
            reply_info_one(r, table, find_shown(table, argv[i]));
        return;
    }
    reply_array(r, count_top(table));
    for (uint32_t i = 0; i < command_count(table); i++) {
        const struct cmd *cmd = command_at(table, i);
        if (is_top(cmd))
            reply_info_one(r, table, cmd);
    }
}

/* --- COMMAND DOCS --- */

static void reply_cstr_pair(struct reply *r, const char *name, const char *value)
{
    if (value != NULL)
        reply_text_pair(r, name, bytes_cstr(value));
}

/* The pairs of one command but for its subcommands. */
static void reply_docs_head(struct reply *r, const struct cmd *cmd)
{
    const struct cmd_doc *doc = cmd->doc;
    const bool flags = doc->syscmd || doc->deprecated_since != NULL;

    reply_map(r, 1u + (doc->summary != NULL) + (doc->since != NULL) + (doc->complexity != NULL) +
                     flags + (doc->deprecated_since != NULL) + (doc->replaced_by != NULL) +
                     (doc->history != NULL) + (doc->args != NULL) +
                     ((cmd->flags & CMD_CONTAINER) != 0));
    reply_cstr_pair(r, "summary", doc->summary);
    reply_cstr_pair(r, "since", doc->since);
    reply_cstr_pair(r, "group", group_names[doc->group]);
    reply_cstr_pair(r, "complexity", doc->complexity);
    if (flags) {
        static const char *const names[] = {"deprecated", "syscmd"};
        const uint32_t bits = (doc->deprecated_since != NULL ? 1u : 0) | (doc->syscmd ? 2u : 0);
        reply_bulk_cstr(r, "doc_flags");
        reply_flags(r, bits, names, ARRAY_COUNT(names));
    }
    reply_cstr_pair(r, "deprecated_since", doc->deprecated_since);
    reply_cstr_pair(r, "replaced_by", doc->replaced_by);
    if (doc->history != NULL) {
        reply_bulk_cstr(r, "history");
        reply_history(r, doc->history);
    }
    if (doc->args != NULL) {
        reply_bulk_cstr(r, "arguments");
        reply_args(r, doc->args);
    }
}

static void reply_docs_one(struct reply *r, const struct command_table *table,
                           const struct cmd *cmd)
{
    reply_bulk_cstr(r, cmd->name);
    reply_docs_head(r, cmd);
    if ((cmd->flags & CMD_CONTAINER) == 0)
        return;
    reply_bulk_cstr(r, "subcommands");
    const struct reply_mark mark = reply_deferred_begin(r, 4);
    uint64_t count = 0;
    for (const struct cmd *sub = next_sub(table, cmd, NULL); sub != NULL;
         sub = next_sub(table, cmd, sub)) {
        reply_bulk_cstr(r, sub->name);
        reply_docs_head(r, sub);
        count++;
    }
    reply_deferred_map(r, mark, count);
}

void command_reply_docs(struct reply *r, const struct command_table *table, uint32_t argc,
                        const struct bytes *argv)
{
    const struct reply_mark mark = reply_deferred_begin(r, argc > 2 ? argc - 2 : 100);
    uint64_t count = 0;

    for (uint32_t i = 2; i < argc; i++) {
        const struct cmd *cmd = find_shown(table, argv[i]);
        if (cmd == NULL)
            continue;
        reply_docs_one(r, table, cmd);
        count++;
    }
    for (uint32_t i = 0; argc <= 2 && i < command_count(table); i++) {
        const struct cmd *cmd = command_at(table, i);
        if (!is_top(cmd))
            continue;
        reply_docs_one(r, table, cmd);
        count++;
    }
    reply_deferred_map(r, mark, count);
}

/* --- The rest --- */

void command_reply_count(struct reply *r, const struct command_table *table)
{
    reply_u64(r, count_top(table));
}

/* What FILTERBY asks for. */
enum list_filter {
    LIST_ALL,
    LIST_MODULE,
    LIST_ACL,
    LIST_PATTERN
};

static bool list_shows(const struct cmd *cmd, enum list_filter filter, struct bytes arg)
{
    switch (filter) {
    case LIST_ALL:
        return command_is_here(cmd);
    case LIST_MODULE: /* There are none. */
        return false;
    case LIST_ACL: /* What a rule about the category is about, as ACL CAT has it. */
        return (cmd->acl & command_acl_category(arg)) != 0;
    case LIST_PATTERN:
        return command_is_here(cmd) && glob_match(arg, bytes_cstr(cmd->name), true);
    }
    UNREACHABLE();
}

void command_reply_list(struct reply *r, const struct command_table *table, uint32_t argc,
                        const struct bytes *argv)
{
    enum list_filter filter = LIST_ALL;
    struct bytes arg = {0};
    uint64_t count = 0;

    if (argc > 2) {
        if (argc != 5 || !bytes_eq_nocase(argv[2], "filterby")) {
            reply_err_syntax(r);
            return;
        }
        if (bytes_eq_nocase(argv[3], "module")) {
            filter = LIST_MODULE;
        } else if (bytes_eq_nocase(argv[3], "aclcat")) {
            filter = LIST_ACL;
        } else if (bytes_eq_nocase(argv[3], "pattern")) {
            filter = LIST_PATTERN;
        } else {
            reply_err_syntax(r);
            return;
        }
        arg = argv[4];
    }
    const struct reply_mark mark = reply_deferred_begin(r, 100);
    for (uint32_t i = 0; i < command_count(table); i++) {
        const struct cmd *cmd = command_at(table, i);
        if (!list_shows(cmd, filter, arg))
            continue;
        reply_bulk_cstr(r, cmd->name);
        count++;
    }
    reply_deferred_array(r, mark, count);
}

/* As Redis: what has no word where keys of its begin is refused, though it can be run (PFMERGE). */
static bool has_all_places(const struct cmd *cmd, uint32_t argc)
{
    for (uint32_t i = 0; i < cmd->key_specs_count; i++) {
        const struct cmd_key_spec *spec = &cmd->key_specs[i];
        if (spec->begin == KEY_BEGIN_INDEX && spec->index >= (int64_t)argc)
            return false;
    }
    return true;
}

void command_reply_getkeys(struct reply *r, const struct command_table *table, uint32_t argc,
                           const struct bytes *argv, bool with_flags)
{
    const uint32_t call_argc = argc - 2;
    const struct bytes *call = argv + 2;
    const struct cmd *cmd = command_resolve(table, call_argc, call, NULL);
    struct cmd_keys keys;

    if (cmd == NULL) {
        reply_error(r, "ERR Invalid command specified");
        return;
    }
    if (cmd->key_specs_count == 0 || (cmd->key_specs[0].flags & KEY_NOT_KEY) != 0) {
        reply_error(r, "ERR The command has no key arguments");
        return;
    }
    if (!command_arity_ok(cmd, call_argc)) {
        reply_error(r, "ERR Invalid number of arguments specified for command");
        return;
    }
    cmd_keys_init(&keys);
    const bool found = has_all_places(cmd, call_argc) &&
                       command_keys(cmd, call_argc, call, &keys) == 0 && keys.count != 0;
    if (!found && (cmd->flags & CMD_NO_MANDATORY_KEYS) == 0) {
        reply_error(r, "ERR Invalid arguments specified for command");
    } else {
        reply_array(r, keys.count);
        for (uint32_t i = 0; i < keys.count; i++) {
            if (with_flags)
                reply_array(r, 2);
            reply_bulk(r, call[keys.key[i].pos]);
            if (with_flags)
                reply_flags(r, keys.key[i].flags, key_flag_names, ARRAY_COUNT(key_flag_names));
        }
    }
    cmd_keys_deinit(&keys);
}

void command_reply_help(struct reply *r)
{
    static const char *const lines[] = {
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full Redis command.",
        NULL,
    };

    reply_help(r, "COMMAND", lines);
}
