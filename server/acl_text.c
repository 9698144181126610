/* Users as text; acl_text.h tells how commands are told. */
#include "server/acl_text.h"

#include "engine/base/check.h"

#include "server/acl_selector.h"

/* --- commands --- */

/* The search for the shortest description. */
struct fit {
    const struct command_table *commands;
    struct acl_selector left;  /* The user's bits, less what is told by categories. */
    struct acl_selector given; /* What the text so far allows. */
    bool add;                  /* It starts from nothing. */
    uint32_t used;             /* Categories. */
};

/* How many commands of a category are as the text would have them, and how many not. */
static void count(const struct fit *f, uint32_t category, uint32_t *same, uint32_t *differ)
{
    *same = 0;
    *differ = 0;
    for (uint32_t i = 0; i < command_count(f->commands); i++) {
        const struct cmd *cmd = command_at(f->commands, i);
        if ((cmd->acl & category) == 0)
            continue;
        if (acl_allows_id(&f->left, cmd->id) == f->add)
            (*same)++;
        else
            (*differ)++;
    }
}

/* The bit of the category that helps most; ACL_CATEGORIES_COUNT: none helps. */
static unsigned best_category(const struct fit *f)
{
    unsigned best = ACL_CATEGORIES_COUNT;
    uint32_t least = UINT32_MAX, most = 0;

    for (unsigned i = 0; i < ACL_CATEGORIES_COUNT; i++) {
        uint32_t same, differ;
        if ((f->used & 1u << i) != 0)
            continue;
        count(f, 1u << i, &same, &differ);
        if (same > differ && (differ < least || (differ == least && same > most))) {
            best = i;
            least = differ;
            most = same;
        }
    }
    return best;
}

static MUST_USE int print_categories(struct fit *f, struct buf *out)
{
    unsigned best;
    int err = 0;

    while (err == 0 && (best = best_category(f)) != ACL_CATEGORIES_COUNT) {
        acl_selector_set_category(&f->given, f->commands, 1u << best, f->add);
        acl_selector_set_category(&f->left, f->commands, 1u << best, !f->add);
        f->used |= 1u << best;
        err = buf_printf(out, " %c@%s", f->add ? '+' : '-', command_acl_category_name(best));
    }
    return err;
}

static MUST_USE int print_first_args(const struct acl_selector *s, const struct cmd *cmd,
                                     struct buf *out)
{
    int err = 0;

    for (uint32_t i = 0; i < s->first_args.count && err == 0; i++) {
        const struct acl_item *item = &s->first_args.item[i];
        if (item->cmd != cmd->id)
            continue;
        err = buf_printf(out, " +%s|", cmd->name);
        if (err == 0)
            err = buf_append_bytes(out, acl_item_text(item));
    }
    return err;
}

int acl_print_commands(const struct acl_selector *s, const struct command_table *commands,
                       struct buf *out)
{
    struct fit f = {.commands = commands, .add = !s->future};
    int err = buf_printf(out, "%s", f.add ? "-@all" : "+@all");

    memcpy(f.left.allowed, s->allowed, sizeof(s->allowed));
    acl_selector_set_all(&f.given, !f.add);
    if (err == 0)
        err = print_categories(&f, out);
    for (uint32_t i = 0; i < command_count(commands) && err == 0; i++) {
        const struct cmd *cmd = command_at(commands, i);
        const bool allowed = acl_allows_id(s, cmd->id);
        if (allowed != acl_allows_id(&f.given, cmd->id)) {
            acl_selector_set(&f.given, commands, cmd, allowed);
            err = buf_printf(out, " %c%s", allowed ? '+' : '-', cmd->name);
        }
        if (err == 0 && !allowed)
            err = print_first_args(s, cmd, out);
    }
    return err;
}

/* --- patterns --- */

static MUST_USE int print_key(const struct acl_item *item, struct buf *out)
{
    const char *prefix = item->access == ACL_KEY_ALL    ? "~"
                         : item->access == ACL_KEY_READ ? "%R~"
                                                        : "%W~";
    const int err = buf_append_bytes(out, bytes_cstr(prefix));

    return err != 0 ? err : buf_append_bytes(out, acl_item_text(item));
}

static MUST_USE int blank_between(uint32_t index, struct buf *out)
{
    return index == 0 ? 0 : buf_append_u8(out, ' ');
}

int acl_print_keys(const struct acl_selector *s, struct buf *out)
{
    int err = 0;

    if (s->all_keys)
        return buf_append_bytes(out, BYTES_LIT("~*"));
    for (uint32_t i = 0; i < s->keys.count && err == 0; i++) {
        err = blank_between(i, out);
        if (err == 0)
            err = print_key(&s->keys.item[i], out);
    }
    return err;
}

int acl_print_channels(const struct acl_selector *s, struct buf *out)
{
    int err = 0;

    if (s->all_channels)
        return buf_append_bytes(out, BYTES_LIT("&*"));
    for (uint32_t i = 0; i < s->channels.count && err == 0; i++) {
        err = blank_between(i, out);
        if (err == 0)
            err = buf_append_u8(out, '&');
        if (err == 0)
            err = buf_append_bytes(out, acl_item_text(&s->channels.item[i]));
    }
    return err;
}

/* --- the user --- */

int acl_print_hash(const struct acl_item *password, struct buf *out)
{
    int err = 0;

    for (size_t i = 0; i < password->len && err == 0; i++)
        err = buf_printf(out, "%02x", password->ptr[i]);
    return err;
}

void acl_each_flag(const struct acl_user *u, acl_flag_fn fn, void *ctx)
{
    fn(ctx, u->enabled ? "on" : "off");
    if (u->nopass)
        fn(ctx, "nopass");
    if (u->sanitize != ACL_SANITIZE_UNSAID)
        fn(ctx, u->sanitize == ACL_SANITIZE_YES ? "sanitize-payload" : "skip-sanitize-payload");
}

static MUST_USE int print_selector(const struct acl_selector *s,
                                   const struct command_table *commands, struct buf *out)
{
    int err = acl_print_keys(s, out);

    if (err == 0 && (s->all_keys || s->keys.count != 0))
        err = buf_append_u8(out, ' ');
    if (err == 0 && !s->all_channels)
        err = buf_printf(out, s->channels.count == 0 ? "resetchannels" : "resetchannels ");
    if (err == 0)
        err = acl_print_channels(s, out);
    if (err == 0)
        err = buf_append_u8(out, ' ');
    return err != 0 ? err : acl_print_commands(s, commands, out);
}

struct flags_text {
    struct buf *out;
    int err;
};

static void print_flag(void *ctx, const char *flag)
{
    struct flags_text *t = ctx;

    if (t->err == 0)
        t->err = buf_printf(t->out, " %s", flag);
}

int acl_print_user(const struct acl_user *u, const struct command_table *commands, struct buf *out)
{
    struct flags_text flags = {.out = out};
    int err = buf_append_bytes(out, BYTES_LIT("user "));

    if (err == 0)
        err = buf_append_bytes(out, acl_user_name(u));
    if (err == 0) {
        acl_each_flag(u, print_flag, &flags);
        err = flags.err;
    }
    for (uint32_t i = 0; i < u->passwords.count && err == 0; i++) {
        err = buf_append_bytes(out, BYTES_LIT(" #"));
        if (err == 0)
            err = acl_print_hash(&u->passwords.item[i], out);
    }
    for (uint32_t i = 0; i < u->selectors_count && err == 0; i++) {
        err = buf_append_bytes(out, i == 0 ? BYTES_LIT(" ") : BYTES_LIT(" ("));
        if (err == 0)
            err = print_selector(u->selectors[i], commands, out);
        if (err == 0 && i != 0)
            err = buf_append_u8(out, ')');
    }
    return err;
}
