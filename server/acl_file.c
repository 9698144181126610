/* Loading and saving users; acl_file.h. */
#include "server/acl_file.h"

#include <limits.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"
#include "engine/io/pool.h"

#include "server/acl.h"
#include "server/config_share.h"
#include "server/conn.h"
#include "server/node.h"
#include "server/shard.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)
/* What is wrong with a file, in one reply. */
#define WHY_BYTES_MAX 65536u

struct acl_file_job {
    struct pool_job job;
    struct node *node;
    struct conn *conn; /* NULL: nobody waits for it. */
    bool save;
    bool done;
    struct acl_env env;
    char path[PATH_MAX];
    struct buf text; /* Of the file. */
    struct buf why;
    struct acl_users *users; /* What was loaded. */
    uint64_t ticket;         /* Of the configuration that all shards must have. */
};

/* --- on a thread of the pool --- */

static void load(struct acl_file_job *j)
{
    const int err = file_read_all(j->path, &j->text);

    if (err != 0)
        IGNORE_RESULT(buf_printf(&j->why, "Error loading ACLs, opening file '%s': %s", j->path,
                                 err_str(err)));
    else
        IGNORE_RESULT(acl_users_parse(&j->env, j->path, buf_bytes(&j->text), &j->users, &j->why));
}

static void save(struct acl_file_job *j)
{
    const int err = file_write_atomic(j->path, buf_bytes(&j->text));

    if (err == 0)
        return;
    LOG_WARN("acl", "cannot write the ACL file path=%s err=%s", j->path, err_str(err));
    IGNORE_RESULT(buf_printf(&j->why, "There was an error trying to save the ACLs. Please check "
                                      "the server logs for more information"));
}

static void run_jobs(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++) {
        struct acl_file_job *j = container_of(jobs[i], struct acl_file_job, job);
        if (j->save)
            save(j);
        else
            load(j);
    }
}

/* --- on shard 0 --- */

void acl_file_init(struct node *node)
{
    node->acl_class = (struct pool_class){
        .name = "acl", .priority = POOL_FOREGROUND, .batch_max = 1, .run_batch = run_jobs};
    pool_add_class(node->readers, &node->acl_class);
}

static void destroy(struct acl_file_job *j)
{
    buf_deinit(&j->text);
    buf_deinit(&j->why);
    acl_users_unref(j->users);
    mem_free(j);
}

/* Every user is a new one but the default: who uses another has to log in again, as with Redis. */
static void adopt(struct acl_file_job *j)
{
    struct node *node = j->node;

    acl_users_number(j->users, node->users->first->serial, &node->acl_serial);
    acl_adopt(node, j->users);
    j->users = NULL;
    j->ticket = config_share(node);
    LOG_NOTICE("acl", "users loaded path=%s users=%u", j->path, node->users->count);
}

static void on_done(struct mail *mail)
{
    struct acl_file_job *j =
        container_of(container_of(mail, struct pool_job, mail), struct acl_file_job, job);
    struct node *node = j->node;

    node->acl_job = NULL;
    j->done = true;
    if (j->users != NULL)
        adopt(j);
    if (j->conn == NULL)
        destroy(j);
    else
        shard_retry_next_turn(node->shards[0], j->conn);
}

bool acl_file_start(struct conn *c, bool save)
{
    struct node *node = c->sh->node;

    if (node->acl_job != NULL)
        return false;
    struct acl_file_job *j = mem_zalloc(sizeof(*j));
    j->node = node;
    j->conn = c;
    j->save = save;
    j->env = acl_env_of(c->sh);
    acl_path(node, j->path, sizeof(j->path));
    buf_init(&j->text, FILE_BYTES_MAX);
    buf_init(&j->why, WHY_BYTES_MAX);
    c->acl_job = j;
    if (save && acl_users_print(node->users, node->commands, &j->text) != 0) {
        IGNORE_RESULT(buf_printf(&j->why, "The ACLs do not fit into a file"));
        j->done = true;
        return true;
    }
    node->acl_job = j;
    j->job.mail.fn = on_done;
    j->job.reply_to = &node->shards[0]->mailbox;
    pool_submit(&node->acl_class, &j->job);
    return true;
}

bool acl_file_done(const struct acl_file_job *job, struct bytes *out_why)
{
    /* Until then all of it but this is the other thread's. */
    if (!job->done || (job->ticket != 0 && !config_shared(job->node, job->ticket)))
        return false;
    *out_why = buf_bytes(&job->why);
    return true;
}

void acl_file_drop(struct conn *c)
{
    struct acl_file_job *j = c->acl_job;

    c->acl_job = NULL;
    if (j == NULL)
        return;
    j->conn = NULL;
    if (j->done)
        destroy(j);
}

void acl_file_close(struct node *node)
{
    if (node->acl_job != NULL)
        destroy(node->acl_job);
    node->acl_job = NULL;
}
