/*
 * tierra-ctl group: the commands of a replication group, as tables or JSON.
 *
 * The node is asked in RESP3, so that maps and arrays can be told apart; its reply becomes a tree,
 * which is the JSON. For people: what is a list of members or links is a table, all else is printed
 * as it is nested, a tag in one word (time+counter@member).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "tools/ctl/ctl.h"
#include "tools/ctl/ctl_print.h"

#define COLUMNS_MAX 11
#define CELL_BYTES  128

/* --- the reply as a tree --- */

/* Bytes that are no text are escaped: JSON has no others. */
static json_t *text_of(struct bytes text)
{
    char escaped[5];
    struct buf out;

    json_t *value = json_stringn(text.len == 0 ? "" : (const char *)text.ptr, text.len);
    if (value != NULL)
        return value;
    buf_init(&out, LINK_REPLY_BYTES_MAX);
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = text.ptr[i];
        const bool plain = c >= ' ' && c < 0x7f && c != '\\';
        (void)snprintf(escaped, sizeof(escaped), plain ? "%c" : "\\x%02x", c);
        IGNORE_RESULT(buf_append(&out, escaped, strlen(escaped)));
    }
    value = json_stringn((const char *)out.ptr, out.len);
    buf_deinit(&out);
    return value;
}

/* A container under way. */
struct level {
    json_t *tree;
    int64_t left;      /* Items that it lacks. */
    struct bytes name; /* Of a map, if its value is next; NULL: the name is next. */
};

static json_t *leaf_of(const struct item *item)
{
    if (item->kind == ITEM_INTEGER)
        return json_integer(item->number);
    return item->kind == ITEM_NIL ? json_null() : text_of(item->text);
}

/* Puts a value, or takes a name, into a container. */
static void put(struct level *at, const struct item *item, json_t *value)
{
    char name[CELL_BYTES];

    at->left--;
    if (json_is_array(at->tree)) {
        IGNORE_RESULT(json_array_append_new(at->tree, value));
        return;
    }
    if (at->name.ptr == NULL) {
        at->name = item->text;
        json_decref(value);
        return;
    }
    (void)snprintf(name, sizeof(name), "%.*s", (int)at->name.len, (const char *)at->name.ptr);
    IGNORE_RESULT(json_object_set_new(at->tree, name, value));
    at->name = bytes_of(NULL, 0);
}

/* What stands where a map has a name is none. */
static bool bad_name(const struct level *at, const struct item *item)
{
    return json_is_object(at->tree) && at->name.ptr == NULL && item->kind != ITEM_BULK &&
           item->kind != ITEM_STATUS;
}

/* NULL: an error, which is in `*out_error`. */
static json_t *tree_of(struct link *link, struct item *out_error)
{
    struct level level[LINK_DEPTH_MAX];
    struct item item;
    json_t *root = NULL;
    unsigned depth = 0;

    *out_error = (struct item){.kind = ITEM_NIL};
    while (link_item(link, &item)) {
        const bool map = item.kind == ITEM_MAP;
        const bool container = map || item.kind == ITEM_ARRAY;
        if (item.kind == ITEM_ERROR || (container && depth == LINK_DEPTH_MAX) ||
            (depth != 0 && bad_name(&level[depth - 1], &item))) {
            *out_error = item;
            json_decref(root);
            return NULL;
        }
        json_t *value = !container ? leaf_of(&item) : map ? json_object() : json_array();
        if (depth == 0)
            root = value;
        else
            put(&level[depth - 1], &item, value);
        if (container && item.number != 0)
            level[depth++] = (struct level){.tree = value, .left = item.number};
        while (depth != 0 && level[depth - 1].left == 0)
            depth--;
    }
    return root;
}

/* --- for people --- */

static void print_text(const char *text)
{
    for (; *text != '\0'; text++)
        (void)fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, stdout);
}

static bool is_tag(const json_t *value)
{
    return json_is_string(json_object_get(value, "time")) &&
           json_is_integer(json_object_get(value, "counter"));
}

/* A value that fits one line; false: it does not. */
static bool leaf_text(const json_t *value, char out[CELL_BYTES])
{
    const char *member = json_string_value(json_object_get(value, "member"));

    if (json_is_integer(value))
        (void)snprintf(out, CELL_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_string(value))
        (void)snprintf(out, CELL_BYTES, "%s", json_string_value(value));
    else if (json_is_null(value))
        (void)snprintf(out, CELL_BYTES, "-");
    else if (is_tag(value))
        (void)snprintf(out, CELL_BYTES, "%s+%" JSON_INTEGER_FORMAT "@%s",
                       json_string_value(json_object_get(value, "time")),
                       json_integer_value(json_object_get(value, "counter")),
                       member == NULL ? "?" : member);
    else
        return false;
    return true;
}

static void indent(unsigned depth)
{
    (void)printf("%*s", (int)(2 * depth), "");
}

/* A map in one line: an item of a list. */
static void print_row(json_t *row)
{
    char text[CELL_BYTES];
    const char *name;
    json_t *value;

    json_object_foreach(row, name, value)
    {
        if (!leaf_text(value, text)) {
            size_t i;
            json_t *part;
            (void)printf(" %s=", name);
            json_array_foreach(value, i, part)
            {
                (void)fputs(i == 0 ? "" : ",", stdout);
                print_text(leaf_text(part, text) ? text : "..");
            }
            continue;
        }
        (void)printf(" %s=", name);
        print_text(text);
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the reply, LINK_DEPTH_MAX at most. */
static void print_tree(json_t *tree, unsigned depth)
{
    char text[CELL_BYTES];
    const char *name;
    json_t *value, *item;
    size_t i;

    json_object_foreach(tree, name, value)
    {
        if (json_is_array(value) && json_array_size(value) == 0)
            continue;
        indent(depth);
        if (json_is_string(value) || leaf_text(value, text)) {
            (void)printf("%-18s ", name);
            print_text(json_is_string(value) ? json_string_value(value) : text);
            (void)fputc('\n', stdout);
            continue;
        }
        (void)printf("%s\n", name);
        if (json_is_object(value)) {
            print_tree(value, depth + 1);
            continue;
        }
        json_array_foreach(value, i, item)
        {
            indent(depth + 1);
            if (leaf_text(item, text))
                print_text(text);
            else
                print_row(item);
            (void)fputc('\n', stdout);
        }
    }
}

static void print_table(const json_t *rows, const char *const *columns)
{
    size_t width[COLUMNS_MAX];
    char text[CELL_BYTES];
    json_t *row;
    size_t i;

    for (unsigned c = 0; columns[c] != NULL; c++)
        width[c] = strlen(columns[c]);
    json_array_foreach(rows, i, row)
    {
        for (unsigned c = 0; columns[c] != NULL; c++) {
            if (leaf_text(json_object_get(row, columns[c]), text) && strlen(text) > width[c])
                width[c] = strlen(text);
        }
    }
    for (unsigned c = 0; columns[c] != NULL; c++)
        (void)printf("%-*s%s", (int)width[c], columns[c], columns[c + 1] == NULL ? "\n" : "  ");
    json_array_foreach(rows, i, row)
    {
        for (unsigned c = 0; columns[c] != NULL; c++) {
            if (!leaf_text(json_object_get(row, columns[c]), text))
                text[0] = '\0';
            (void)printf("%-*s%s", (int)width[c], text, columns[c + 1] == NULL ? "\n" : "  ");
        }
    }
}

/* --- the commands --- */

static const char *const member_columns[] = {"name",       "address",    "origin",  "member-state",
                                             "link-state", "lag-ms",     "lag-ops", "lag-bytes",
                                             "incoming",   "link-error", NULL};
static const char *const lag_columns[] = {
    "peer",   "shard",    "link",       "lag-ms", "lag-ops", "lag-bytes", "retention-left-ms",
    "rtt-ms", "incoming", "last-error", NULL};
STATIC_ASSERT(ARRAY_COUNT(member_columns) <= COLUMNS_MAX);
STATIC_ASSERT(ARRAY_COUNT(lag_columns) <= COLUMNS_MAX);

static const struct {
    const char *name;
    int args_min; /* Behind the name. */
    int args_max;
    const char *const *columns; /* Of a table; NULL: none. */
} commands[] = {
    {"status", 0, 0, NULL},        {"members", 0, 0, member_columns},
    {"lag", 0, 0, lag_columns},    {"explain", 1, 2, NULL},
    {"digest", 0, 0, NULL},        {"flush", 1, 1, NULL},
    {"force-unlink", 1, 40, NULL}, {"leave", 0, 0, NULL},
};

static int call(struct ctl *ctl, const char *proto, size_t argc, const struct bytes *argv,
                json_t **out)
{
    const struct bytes hello[] = {BYTES_LIT("HELLO"), bytes_cstr(proto)};
    struct item error;

    if (link_call(&ctl->link, ARRAY_COUNT(hello), hello) != 0 ||
        (argc != 0 && link_call(&ctl->link, argc, argv) != 0))
        return ctl_say(CTL_UNREACHABLE, "%s", ctl->link.why);
    *out = tree_of(&ctl->link, &error);
    if (*out != NULL)
        return CTL_OK;
    if (error.kind != ITEM_ERROR)
        return ctl_say(CTL_UNREACHABLE, "the reply makes no sense");
    return ctl_say(CTL_ERROR, "%.*s", (int)error.text.len, (const char *)error.text.ptr);
}

static void print(const struct ctl *ctl, json_t *tree, const char *const *columns)
{
    if (ctl->json) {
        (void)json_dumpf(tree, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY); /* main: ferror. */
        (void)fputc('\n', stdout);
    } else if (columns != NULL && json_is_array(tree)) {
        print_table(tree, columns);
    } else if (json_is_object(tree)) {
        print_tree(tree, 0);
    } else if (json_is_string(tree)) {
        (void)puts(json_string_value(tree));
    }
}

/* A digest that is none of agreement is no success. */
static int code_of(const json_t *tree)
{
    const char *result = json_string_value(json_object_get(tree, "result"));

    return result == NULL || strcmp(result, "agree") == 0 ? CTL_OK : CTL_ERROR;
}

int ctl_group(struct ctl *ctl, size_t argc, const struct bytes *argv)
{
    struct bytes words[2 + 41] = {BYTES_LIT("REPLGROUP")};
    json_t *tree = NULL, *hello = NULL;
    size_t which = 0;

    while (argc != 0 && which < ARRAY_COUNT(commands) &&
           !bytes_eq(argv[0], bytes_cstr(commands[which].name)))
        which++;
    if (argc == 0 || which == ARRAY_COUNT(commands))
        return ctl_say(CTL_USAGE, "group status, members, lag, explain KEY [ELEMENT], digest, "
                                  "flush NICKNAME, force-unlink NAME.. [FORCE] or leave");
    if (argc - 1 < (size_t)commands[which].args_min || argc - 1 > (size_t)commands[which].args_max)
        return ctl_say(CTL_USAGE, "group %s: wrong number of arguments", commands[which].name);
    for (size_t i = 0; i < argc; i++)
        words[1 + i] = argv[i];
    int code = call(ctl, "3", argc + 1, words, &tree);
    if (code == CTL_OK) {
        print(ctl, tree, commands[which].columns);
        code = code_of(tree);
    }
    json_decref(tree);
    /* For what comes next at the prompt. */
    if (code != CTL_UNREACHABLE && call(ctl, "2", 0, NULL, &hello) != CTL_OK)
        code = CTL_UNREACHABLE;
    json_decref(hello);
    return code;
}
