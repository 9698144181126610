/*
 * ACL LOAD and ACL SAVE: the file is read and parsed, or written and synced, on a thread of the
 * readers' pool, while the connection that asked is parked. One at a time for a node.
 *
 * The file, as Redis has it: text, a line for each user in the order of their names,
 *
 *     user <name> <rules separated by one blank>
 *
 * with passwords as "#" and the 64 hexadecimal digits of their SHA-256. It is replaced as a whole,
 * by a rename, and keeps neither comments nor the spelling of its rules.
 *
 * Thread: shard 0's.
 */
#ifndef TIERRA_SERVER_ACL_FILE_H
#define TIERRA_SERVER_ACL_FILE_H

#include <stdbool.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct acl_file_job;
struct conn;
struct node;

/* Before the first of the others; the readers' pool is there. */
void acl_file_init(struct node *node);

/* False: another one is at it. Else `c->acl_job` is set. */
MUST_USE bool acl_file_start(struct conn *c, bool save);

/*
 * Whether it is done; after a LOAD all shards have the users then. `*out_why` is empty if it went
 * well, and stays valid until acl_file_drop.
 */
MUST_USE bool acl_file_done(const struct acl_file_job *job, struct bytes *out_why);

/* The connection needs it no more, done or not. No effect without one. */
void acl_file_drop(struct conn *c);

/* What is left when the pool has ended. */
void acl_file_close(struct node *node);

#endif
