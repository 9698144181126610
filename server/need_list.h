/*
 * Which elements of a list a command needs in DRAM.
 *
 * A list may be resident at its ends only. What a command needs of it follows from its arguments
 * and the length of the list, so it is asked for when the key row is there.
 */
#ifndef TIERRA_SERVER_NEED_LIST_H
#define TIERRA_SERVER_NEED_LIST_H

#include <stdint.h>

#include "engine/base/bytes.h"

#include "server/command.h"

struct coll;

/* The first `front` and the last `back` elements. */
struct list_need {
    uint64_t front;
    uint64_t back;
};

/*
 * What `cmd` needs of the list `coll` at the key of specification `spec`. `slack`: elements that
 * commands before it in the same transaction push and pop: what it names may have moved by so many.
 */
struct list_need list_need(const struct cmd *cmd, uint32_t spec, uint32_t argc,
                           const struct bytes *argv, const struct coll *coll, uint64_t slack);

/* Elements that a call of the command pushes and pops, for the slack of those behind it. */
uint64_t list_need_moved(const struct cmd *cmd, uint32_t argc, const struct bytes *argv);

#endif
