/*
 * Copying a value from one key to another, of any type: RENAME, COPY.
 */
#ifndef TIERRA_SERVER_KEYCOPY_H
#define TIERRA_SERVER_KEYCOPY_H

#include <stdbool.h>

#include "engine/base/attr.h"

struct ks_key;
struct request;

/*
 * Makes `to` what `from` is, expiry included; what `to` was before is gone. `from` is hot and all
 * of it resident. False, after an error reply and with nothing changed, if the log cannot take so
 * much at once.
 */
MUST_USE bool keycopy(struct request *rq, const struct ks_key *from, const struct ks_key *to);

#endif
