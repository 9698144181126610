/* Names of types, forms, row kinds and ops, as tierra-inspect prints them. */
#include <string.h>

#include "engine/value/op.h"
#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "tools/inspect/inspect.h"

static const char *const types[VT_END] = {
    [VT_NONE] = "none", [VT_STRING] = "string", [VT_LIST] = "list",     [VT_SET] = "set",
    [VT_ZSET] = "zset", [VT_HASH] = "hash",     [VT_STREAM] = "stream",
};

static const char *const ops[OP_KIND_END] = {
    [OP_VOID] = "void",           [OP_SET] = "set",           [OP_DEL] = "del",
    [OP_INCR] = "incr",           [OP_EXPIRE] = "expire",     [OP_ELEM_SET] = "elem-set",
    [OP_ELEM_INCR] = "elem-incr", [OP_ELEM_DEL] = "elem-del", [OP_KEY_MERGE] = "key-merge",
    [OP_ROW_MERGE] = "row-merge", [OP_RECLAIM] = "reclaim",   [OP_STRING] = "string",
    [OP_CHUNK] = "chunk",         [OP_BITS] = "bits",
};

const char *inspect_type_name(unsigned type)
{
    return type < VT_END && types[type] != NULL ? types[type] : "?";
}

bool inspect_type_parse(const char *name, uint8_t *out)
{
    for (unsigned i = VT_STRING; i < VT_END; i++) {
        if (types[i] != NULL && strcmp(types[i], name) == 0) {
            *out = (uint8_t)i;
            return true;
        }
    }
    return false;
}

const char *inspect_form_name(unsigned form)
{
    switch (form) {
    case ROW_DEAD:
        return "dead";
    case ROW_VALUE:
        return "value";
    case ROW_VALUE_TTL:
        return "value-ttl";
    case ROW_COUNT:
        return "count";
    case ROW_COLL:
        return "collection";
    case ROW_CHUNKED:
        return "chunked";
    case ROW_CHUNKED_TTL:
        return "chunked-ttl";
    case ROW_CHUNK:
        return "chunk";
    case ROW_CHUNKS:
        return "chunk-general";
    case ROW_POISON:
        return "poison";
    case ROW_GENERAL:
        return "general";
    default:
        return "?";
    }
}

const char *inspect_kind_name(unsigned row_kind)
{
    switch (row_kind) {
    case ROWKEY_KIND_KEY:
        return "key";
    case ROWKEY_KIND_HASH:
        return "field";
    case ROWKEY_KIND_SET:
    case ROWKEY_KIND_ZSET:
        return "member";
    case ROWKEY_KIND_ZINDEX:
        return "score";
    case ROWKEY_KIND_LIST:
        return "position";
    case ROWKEY_KIND_CHUNK:
        return "chunk";
    default:
        return "?";
    }
}

const char *inspect_op_name(unsigned op_kind)
{
    return op_kind < OP_KIND_END && ops[op_kind] != NULL ? ops[op_kind] : "?";
}
