/*
 * Look-up, key positions and needs.
 *
 * The index hashes a name as up to three lower-case words of eight bytes. A name of 8 to 16 bytes
 * is its first and its last eight bytes, which may overlap, a longer one three words; shorter ones
 * are put together from overlapping parts too. Together with the length the words identify the
 * name, so that no bytes need to be compared. Subcommands are in the same index, told apart by
 * their container.
 */
#include "server/command.h"

#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/command_table.h"

/* Longest name; the words hold no more. */
#define NAME_BYTES_MAX 24
/* At most half full. A power of two. */
#define INDEX_SLOTS 1024

struct index_key {
    uint64_t word[3];
    uint16_t len;
    uint16_t parent;
};

struct index_slot {
    struct index_key key; /* len 0: empty. */
    uint16_t id;
};

struct command_table {
    struct cmd *cmds;
    uint32_t count;
    struct index_slot slots[INDEX_SLOTS];
};

static const char *const acl_names[] = {
#define ACL_NAME(name, text) text,
    CMD_ACL_CATEGORIES(ACL_NAME)
#undef ACL_NAME
};

/* The eight bytes of `word` with ASCII letters in lower case. */
static uint64_t fold_word(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t seven = word & (ones * 0x7f);
    /* The highest bit of each byte: at least 'A', above 'Z', not ASCII. */
    const uint64_t from_a = seven + ones * (0x80 - 'A');
    const uint64_t above_z = seven + ones * (0x7f - 'Z');
    const uint64_t upper = (from_a ^ above_z) & ~word & (ones * 0x80);

    return word | (upper >> 2);
}

/* False: too long for any name, or empty. */
static bool index_key_make(struct bytes name, uint16_t parent, struct index_key *out)
{
    const uint8_t *const ptr = name.ptr;
    const size_t len = name.len;
    uint64_t word[3] = {0, 0, 0};

    if (unlikely(len == 0 || len > NAME_BYTES_MAX))
        return false;
    if (len < 4) {
        word[0] = (uint64_t)ptr[0] | (uint64_t)ptr[len / 2] << 8 | (uint64_t)ptr[len - 1] << 16;
    } else if (len < 8) {
        word[0] = (uint64_t)le32_load(ptr) | (uint64_t)le32_load(ptr + len - 4) << 32;
    } else {
        word[0] = le64_load(ptr);
        word[1] = le64_load(ptr + len - 8);
        if (len > 16)
            word[2] = le64_load(ptr + 8);
    }
    *out = (struct index_key){
        .word = {fold_word(word[0]), fold_word(word[1]), fold_word(word[2])},
        .len = (uint16_t)len,
        .parent = parent,
    };
    return true;
}

static size_t index_hash(const struct index_key *key)
{
    uint64_t h = key->word[0] ^ (uint64_t)key->parent << 48;

    h = (h ^ h >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= key->word[1] + key->word[2] * 31 + key->len;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return (size_t)(h >> 54);
}
STATIC_ASSERT(INDEX_SLOTS == 1 << (64 - 54));

static bool index_key_eq(const struct index_key *a, const struct index_key *b)
{
    return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
           a->len == b->len && a->parent == b->parent;
}

static const struct cmd *index_find(const struct command_table *table, struct bytes name,
                                    uint16_t parent)
{
    struct index_key key;

    if (unlikely(!index_key_make(name, parent, &key)))
        return NULL;
    for (size_t i = index_hash(&key);; i = (i + 1) % INDEX_SLOTS) {
        const struct index_slot *slot = &table->slots[i];
        if (likely(index_key_eq(&slot->key, &key)))
            return &table->cmds[slot->id];
        if (slot->key.len == 0)
            return NULL;
    }
}

static void index_add(struct command_table *table, const struct cmd *cmd, struct bytes name)
{
    struct index_key key;

    CHECK(index_find(table, name, cmd->parent) == NULL);
    CHECK(index_key_make(name, cmd->parent, &key));
    size_t i = index_hash(&key);
    while (table->slots[i].key.len != 0)
        i = (i + 1) % INDEX_SLOTS;
    table->slots[i] = (struct index_slot){.key = key, .id = cmd->id};
}

/* The categories that follow from flags, as Redis' setImplicitACLCategories. */
static uint32_t implied_acl(const struct cmd *cmd)
{
    uint32_t acl = cmd->acl;

    if ((cmd->flags & CMD_WRITE) != 0)
        acl |= ACL_WRITE;
    if ((cmd->flags & CMD_READONLY) != 0 && (acl & ACL_SCRIPTING) == 0)
        acl |= ACL_READ;
    if ((cmd->flags & CMD_ADMIN) != 0)
        acl |= ACL_ADMIN | ACL_DANGEROUS;
    if ((cmd->flags & CMD_PUBSUB) != 0)
        acl |= ACL_PUBSUB;
    if ((cmd->flags & CMD_FAST) != 0)
        acl |= ACL_FAST;
    if ((cmd->flags & CMD_BLOCKING) != 0)
        acl |= ACL_BLOCKING;
    return (acl & ACL_FAST) != 0 ? acl : acl | ACL_SLOW;
}

/*
 * First, last and step as Redis 6 gave them, from the range specifications that follow each other
 * (populateCommandLegacyRangeSpec). Whatever they leave out makes the keys "movable".
 */
static void derive_key_range(struct cmd *cmd)
{
    const struct cmd_key_spec *specs = cmd->key_specs;
    bool movable = false;

    if (cmd->key_specs_count == 1 && specs[0].begin == KEY_BEGIN_INDEX &&
        specs[0].find == KEY_FIND_RANGE) {
        cmd->key_first = specs[0].index;
        cmd->key_last = (int16_t)(specs[0].last + (specs[0].last < 0 ? 0 : specs[0].index));
        cmd->key_step = specs[0].step;
        if ((specs[0].flags & KEY_INCOMPLETE) != 0)
            cmd->flags |= CMD_MOVABLE_KEYS;
        return;
    }
    for (uint8_t i = 0; i < cmd->key_specs_count; i++) {
        const struct cmd_key_spec *spec = &specs[i];
        const bool at_index = spec->begin == KEY_BEGIN_INDEX ||
                              (spec->begin == KEY_BEGIN_MIGRATE && spec->keyword == NULL);
        if (!at_index || spec->find != KEY_FIND_RANGE || spec->step != 1 ||
            (cmd->key_last != 0 && cmd->key_last != spec->index - 1)) {
            movable = true;
            continue;
        }
        movable |= (spec->flags & KEY_INCOMPLETE) != 0;
        if (cmd->key_first == 0)
            cmd->key_first = spec->index;
        cmd->key_last = (int16_t)(spec->last + (spec->last < 0 ? 0 : spec->index));
        cmd->key_step = 1;
    }
    if (movable)
        cmd->flags |= CMD_MOVABLE_KEYS;
}

static void derive(struct command_table *table, struct cmd *cmd)
{
    const struct bytes name = bytes_cstr(cmd->name);
    const size_t bar = bytes_find_u8(name, '|');

    cmd->id = (uint16_t)(cmd - table->cmds);
    cmd->parent = CMD_NONE;
    cmd->acl = implied_acl(cmd);
    CHECK(cmd->key_specs_count <= CMD_KEY_SPECS_MAX);
    derive_key_range(cmd);
    if (cmd->key_specs_count == 1 && cmd->key_specs->begin == KEY_BEGIN_INDEX &&
        cmd->key_specs->find == KEY_FIND_RANGE && cmd->key_specs->last == 0 &&
        (cmd->key_specs->flags & KEY_NOT_KEY) == 0)
        cmd->single_key = (uint8_t)cmd->key_specs->index;
    if (bar == name.len) {
        index_add(table, cmd, name);
        return;
    }
    const struct cmd *parent = index_find(table, bytes_of(name.ptr, bar), CMD_NONE);
    CHECK(parent != NULL);
    table->cmds[parent->id].flags |= CMD_CONTAINER;
    cmd->parent = parent->id;
    index_add(table, cmd, bytes_from(name, bar + 1));
}

struct command_table *command_table_create(void)
{
    struct command_table *table = mem_zalloc(sizeof(*table));
    const struct cmd *entries = command_entries(&table->count);

    CHECK(table->count <= INDEX_SLOTS / 2);
    table->cmds = mem_zalloc_array(table->count, sizeof(*table->cmds));
    for (uint32_t i = 0; i < table->count; i++) {
        table->cmds[i] = entries[i];
        derive(table, &table->cmds[i]);
    }
    return table;
}

void command_table_destroy(struct command_table *table)
{
    if (table == NULL)
        return;
    mem_free(table->cmds);
    mem_free(table);
}

uint32_t command_count(const struct command_table *table)
{
    return table->count;
}

const struct cmd *command_at(const struct command_table *table, uint32_t id)
{
    CHECK(id < table->count);
    return &table->cmds[id];
}

const struct cmd *command_lookup(const struct command_table *table, struct bytes name)
{
    return index_find(table, name, CMD_NONE);
}

const struct cmd *command_lookup_sub(const struct command_table *table, const struct cmd *container,
                                     struct bytes name)
{
    return index_find(table, name, container->id);
}

const struct cmd *command_lookup_full(const struct command_table *table, struct bytes name)
{
    const size_t bar = bytes_find_u8(name, '|');
    const struct cmd *cmd = command_lookup(table, bytes_of(name.ptr, bar));

    if (bar == name.len || cmd == NULL)
        return cmd;
    return command_lookup_sub(table, cmd, bytes_from(name, bar + 1));
}

const struct cmd *command_resolve(const struct command_table *table, uint32_t argc,
                                  const struct bytes *argv, bool *out_container)
{
    const struct cmd *cmd = command_lookup(table, argv[0]);
    const bool container = cmd != NULL && (cmd->flags & CMD_CONTAINER) != 0;

    if (out_container != NULL)
        *out_container = container && command_is_here(cmd);
    if (unlikely(container) && argc > 1)
        cmd = command_lookup_sub(table, cmd, argv[1]);
    return cmd;
}

/* --- Keys --- */

void cmd_keys_deinit(struct cmd_keys *keys)
{
    mem_free(keys->key);
    cmd_keys_init(keys);
}

static MUST_USE int keys_reserve(struct cmd_keys *keys, uint32_t more)
{
    const uint32_t need = keys->count + more;

    if (likely(need <= keys->cap))
        return 0;
    const uint32_t cap = need < 16 ? 16 : need;
    struct cmd_key *key = mem_try_realloc(keys->key, cap * sizeof(*key));
    if (key == NULL)
        return -ENOMEM;
    keys->key = key;
    keys->cap = cap;
    return 0;
}

/* Which of the command's keyword specifications the word begins; its last one is the result. */
static const struct cmd_key_spec *keyword_of(const struct cmd *cmd, struct bytes word)
{
    const struct cmd_key_spec *found = NULL;

    for (uint8_t i = 0; i < cmd->key_specs_count; i++) {
        const struct cmd_key_spec *spec = &cmd->key_specs[i];
        if (spec->begin == KEY_BEGIN_KEYWORD && bytes_eq_nocase(word, spec->keyword))
            found = spec;
    }
    return found;
}

/*
 * The argument behind the keyword, or 0: not there. Of destinations the last counts. What stands
 * behind any keyword of the command is its value, even if it is spelled like one: else a call could
 * name a key that nobody sees.
 */
static uint32_t find_keyword(const struct cmd *cmd, const struct cmd_key_spec *spec, uint32_t argc,
                             const struct bytes *argv)
{
    const int64_t start = spec->index > 0 ? spec->index : (int64_t)argc + spec->index;
    uint32_t found = 0;

    for (int64_t i = i64_max(start, 1); i + 1 < argc; i++) {
        const struct cmd_key_spec *begins = keyword_of(cmd, argv[i]);
        if (begins == NULL)
            continue;
        i++;
        if (begins != spec)
            continue;
        found = (uint32_t)i;
        if ((spec->flags & KEY_OW) == 0)
            break;
    }
    return found;
}

/* Of SORT: the argument behind the option, which may be what another option is given; or 0. */
static uint32_t find_option(const struct cmd_key_spec *spec, uint32_t argc,
                            const struct bytes *argv)
{
    uint32_t found = 0;

    for (uint32_t i = 2; i < argc; i++) {
        if (bytes_eq_nocase(argv[i], "limit"))
            i += 2;
        else if (bytes_eq_nocase(argv[i], "by") || bytes_eq_nocase(argv[i], "get"))
            i++;
        else if (bytes_eq_nocase(argv[i], spec->keyword) && i + 1 < argc)
            found = ++i;
    }
    return found;
}

/*
 * Of MIGRATE: the keys listed behind KEYS, or without any the one that has an argument of its own;
 * both is an error, of no key. As Redis reads it, for which passwords are not options.
 */
static uint32_t find_migrated(const struct cmd_key_spec *spec, uint32_t argc,
                              const struct bytes *argv)
{
    uint32_t listed = 0;

    for (uint32_t i = 6; i + 1 < argc && listed == 0; i++) {
        if (bytes_eq_nocase(argv[i], "keys"))
            listed = i + 1;
        else if (bytes_eq_nocase(argv[i], "auth"))
            i++;
        else if (bytes_eq_nocase(argv[i], "auth2"))
            i += 2;
    }
    if (listed == 0)
        return (spec->flags & KEY_INCOMPLETE) != 0 ? 0 : (uint32_t)spec->index;
    return (spec->flags & KEY_INCOMPLETE) != 0 && bytes_empty(argv[3]) ? listed : 0;
}

/* The argument where the search for keys begins, or 0: there is none. */
static uint32_t find_begin(const struct cmd *cmd, const struct cmd_key_spec *spec, uint32_t argc,
                           const struct bytes *argv)
{
    switch ((enum cmd_key_begin)spec->begin) {
    case KEY_BEGIN_INDEX:
        return (uint32_t)spec->index;
    case KEY_BEGIN_KEYWORD:
        return find_keyword(cmd, spec, argc, argv);
    case KEY_BEGIN_UNKNOWN:
        return spec->keyword == NULL ? 0 : find_option(spec, argc, argv);
    case KEY_BEGIN_MIGRATE:
        return find_migrated(spec, argc, argv);
    }
    UNREACHABLE();
}

/*
 * Where the keys of a specification are; false: nowhere that makes sense. A range to the end of the
 * arguments may be empty, as that of PFMERGE's sources.
 */
static bool key_span(const struct cmd_key_spec *spec, uint32_t first, uint32_t argc,
                     const struct bytes *argv, uint32_t *out_first, uint32_t *out_last)
{
    const int64_t count = argc;
    int64_t from = first;
    int64_t to;

    if (spec->find == KEY_FIND_UNKNOWN) {
        to = from;
    } else if (spec->find == KEY_FIND_RANGE) {
        if (spec->last >= 0)
            to = from + spec->last;
        else if (spec->limit <= 1)
            to = count + spec->last;
        else
            to = from + (count - from) / spec->limit + spec->last;
    } else {
        int64_t keys;
        if (from + spec->num_index >= count ||
            !num_parse_i64(argv[from + spec->num_index], &keys) || keys < 0 || keys > count)
            return false;
        from += spec->num_first;
        to = from + keys - 1;
    }
    const bool to_end = spec->find == KEY_FIND_RANGE && spec->last < 0;
    if (to >= count || to < from - (to_end ? 1 : 0))
        return false;
    *out_first = (uint32_t)from;
    *out_last = (uint32_t)to;
    return true;
}

/* SET only writes the key, unless it returns the old value. */
static uint16_t flags_of_set(uint32_t argc, const struct bytes *argv)
{
    for (uint32_t i = 3; i < argc; i++) {
        if (bytes_eq_nocase(argv[i], "get"))
            return KEY_RW | KEY_ACCESS | KEY_UPDATE;
    }
    return KEY_OW | KEY_UPDATE;
}

/* BITFIELD only reads if all that it does is GET. */
static uint16_t flags_of_bitfield(uint32_t argc, const struct bytes *argv)
{
    for (uint32_t i = 2; i < argc; i += 3) {
        if (!bytes_eq_nocase(argv[i], "get") || argc - i < 3)
            return KEY_RW | KEY_ACCESS | KEY_UPDATE;
    }
    return KEY_RO | KEY_ACCESS;
}

static uint16_t flags_of_key(const struct cmd *cmd, const struct cmd_key_spec *spec, uint32_t argc,
                             const struct bytes *argv)
{
    /* What is incomplete in a specification is found all the same. */
    if (likely((spec->flags & KEY_VARIABLE_FLAGS) == 0))
        return spec->flags & (uint16_t)~KEY_INCOMPLETE;
    if (cmd->id == CMD_ID_set)
        return flags_of_set(argc, argv);
    return cmd->id == CMD_ID_bitfield ? flags_of_bitfield(argc, argv) : spec->flags;
}

int command_keys(const struct cmd *cmd, uint32_t argc, const struct bytes *argv,
                 struct cmd_keys *out)
{
    out->count = 0;
    for (uint8_t i = 0; i < cmd->key_specs_count; i++) {
        const struct cmd_key_spec *spec = &cmd->key_specs[i];
        uint32_t first, last;

        if ((spec->flags & KEY_NOT_KEY) != 0)
            continue;
        first = find_begin(cmd, spec, argc, argv);
        if (first == 0)
            continue;
        if (!key_span(spec, first, argc, argv, &first, &last)) {
            out->count = 0;
            return -ERR_SYNTAX;
        }
        const int err = keys_reserve(out, last - first + 1);
        if (err != 0) {
            out->count = 0;
            return err;
        }
        const struct cmd_need need = command_need(cmd, i, argc, argv);
        const uint16_t flags = flags_of_key(cmd, spec, argc, argv);
        const uint32_t step = (uint32_t)spec->step;
        for (uint32_t pos = first; pos <= last; pos += step) {
            out->key[out->count++] = (struct cmd_key){
                .pos = pos,
                .flags = flags,
                .need = (uint8_t)need.kind,
                .spec = i,
            };
        }
    }
    return 0;
}

/* --- Needs --- */

/* SET key value [NX|XX] [GET] [EX s|...|KEEPTTL] */
static enum cmd_need_kind need_of_set(uint32_t argc, const struct bytes *argv)
{
    enum cmd_need_kind need = NEED_BLIND;

    for (uint32_t i = 3; i < argc; i++) {
        enum cmd_need_kind kind = NEED_BLIND;
        if (bytes_eq_nocase(argv[i], "get"))
            kind = NEED_WHOLE;
        else if (bytes_eq_nocase(argv[i], "keepttl"))
            kind = NEED_KEY;
        else if (bytes_eq_nocase(argv[i], "nx") || bytes_eq_nocase(argv[i], "xx"))
            kind = NEED_NOTHING;
        need = kind > need ? kind : need;
    }
    return need;
}

/* ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member ..: the first score. GEOADD: longitude. */
static uint32_t zadd_first_score(uint32_t argc, const struct bytes *argv)
{
    static const char *const options[] = {"nx", "xx", "gt", "lt", "ch", "incr"};
    uint32_t i = 2;

    for (; i < argc; i++) {
        bool option = false;
        for (size_t k = 0; k < ARRAY_COUNT(options) && !option; k++)
            option = bytes_eq_nocase(argv[i], options[k]);
        if (!option)
            break;
    }
    return i;
}

struct cmd_need command_need(const struct cmd *cmd, uint32_t spec_index, uint32_t argc,
                             const struct bytes *argv)
{
    const struct cmd_key_spec *spec = &cmd->key_specs[spec_index];
    struct cmd_need need = {.kind = (enum cmd_need_kind)spec->need, .step = 1};

    switch (need.kind) {
    case NEED_BY_SET:
        need.kind = likely(argc == 3) ? NEED_BLIND : need_of_set(argc, argv);
        break;
    case NEED_BY_ZADD:
        need.kind = NEED_SUBKEYS;
        need.first = zadd_first_score(argc, argv) + 1;
        need.end = argc;
        need.step = 2;
        break;
    case NEED_BY_GEOADD:
        need.kind = NEED_SUBKEYS;
        need.first = zadd_first_score(argc, argv) + 2;
        need.end = argc;
        need.step = 3;
        break;
    case NEED_SUBKEYS:
    case NEED_RANK: {
        const int64_t last = spec->sub_last < 0 ? (int64_t)argc + spec->sub_last : spec->sub_last;
        need.first = (uint32_t)spec->sub_first;
        need.end = (uint32_t)i64_min(last + 1, argc);
        need.step = (uint32_t)spec->sub_step;
        break;
    }
    case NEED_BLIND:
    case NEED_NOTHING:
    case NEED_KEY:
    case NEED_ENDS:
    case NEED_RANDOM:
    case NEED_SPAN:
    case NEED_WHOLE:
        break;
    }
    return need;
}

/* --- ACL --- */

uint32_t command_acl_category(struct bytes name)
{
    for (unsigned i = 0; i < ARRAY_COUNT(acl_names); i++) {
        if (bytes_eq_nocase(name, acl_names[i]))
            return 1u << i;
    }
    return 0;
}

const char *command_acl_category_name(unsigned bit_index)
{
    CHECK(bit_index < ARRAY_COUNT(acl_names));
    return acl_names[bit_index];
}
