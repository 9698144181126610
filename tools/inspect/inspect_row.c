/* Printing rows: what shows, and for GENERAL rows each part of the state and why it won. */
#include "tools/inspect/inspect_row.h"

#include "engine/base/err.h"
#include "engine/base/num.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_explain.h"
#include "engine/value/row_state.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_out.h"

static void print_expiry(struct out *out, uint64_t at_ms, uint64_t now_ms)
{
    if (at_ms == 0)
        return;
    if (at_ms == ROW_EXPIRE_NEVER) {
        out_text(out, "expire_at", "never");
        return;
    }
    out_time(out, "expire_at", at_ms);
    out_u64(out, "expire_at_ms", at_ms);
    out_i64(out, "expire_left_ms", (int64_t)at_ms - (int64_t)now_ms);
}

void row_print_view(struct out *out, struct bytes row, uint64_t now_ms)
{
    char text[ROW_TEXT_BYTES];
    struct row_view view;

    out_text(out, "form", inspect_form_name(bytes_empty(row) ? ROW_DEAD : row.ptr[0]));
    const int err = row_view(row, now_ms, &view);
    if (err != 0) {
        out_text(out, "error", err_str(err));
        return;
    }
    out_text(out, "type", inspect_type_name(view.type));
    out_bool(out, "present", view.present);
    if (view.expired)
        out_bool(out, "expired", true);
    if (!tag_is_none(view.tag))
        out_tag(out, "tag", view.tag);
    print_expiry(out, view.expire_at_ms, now_ms);
    if (view.kind == ROW_KIND_CHUNKS) {
        out_u64(out, "value_bytes", view.count);
        out_tag(out, "generation", view.generation);
    } else if (row_is_chunk(row)) {
        out_u64(out, "row_bytes", row.len);
    } else if (view.type == VT_STRING && view.present) {
        const struct bytes value = row_text(&view, text);
        out_u64(out, "value_bytes", value.len);
        out_bytes(out, "value", value);
    } else if (view.type > VT_STRING && view.count_lsn != 0) {
        out_u64(out, "count", view.count);
        out_u64(out, "count_lsn", view.count_lsn);
    }
}

static void print_sum(struct out *out, int64_t isum, const struct fsum *fsum)
{
    out_i64(out, "sum", isum);
    if (!fsum_is_zero(*fsum))
        out_bool(out, "float", true);
}

static void print_contexts(struct out *out, const struct row_state *s)
{
    const struct {
        const char *name;
        const struct vv *vv;
    } contexts[] = {
        {"ctx", &s->ctx}, {"rctx", &s->rctx}, {"clear", &s->clear}, {"clear_by", &s->clear_by}};

    for (size_t i = 0; i < ARRAY_COUNT(contexts); i++) {
        if (vv_empty(contexts[i].vv))
            continue;
        out_begin(out, "context", OUT_LINE);
        out_text(out, "of", contexts[i].name);
        out_vv(out, "vv", contexts[i].vv);
        out_end(out);
    }
}

static void print_value(struct out *out, const struct row_fact *fact)
{
    out_begin(out, "sibling", OUT_LINE);
    out_tag(out, "tag", fact->tag);
    out_bool(out, "shown", fact->fate == ROW_FATE_SHOWN);
    out_u64(out, "value_bytes", fact->len);
    out_bytes(out, "value", fact->value);
}

static void print_type(struct out *out, const struct row_fact *fact)
{
    out_begin(out, "type", OUT_LINE);
    out_text(out, "type", inspect_type_name(fact->type));
    out_tag(out, "tag", fact->tag);
    out_bool(out, "shown", fact->fate == ROW_FATE_SHOWN);
}

static void print_run(struct out *out, const struct row_fact *fact)
{
    out_begin(out, "run", OUT_LINE);
    out_tag(out, "start", fact->since);
    out_tag(out, "tag", fact->tag);
    print_sum(out, fact->isum, &fact->fsum);
    out_i64(out, "counted", fact->counted);
}

static void print_floor(struct out *out, const struct row_fact *fact)
{
    out_begin(out, "floor", OUT_LINE);
    out_tag(out, "tag", fact->tag);
    print_sum(out, fact->isum, &fact->fsum);
    out_tag(out, "deleted_by", fact->since);
}

static void print_setting(struct out *out, const struct row_fact *fact)
{
    out_begin(out, "expiry", OUT_LINE);
    out_text(out, "type", inspect_type_name(fact->type));
    out_tag(out, "target", fact->since);
    out_tag(out, "set_by", fact->tag);
    if (fact->at_ms == ROW_EXPIRE_NEVER)
        out_text(out, "expire_at", "never");
    else
        out_time(out, "expire_at", fact->at_ms);
}

static void print_fact(struct out *out, const struct row_fact *fact)
{
    static void (*const print[])(struct out *,
                                 const struct row_fact *) = {[ROW_FACT_VALUE] = print_value,
                                                             [ROW_FACT_TYPE] = print_type,
                                                             [ROW_FACT_RUN] = print_run,
                                                             [ROW_FACT_FLOOR] = print_floor,
                                                             [ROW_FACT_EXPIRY] = print_setting};

    if (fact->kind == ROW_FACT_CLEAR)
        return; /* Among the contexts. */
    print[fact->kind](out, fact);
    if (fact->kind != ROW_FACT_FLOOR)
        out_text(out, "outcome", row_fate_word(fact->fate));
    out_end(out);
}

void row_print_parts(struct out *out, struct bytes row, const struct row_explain_under *under)
{
    static struct row_state state; /* Large. */
    struct row_explained explained;

    if (bytes_empty(row) || row.ptr[0] != ROW_GENERAL || row_decode(row, &state) != 0)
        return;
    print_contexts(out, &state);
    if (row_explain(row, under, &explained) != 0)
        return;
    for (unsigned i = 0; i < explained.count; i++)
        print_fact(out, &explained.facts[i]);
    row_explained_deinit(&explained);
}
