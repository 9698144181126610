/*
 * tierra-server: arguments, signals, run. Everything else is in node.c.
 *
 * Exit codes: 0 clean stop, 2 configuration, 3 data, 4 disk, 5 address, 6 data directory in use.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"

#include "server/config.h"
#include "server/config_hooks.h"
#include "server/node.h"

#define WHY_BYTES 2048

/* The handler can reach nothing else. */
static struct node *volatile running;

static void on_signal(int sig)
{
    (void)sig;
    if (running != NULL)
        node_signal(running);
}

static void install_signals(void)
{
    struct sigaction act = {.sa_handler = on_signal};

    (void)sigemptyset(&act.sa_mask);
    (void)sigaction(SIGTERM, &act, NULL);
    (void)sigaction(SIGINT, &act, NULL);
    act.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &act, NULL);
    (void)sigaction(SIGXFSZ, &act, NULL); /* A limit of the file size is an error of a write. */
    (void)sigaction(SIGHUP, &act, NULL);
}

static void print_help(void)
{
    puts("Usage: tierra-server [FILE] [--DIRECTIVE VALUE...]...\n"
         "\n"
         "A Redis-protocol storage node for flash. FILE has redis.conf syntax; directives on the\n"
         "command line override it. Runs in the foreground; SIGTERM stops it cleanly,\n"
         "a second one at once; nothing is lost by that.\n"
         "\n"
         "  --port N          TCP port (6379)\n"
         "  --dir DIR         data directory (.)\n"
         "  --maxmemory SIZE  DRAM of the process, for example 256mb\n"
         "  --maxflash SIZE   flash of the data directory\n"
         "  --version, --help\n"
         "\n"
         "All directives: tierra.conf. Example: tierra-server --port 6380 --dir /var/lib/tierra");
}

static void notice(void *ctx, const char *text)
{
    (void)ctx;
    LOG_NOTICE("config", "%s", text);
}

static int fail(const char *why, int code)
{
    (void)fprintf(stderr, "tierra-server: %s\n", why);
    return code;
}

/* Each signal ends the process at once from now on: there is nothing left to be closed. */
static void leave_signals(void)
{
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGINT, SIG_DFL);
}

/* `*anew`: the program is to start again. */
static int run(struct config *cfg, bool *anew)
{
    char why[WHY_BYTES] = "";
    struct node *node = NULL;

    int code = node_open(cfg, &node, why, sizeof(why));
    if (code == NODE_EXIT_OK) {
        running = node;
        install_signals();
        code = node_run(node, why, sizeof(why));
    }
    if (code != NODE_EXIT_OK)
        (void)fail(why, code);
    const int end = node_close(node);
    if (node->begins_anew)
        leave_signals();
    *anew = node_begins_anew(node);
    running = NULL;
    node_free(node);
    LOG_NOTICE("server", "bye code=%d", code != NODE_EXIT_OK ? code : end);
    return code != NODE_EXIT_OK ? code : end;
}

int main(int argc, char **argv)
{
    struct config_error err;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-v") == 0) {
            puts("tierra-server " TIERRA_VERSION);
            return 0;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return 0;
        }
    }
    struct config *cfg = config_create();
    if (config_load(cfg, argc - 1, (const char *const *)argv + 1, &err) != 0) {
        config_destroy(cfg);
        return fail(err.text, NODE_EXIT_CONFIG);
    }
    if (log_init(config_log_level(cfg), cfg->logfile[0] == '\0' ? NULL : cfg->logfile) != 0) {
        config_destroy(cfg);
        return fail("cannot open logfile", NODE_EXIT_CONFIG);
    }
    config_notices(cfg, notice, NULL);
    bool anew = false;
    const int code = run(cfg, &anew);
    config_destroy(cfg);
    log_close();
    if (anew && code == NODE_EXIT_OK) {
        (void)execv("/proc/self/exe", argv);
        return fail("cannot start again as a new member; start it", NODE_EXIT_CONFIG);
    }
    return code;
}
