/* Random elements that may repeat; draw.h tells why they are bounded. */
#include "server/draw.h"

#include "engine/space/coll.h"

#include "server/config.h"
#include "server/request.h"
#include "server/shard.h"

/* What is replied takes no more than what may be loaded, nor than the longest string. */
static uint64_t bytes_max(const struct request *rq)
{
    const struct config *cfg = rq->sh->cfg;
    const uint64_t longest = shard_bulk_bytes_max(rq->sh);

    return cfg->maxmemory == 0 ? longest : u64_min(longest, (uint64_t)cfg->maxmemory / 4);
}

void draw_repeated(struct request *rq, const struct coll *coll, uint64_t n, bool pairs,
                   draw_emit_fn *emit)
{
    const size_t before = rq->out->out.len;
    const uint64_t most = bytes_max(rq);

    if (n > DRAWS_MAX) {
        reply_error(rq->out, "ERR value is out of range, value must between -%u and %lld",
                    DRAWS_MAX, (long long)INT64_MAX);
        return;
    }
    reply_array(rq->out, pairs && rq->out->proto == 2 ? 2 * n : n);
    for (uint64_t i = 0; i < n && !rq->out->failed; i++) {
        emit(rq, coll_random(coll, &rq->sh->rng), pairs);
        if (rq->out->out.len - before > most) {
            buf_truncate(&rq->out->out, before);
            reply_err_oom(rq->out, "the elements take too much memory; use a lower count");
            return;
        }
    }
}
