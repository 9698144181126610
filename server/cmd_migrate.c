/* MIGRATE: its arguments, and how it begins; migrate.h tells how it goes on. */
#include "engine/base/mem.h"

#include "server/conn.h"
#include "server/forward.h"
#include "server/handlers.h"
#include "server/migrate_impl.h"
#include "server/request.h"
#include "server/shard.h"

/* As Redis: what is not above 0. */
#define TIMEOUT_DEFAULT_MS 1000
/* Ten years. */
#define TIMEOUT_MAX_MS 315360000000

static bool parse_options(struct request *rq, struct migrate_args *a)
{
    for (uint32_t i = 6; i < rq->argc; i++) {
        const uint32_t more = rq->argc - 1 - i;

        if (req_is(rq, i, "copy")) {
            a->copy = true;
        } else if (req_is(rq, i, "replace")) {
            a->replace = true;
        } else if (req_is(rq, i, "auth") && more >= 1) {
            a->password = ++i;
        } else if (req_is(rq, i, "auth2") && more >= 2) {
            a->user = ++i;
            a->password = ++i;
        } else if (req_is(rq, i, "keys") && bytes_empty(rq->argv[3])) {
            a->first = i + 1;
            a->keys = more;
            return true;
        } else if (req_is(rq, i, "keys")) {
            reply_error(rq->out, "ERR When using MIGRATE KEYS option, the key argument must be set "
                                 "to the empty string");
            return false;
        } else {
            reply_err_syntax(rq->out);
            return false;
        }
    }
    return true;
}

/* False after an error reply. */
static bool parse(struct request *rq, struct migrate_args *a)
{
    *a = (struct migrate_args){.first = 3, .keys = 1};
    if (!parse_options(rq, a) || !req_i64(rq, 5, &a->timeout_ms) || !req_i64(rq, 4, &a->db))
        return false;
    if (a->timeout_ms <= 0)
        a->timeout_ms = TIMEOUT_DEFAULT_MS;
    a->timeout_ms = i64_min(a->timeout_ms, TIMEOUT_MAX_MS);
    return true;
}

/* Those of the keys that are there. */
static void take_keys(struct request *rq, struct migrate *m)
{
    struct obj *obj;

    for (uint32_t i = m->args.first; i < m->args.first + m->args.keys; i++) {
        const struct ks_key key = ks_key_of(rq->argv[i], ks_seed(rq->ks));
        if (ks_find(rq->ks, &key, rq->now_ms, &obj, NULL) != KS_ABSENT)
            m->keys[m->count++].arg = i;
    }
}

/* AUTH and SELECT. */
static int greet(struct request *rq, struct migrate *m)
{
    const struct migrate_args *a = &m->args;
    struct buf *out = migrate_link_head(m->target);
    char db[NUM_I64_BYTES];
    int err = 0;

    if (a->password != 0) {
        err = migrate_put_array(out, a->user != 0 ? 3 : 2);
        if (err == 0)
            err = migrate_put_arg(out, BYTES_LIT("AUTH"));
        if (err == 0 && a->user != 0)
            err = migrate_put_arg(out, rq->argv[a->user]);
        if (err == 0)
            err = migrate_put_arg(out, rq->argv[a->password]);
        m->greetings++;
    }
    if (err == 0)
        err = migrate_put_array(out, 2);
    if (err == 0)
        err = migrate_put_arg(out, BYTES_LIT("SELECT"));
    if (err == 0)
        err = migrate_put_arg(out, bytes_of(db, num_print_i64(db, a->db)));
    m->greetings++;
    return err;
}

/* False: a reply was given. */
static bool begin(struct request *rq)
{
    struct conn *c = rq->conn;
    struct shard *sh = rq->sh;
    struct migrate_args args;

    if (!parse(rq, &args))
        return false;
    struct migrate *m = mem_try_zalloc(sizeof(*m) + (size_t)args.keys * sizeof(m->keys[0]));
    if (m == NULL) {
        reply_err_oom(rq->out, "so many keys do not fit into memory; name fewer at a time");
        return false;
    }
    m->sh = sh;
    m->conn = c;
    m->args = args;
    take_keys(rq, m);
    const bool gone = c->is_agent && forward_abandoned(c);
    if (m->count == 0 || gone || sh->migrates.count == MIGRATES_MAX) {
        if (m->count == 0)
            REPLY_RAW(rq->out, "+NOKEY\r\n");
        else
            reply_error(rq->out, "ERR %u MIGRATEs are under way already; try again", MIGRATES_MAX);
        mem_free(m);
        return false;
    }
    c->migrate = m;
    sh->migrates.count++;
    list_push_back(&sh->migrates.all, &m->link);
    migrate_link_open(m, rq->argv[1], rq->argv[2]);
    if (greet(rq, m) != 0) {
        migrate_fail(m, "ERR the name or the password is too long to be sent");
        m->over = true;
    }
    return true;
}

/*
 * MIGRATE host port key|"" destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 name
 * password] [KEYS key ..]
 */
void cmd_migrate(struct request *rq)
{
    if (rq->conn->migrate == NULL) {
        if (!begin(rq))
            return;
        migrate_link_send(rq->conn->migrate->target);
    }
    migrate_step(rq);
}
