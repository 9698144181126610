/* Replies as text. */
#include "tools/ctl/ctl_print.h"

#include <inttypes.h>

#include "tools/ctl/ctl_link.h"

void print_quoted(FILE *to, struct bytes value)
{
    (void)fputc('"', to);
    for (size_t i = 0; i < value.len; i++) {
        const uint8_t c = value.ptr[i];
        if (c >= ' ' && c < 0x7f && c != '\\' && c != '"')
            (void)fputc(c, to);
        else
            (void)fprintf(to, "\\x%02x", c);
    }
    (void)fputc('"', to);
}

/* An error may hold bytes that a client sent. */
static void print_line(const char *head, struct bytes text)
{
    (void)fputs(head, stdout);
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t c = text.ptr[i];
        (void)fputc(c >= ' ' && c < 0x7f ? c : '?', stdout);
    }
    (void)fputc('\n', stdout);
}

static void print_item(const struct item *item)
{
    switch (item->kind) {
    case ITEM_STATUS:
        print_line("", item->text);
        break;
    case ITEM_ERROR:
        print_line("(error) ", item->text);
        break;
    case ITEM_INTEGER:
        (void)printf("(integer) %" PRId64 "\n", item->number);
        break;
    case ITEM_BULK:
        print_quoted(stdout, item->text);
        (void)fputc('\n', stdout);
        break;
    case ITEM_NIL:
        (void)puts("(nil)");
        break;
    case ITEM_ARRAY:
    case ITEM_MAP:
        if (item->number == 0)
            (void)puts("(empty array)");
        break;
    default:
        break;
    }
}

bool print_reply(struct link *link, bool raw)
{
    /* For each array under way: its length and how many of its items were printed. */
    int64_t count[LINK_DEPTH_MAX + 1] = {1}, done[LINK_DEPTH_MAX + 1] = {0};
    unsigned depth = 0;
    bool fresh = true; /* At the start of a line. */
    bool good = true;
    struct item item;

    while (link_item(link, &item)) {
        good = good && item.kind != ITEM_ERROR;
        if (depth == 0 && raw && item.kind == ITEM_BULK) {
            (void)fwrite(item.text.ptr, 1, item.text.len, stdout);
            return good;
        }
        for (unsigned i = 1; i < depth && fresh; i++)
            (void)fputs("   ", stdout);
        done[depth]++;
        if (depth != 0)
            (void)printf("%" PRId64 ") ", done[depth]);
        fresh = (item.kind != ITEM_ARRAY && item.kind != ITEM_MAP) || item.number == 0;
        print_item(&item);
        if (!fresh && depth < LINK_DEPTH_MAX) {
            depth++;
            count[depth] = item.number;
            done[depth] = 0;
        }
        while (depth != 0 && done[depth] == count[depth])
            depth--;
    }
    return good;
}
