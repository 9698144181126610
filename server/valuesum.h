/*
 * DEBUG DIGEST and DIGEST-VALUE: sums by which two values, or two states of a shard, are told to be
 * the same: by what a client sees, and not by how it is kept. Other than Redis' they are no SHA-1.
 *
 *     value   = type, whether it expires, content; its name is not in it
 *     content = of a string its bytes; of a list all elements in order; else the sum over elements
 *
 * Thread: the shard's.
 */
#ifndef TIERRA_SERVER_VALUESUM_H
#define TIERRA_SERVER_VALUESUM_H

#include <stdint.h>

#include "engine/base/attr.h"

struct obj;
struct request;

/* As many hexadecimal digits as of a SHA-1, and the end of the text. */
#define VALUESUM_TEXT_BYTES 41

/* Of a hot value that is resident as a whole. 0, or -ENOMEM. */
MUST_USE int valuesum_of(const struct request *rq, const struct obj *obj,
                         char out[VALUESUM_TEXT_BYTES]);

/*
 * Of all keys of the shard, as its store has them (engine/space/keysums.h; of lists also how they
 * came about): what was changed must have been written back. Reads all of it, in one go. 0, or the
 * error of the store.
 */
MUST_USE int valuesum_all(const struct request *rq, char out[VALUESUM_TEXT_BYTES]);

/* Of nothing: a key that is absent, a shard without keys. */
void valuesum_none(char out[VALUESUM_TEXT_BYTES]);

#endif
