/* tierra-ctl: what its commands share. */
#ifndef TIERRA_TOOLS_CTL_CTL_H
#define TIERRA_TOOLS_CTL_CTL_H

#include <stdbool.h>

#include "engine/base/bytes.h"

#include "tools/ctl/ctl_link.h"

enum ctl_exit {
    CTL_OK = 0,
    CTL_ERROR = 1, /* The node answered with an error. */
    CTL_USAGE = 2,
    CTL_UNREACHABLE = 3, /* No connection, no answer in time, not a node. */
};

struct ctl {
    struct link link;
    struct link_address address;
    const char *user;     /* NULL: the default one. */
    const char *password; /* NULL: none. */
    bool json;
};

/* Connects and authenticates. Returns an enum ctl_exit, after a message. */
MUST_USE int ctl_connect(struct ctl *ctl);

/* Runs a command of tierra-ctl. Returns an enum ctl_exit, after a message. */
int ctl_command(struct ctl *ctl, int argc, char **argv);

/* Sends words and prints the reply. */
int ctl_exec(struct ctl *ctl, size_t argc, const struct bytes *argv);

/* A digest of INFO. */
int ctl_status(struct ctl *ctl);

/* The commands of a replication group; `argv[0]` names one of them. */
int ctl_group(struct ctl *ctl, size_t argc, const struct bytes *argv);

/* Reads commands from the terminal until its end. */
int ctl_prompt(struct ctl *ctl);

/* A line on stderr; returns `code`. */
int ctl_say(int code, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
