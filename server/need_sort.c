/* Keys that the patterns of a queued SORT lead to; need_sort.h tells. */
#include "server/need_sort.h"

#include "server/shard.h"
#include "server/sort.h"
#include "server/txn.h"

/* Arguments that are tried as elements for one transaction. */
#define WORDS_MAX 65536u

static int need_elements(struct sort *s, const struct shard *sh, const struct txn_cmd *q,
                         struct ks_wait *wait)
{
    const struct ks_key key = ks_key_of(q->argv[1], ks_seed(sh->ks));
    const struct coll *coll = ks_peek_coll(sh->ks, &key);
    struct sort_walk walk = {0};

    /* If it is not complete it is on its way. */
    if (coll == NULL || !coll->complete || coll->type == VT_HASH || coll->type == VT_STRING)
        return 0;
    const int err = sort_load(s, coll);
    return err != 0 ? err : sort_prepare(s, &walk, wait);
}

static int need_words(struct sort *s, const struct txn_cmd *q, struct ks_wait *wait,
                      uint64_t *words)
{
    struct sort_walk walk = {0};

    /* Those that are only looked at count too: a queue of a million SORTs must end. */
    *words += (q->cmd->flags & CMD_WRITE) == 0 ? 1 : q->argc;
    if ((q->cmd->flags & CMD_WRITE) == 0 || *words > WORDS_MAX)
        return 0;
    const int err = sort_load_words(s, q->argv + 1, q->argc - 1);
    return err != 0 ? err : sort_prepare(s, &walk, wait);
}

int need_sort(const struct shard *sh, const struct txn *txn, uint32_t index, struct ks_wait *wait,
              uint64_t *words)
{
    const struct txn_cmd *q = &txn->cmds[index];
    struct sort_args args;
    struct sort s;

    if (sort_parse(q->argc, q->argv, q->cmd->id == CMD_ID_sort, -1, &args) != SORT_OK)
        return 0;
    sort_begin(&s, sh->ks, shard_now_ms(sh), &args);
    int waiting = 0;
    if (s.by != NULL || args.gets_count != 0)
        waiting = need_elements(&s, sh, q, wait);
    for (uint32_t i = 0;
         i < index && waiting >= 0 && *words < WORDS_MAX && (s.by != NULL || args.gets_count != 0);
         i++) {
        const int more = need_words(&s, &txn->cmds[i], wait, words);
        waiting = more < 0 ? more : waiting + more;
    }
    sort_end(&s);
    sort_args_deinit(&args);
    return waiting;
}
