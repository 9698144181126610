/*
 * The prompt of tierra-ctl: lines from the terminal, by libedit, split into words.
 *
 * Words are divided by blanks; "double quotes" keep blanks and know \" \\ \n \r \t \xNN, 'single
 * quotes' keep everything but \'.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <editline/readline.h>

#include "engine/base/buf.h"

#include "tools/ctl/ctl.h"

#define WORDS_MAX 256

static int hex_of(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, ascii_lower((uint8_t)c));

    return at == NULL ? -1 : (int)(at - digits);
}

/* The character after a backslash in double quotes; returns how many were taken. */
static size_t unescape(const char *at, uint8_t *out)
{
    static const char names[] = "nrt", values[] = "\n\r\t";
    const char *name = strchr(names, at[0]);

    if (at[0] == 'x' && hex_of(at[1]) >= 0 && hex_of(at[2]) >= 0) {
        *out = (uint8_t)(hex_of(at[1]) * 16 + hex_of(at[2]));
        return 3;
    }
    *out = (uint8_t)(at[0] != '\0' && name != NULL ? values[name - names] : at[0]);
    return at[0] == '\0' ? 0 : 1;
}

/* One word at `*at`, which moves behind it. False: a quote is not closed. */
static bool take_word(const char **at, struct buf *out)
{
    const char *p = *at;
    char quote = '\0';

    for (; *p != '\0' && (quote != '\0' || (*p != ' ' && *p != '\t')); p++) {
        uint8_t c = (uint8_t)*p;
        if (quote == '\0' && (c == '"' || c == '\'')) {
            quote = *p;
            continue;
        }
        if (quote != '\0' && *p == quote) {
            quote = '\0';
            continue;
        }
        if (quote == '"' && c == '\\')
            p += unescape(p + 1, &c);
        else if (quote == '\'' && c == '\\' && p[1] == '\'')
            c = (uint8_t) * ++p;
        if (buf_append_u8(out, c) != 0)
            return false;
    }
    *at = p;
    return quote == '\0';
}

/* The words of a line, ends of words as offsets into `text`. -1: a quote is not closed. */
static int split(const char *line, struct buf *text, size_t ends[WORDS_MAX])
{
    int count = 0;

    buf_clear(text);
    for (;;) {
        while (*line == ' ' || *line == '\t')
            line++;
        if (*line == '\0')
            return count;
        if (count == WORDS_MAX || !take_word(&line, text))
            return -1;
        ends[count++] = text->len;
        /* Words of our own commands are C strings. */
        if (buf_append_u8(text, 0) != 0)
            return -1;
    }
}

static bool is_own(const char *word)
{
    return strcmp(word, "status") == 0 || strcmp(word, "exec") == 0;
}

static void run_line(struct ctl *ctl, struct buf *text, const size_t *ends, int count)
{
    struct bytes words[WORDS_MAX];
    char *own[WORDS_MAX];
    size_t begin = 0;

    for (int i = 0; i < count; i++) {
        words[i] = bytes_of(text->ptr + begin, ends[i] - begin);
        own[i] = (char *)text->ptr + begin;
        begin = ends[i] + 1;
    }
    if (ctl->link.fd < 0 && ctl_connect(ctl) != CTL_OK)
        return;
    const int code =
        is_own(own[0]) ? ctl_command(ctl, count, own) : ctl_exec(ctl, (size_t)count, words);
    if (code == CTL_UNREACHABLE)
        link_close(&ctl->link); /* The next line connects anew. */
}

int ctl_prompt(struct ctl *ctl)
{
    static size_t ends[WORDS_MAX];
    char prompt[128];
    struct buf text;
    char *line;

    (void)snprintf(prompt, sizeof(prompt), "%.100s> ",
                   ctl->address.socket != NULL ? ctl->address.socket : ctl->address.host);
    buf_init(&text, 1u << 20);
    while ((line = readline(prompt)) != NULL) {
        const int count = split(line, &text, ends);
        if (count > 0) {
            IGNORE_RESULT(add_history(line));
            run_line(ctl, &text, ends, count);
        } else if (count < 0) {
            (void)ctl_say(CTL_USAGE, "a quote is not closed, or too many words");
        }
        const bool quit = count == 1 && (strcmp(line, "quit") == 0 || strcmp(line, "exit") == 0);
        free(line); /* tidy: allow free, the library allocated it */
        if (quit)
            break;
    }
    buf_deinit(&text);
    return CTL_OK;
}
