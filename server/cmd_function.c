/* FUNCTION and MODULE: there are neither functions nor modules, and no way to load any. */
#include "engine/base/buf.h"
#include "engine/base/err.h"

#include "server/handlers.h"
#include "server/rdb.h"
#include "server/request.h"

/* As much of a client's word as an error repeats. */
#define WORD_BYTES_MAX 896

void cmd_function_flush(struct request *rq)
{
    if (rq->argc > 3) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    if (rq->argc == 3 && !req_is(rq, 2, "SYNC") && !req_is(rq, 2, "ASYNC")) {
        reply_error(rq->out, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
        return;
    }
    reply_ok(rq->out);
}

void cmd_function_delete(struct request *rq)
{
    reply_error(rq->out, "ERR Library not found");
}

void cmd_function_kill(struct request *rq)
{
    reply_error(rq->out, "NOTBUSY No scripts in execution right now.");
}

/* FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE], each once, in any order. */
void cmd_function_list(struct request *rq)
{
    bool with_code = false;
    bool with_name = false;

    for (uint32_t i = 2; i < rq->argc; i++) {
        if (!with_code && req_is(rq, i, "WITHCODE")) {
            with_code = true;
        } else if (!with_name && req_is(rq, i, "LIBRARYNAME")) {
            with_name = true;
            if (++i == rq->argc) {
                reply_error(rq->out, "ERR library name argument was not given");
                return;
            }
        } else {
            reply_error(rq->out, "ERR Unknown argument %.*s",
                        (int)size_min(rq->argv[i].len, WORD_BYTES_MAX),
                        (const char *)rq->argv[i].ptr);
            return;
        }
    }
    reply_array(rq->out, 0);
}

/* Redis has an engine here, of Lua. */
void cmd_function_stats(struct request *rq)
{
    reply_map(rq->out, 2);
    reply_bulk_cstr(rq->out, "running_script");
    reply_null(rq->out);
    reply_bulk_cstr(rq->out, "engines");
    reply_map(rq->out, 0);
}

/* Of no function: the footer alone. */
void cmd_function_dump(struct request *rq)
{
    struct buf dump;

    buf_init(&dump, RDB_FOOTER_BYTES);
    if (rdb_write_footer(&dump) == 0)
        reply_bulk(rq->out, buf_bytes(&dump));
    else
        reply_err_oom(rq->out, NULL);
    buf_deinit(&dump);
}

void cmd_function_help(struct request *rq)
{
    static const char *const lines[] = {
        "DELETE <LIBRARY NAME>",
        "    Delete the given library.",
        "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "    Return general information on all the libraries: there are none.",
        "STATS",
        "    Return information about the current function running and the available engines:",
        "    there are none.",
        "KILL",
        "    Kill the current running function.",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all the libraries.",
        "DUMP",
        "    Return a serialized payload representing the current libraries: none.",
        NULL,
    };

    reply_help(rq->out, "FUNCTION", lines);
}

void cmd_module_list(struct request *rq)
{
    reply_array(rq->out, 0);
}

void cmd_module_help(struct request *rq)
{
    static const char *const lines[] = {
        "LIST",
        "    Return a list of loaded modules.",
        NULL,
    };

    reply_help(rq->out, "MODULE", lines);
}
