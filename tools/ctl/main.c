/*
 * tierra-ctl: the operator's client. Options, and the commands that are thin.
 *
 * Exit codes: 0 done, 1 the node answered with an error or members do not agree, 2 usage, 3 no
 * connection or no answer.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/num.h"

#include "tools/ctl/ctl.h"
#include "tools/ctl/ctl_print.h"

#define TIMEOUT_MS_DEFAULT 5000
#define TIMEOUT_MS_MAX     3600000
#define WORDS_MAX          4096

int ctl_say(int code, const char *format, ...)
{
    va_list args;

    (void)fputs("tierra-ctl: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    return code;
}

static void print_help(void)
{
    puts("Usage: tierra-ctl [OPTION...] [COMMAND [ARGUMENT...]]\n"
         "\n"
         "Talks to a running node. Without a command on a terminal: a prompt.\n"
         "\n"
         "  -h HOST          (127.0.0.1)\n"
         "  -p PORT          (6379)\n"
         "  -s SOCKET        a Unix socket instead\n"
         "  -u USER          with -a\n"
         "  -a PASSWORD      better: the environment variable TIERRA_AUTH\n"
         "  -t SECONDS       to wait for a connection or a reply (5)\n"
         "  --json           for status and group\n"
         "  --help\n"
         "\n"
         "Commands:\n"
         "  status                    a digest of INFO\n"
         "  info [SECTION]\n"
         "  config get PATTERN | config set NAME VALUE\n"
         "  save                      takes a checkpoint and waits for it\n"
         "  shutdown [nosave|save]\n"
         "  ping\n"
         "  group status | members | lag\n"
         "  group explain KEY [FIELD | MEMBER | INDEX]    why that value won\n"
         "  group digest              whether all members hold the same (0: they agree; give -t "
         "time)\n"
         "  group flush NICKNAME | force-unlink NAME.. [FORCE] | leave\n"
         "  exec COMMAND [ARGUMENT...]\n"
         "\n"
         "Exit status: 0 done, 1 an error reply, 2 usage, 3 no connection or no reply.");
}

int ctl_exec(struct ctl *ctl, size_t argc, const struct bytes *argv)
{
    if (link_call(&ctl->link, argc, argv) != 0)
        return ctl_say(CTL_UNREACHABLE, "%s", ctl->link.why);
    return print_reply(&ctl->link, false) ? CTL_OK : CTL_ERROR;
}

int ctl_connect(struct ctl *ctl)
{
    struct bytes words[3] = {BYTES_LIT("AUTH")};
    size_t count = 1;
    struct item item;

    if (link_open(&ctl->link, &ctl->address) != 0)
        return ctl_say(CTL_UNREACHABLE, "%s", ctl->link.why);
    if (ctl->password == NULL)
        return CTL_OK;
    if (ctl->user != NULL)
        words[count++] = bytes_cstr(ctl->user);
    words[count++] = bytes_cstr(ctl->password);
    if (link_call(&ctl->link, count, words) != 0)
        return ctl_say(CTL_UNREACHABLE, "%s", ctl->link.why);
    if (link_item(&ctl->link, &item) && item.kind == ITEM_ERROR)
        return ctl_say(CTL_ERROR, "%.*s", (int)item.text.len, (const char *)item.text.ptr);
    return CTL_OK;
}

static int run_info(struct ctl *ctl, size_t argc, const struct bytes *argv)
{
    if (link_call(&ctl->link, argc, argv) != 0)
        return ctl_say(CTL_UNREACHABLE, "%s", ctl->link.why);
    return print_reply(&ctl->link, true) ? CTL_OK : CTL_ERROR;
}

/* A node that ends closes the connection instead of answering. */
static int run_shutdown(struct ctl *ctl, size_t argc, const struct bytes *argv)
{
    if (link_call(&ctl->link, argc, argv) == 0)
        return print_reply(&ctl->link, false) ? CTL_OK : CTL_ERROR;
    if (strstr(ctl->link.why, "the connection ended") != NULL)
        return CTL_OK;
    return ctl_say(CTL_UNREACHABLE, "%s", ctl->link.why);
}

int ctl_command(struct ctl *ctl, int argc, char **argv)
{
    static struct bytes words[WORDS_MAX];
    const char *name = argv[0];

    if (argc > WORDS_MAX)
        return ctl_say(CTL_USAGE, "more than %d words", WORDS_MAX);
    for (int i = 0; i < argc; i++)
        words[i] = bytes_cstr(argv[i]);
    const size_t count = (size_t)argc;
    if (strcmp(name, "status") == 0 && argc == 1)
        return ctl_status(ctl);
    if (strcmp(name, "group") == 0)
        return ctl_group(ctl, count - 1, words + 1);
    if (strcmp(name, "info") == 0)
        return run_info(ctl, count, words);
    if (strcmp(name, "shutdown") == 0)
        return run_shutdown(ctl, count, words);
    if (strcmp(name, "exec") == 0 && argc > 1)
        return ctl_exec(ctl, count - 1, words + 1);
    if (strcmp(name, "config") == 0 || strcmp(name, "save") == 0 || strcmp(name, "ping") == 0)
        return ctl_exec(ctl, count, words);
    return ctl_say(CTL_USAGE, "unknown command %s; see tierra-ctl --help", name);
}

static bool parse_timeout(const char *text, uint32_t *out)
{
    double seconds;

    if (!num_parse_double(bytes_cstr(text), &seconds) || seconds <= 0 ||
        seconds * 1000 > TIMEOUT_MS_MAX) {
        (void)ctl_say(CTL_USAGE, "-t takes seconds, at most %d", TIMEOUT_MS_MAX / 1000);
        return false;
    }
    *out = (uint32_t)(seconds * 1000) + 1;
    return true;
}

static int parse(struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'H'}, {NULL, 0, NULL, 0}};
    int c;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    while ((c = getopt_long(argc, argv, "+h:p:s:u:a:t:", options, NULL)) != -1) {
        if (c == 'h')
            ctl->address.host = optarg;
        else if (c == 'p')
            ctl->address.port = optarg;
        else if (c == 's')
            ctl->address.socket = optarg;
        else if (c == 'u')
            ctl->user = optarg;
        else if (c == 'a')
            ctl->password = optarg;
        else if (c == 'j')
            ctl->json = true;
        else if (c == 'H')
            return -1;
        else if (c != 't' || !parse_timeout(optarg, &ctl->address.timeout_ms))
            return CTL_USAGE;
    }
    return CTL_OK;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {
        .address = {.host = "127.0.0.1", .port = "6379", .timeout_ms = TIMEOUT_MS_DEFAULT}};

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    ctl.password = getenv("TIERRA_AUTH");
    int code = parse(&ctl, argc, argv);
    if (code < 0) {
        print_help();
        return CTL_OK;
    }
    if (code != CTL_OK)
        return code;
    if (optind == argc && (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0))
        return ctl_say(CTL_USAGE, "which command? see tierra-ctl --help");
    code = ctl_connect(&ctl);
    if (code == CTL_OK)
        code = optind == argc ? ctl_prompt(&ctl) : ctl_command(&ctl, argc - optind, argv + optind);
    link_close(&ctl.link);
    if (fflush(stdout) != 0 || ferror(stdout) != 0)
        return ctl_say(CTL_UNREACHABLE, "cannot write the output");
    return code;
}
