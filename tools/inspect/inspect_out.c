/* Records as text lines, blocks or JSON; inspect_out.h tells the forms. */
#include "tools/inspect/inspect_out.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"

#define NAME_WIDTH 20

void out_init(struct out *out, FILE *file, bool json, size_t bytes_max)
{
    *out = (struct out){.file = file, .json = json, .bytes_max = bytes_max};
}

void out_begin(struct out *out, const char *record, enum out_style style)
{
    out->block = style == OUT_BLOCK;
    if (out->json) {
        out->object = json_object();
        IGNORE_RESULT(json_object_set_new(out->object, "record", json_string(record)));
        return;
    }
    (void)fputs(record, out->file);
}

void out_end(struct out *out)
{
    if (out->json) {
        (void)json_dumpf(out->object, out->file, JSON_COMPACT); /* main looks at ferror. */
        json_decref(out->object);
        out->object = NULL;
    }
    (void)fputc('\n', out->file);
}

static void put_json(struct out *out, const char *name, json_t *take_value)
{
    IGNORE_RESULT(json_object_set_new(out->object, name, take_value));
}

static void put_name(struct out *out, const char *name)
{
    if (out->block)
        (void)fprintf(out->file, "\n  %-*s ", NAME_WIDTH, name);
    else
        (void)fprintf(out->file, " %s=", name);
}

/* Appends printable ASCII as it is and the rest as \xNN. */
static void escape(struct buf *to, struct bytes value)
{
    int err = 0;

    for (size_t i = 0; i < value.len && err == 0; i++) {
        const uint8_t c = value.ptr[i];
        if (c >= ' ' && c < 0x7f && c != '\\' && c != '"')
            err = buf_append_u8(to, c);
        else
            err = buf_printf(to, "\\x%02x", c);
    }
}

void out_text(struct out *out, const char *name, const char *value)
{
    if (out->json) {
        /* A path may be no UTF-8. */
        json_t *text = json_string(value);
        put_json(out, name, text != NULL ? text : json_string("?"));
        return;
    }
    const bool quote = !out->block && strpbrk(value, " =\"") != NULL;
    put_name(out, name);
    (void)fprintf(out->file, quote ? "\"%s\"" : "%s", value);
}

void out_format(struct out *out, const char *name, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* Cut if too long. */
    va_end(args);
    out_text(out, name, text);
}

void out_i64(struct out *out, const char *name, int64_t value)
{
    if (out->json) {
        put_json(out, name, json_integer(value));
        return;
    }
    put_name(out, name);
    (void)fprintf(out->file, "%" PRId64, value);
}

void out_u64(struct out *out, const char *name, uint64_t value)
{
    if (value <= INT64_MAX) {
        out_i64(out, name, (int64_t)value);
        return;
    }
    out_format(out, name, "%" PRIu64, value);
}

void out_double(struct out *out, const char *name, double value)
{
    if (out->json) {
        json_t *number = json_real(value);
        put_json(out, name, number != NULL ? number : json_null()); /* Infinite. */
        return;
    }
    out_format(out, name, "%.17g", value);
}

void out_bool(struct out *out, const char *name, bool value)
{
    if (out->json)
        put_json(out, name, json_boolean(value));
    else
        out_text(out, name, value ? "yes" : "no");
}

void out_hex(struct out *out, const char *name, uint64_t value)
{
    out_format(out, name, "%016" PRIx64, value);
}

void out_bytes(struct out *out, const char *name, struct bytes value)
{
    const bool cut = value.len > out->bytes_max;
    struct buf text;

    buf_init(&text, SIZE_MAX);
    escape(&text, cut ? bytes_of(value.ptr, out->bytes_max) : value);
    if (out->json) {
        put_json(out, name, json_stringn(text.ptr == NULL ? "" : (const char *)text.ptr, text.len));
        if (cut)
            put_json(out, "cut", json_true());
    } else {
        put_name(out, name);
        (void)fprintf(out->file, "\"%.*s\"%s", (int)text.len, text.len == 0 ? "" : (char *)text.ptr,
                      cut ? "..." : "");
    }
    buf_deinit(&text);
}

void out_time(struct out *out, const char *name, uint64_t ms)
{
    char text[CLOCK_ISO_BYTES];

    clock_iso(text, ms);
    out_text(out, name, text);
}

static void tag_print(char *text, size_t len, struct tag tag)
{
    char date[CLOCK_ISO_BYTES];

    clock_iso(date, hlc_ms(tag.hlc));
    (void)snprintf(text, len, "%s+%u@%u", date, (unsigned)(tag.hlc & 0xffff), (unsigned)tag.origin);
}

void out_tag(struct out *out, const char *name, struct tag tag)
{
    char text[CLOCK_ISO_BYTES + 16], date[CLOCK_ISO_BYTES];

    if (!out->json) {
        tag_print(text, sizeof(text), tag);
        out_text(out, name, text);
        return;
    }
    clock_iso(date, hlc_ms(tag.hlc));
    json_t *object = json_object();
    IGNORE_RESULT(json_object_set_new(object, "hlc", json_integer((json_int_t)tag.hlc)));
    IGNORE_RESULT(json_object_set_new(object, "time", json_string(date)));
    IGNORE_RESULT(json_object_set_new(object, "logical", json_integer(tag.hlc & 0xffff)));
    IGNORE_RESULT(json_object_set_new(object, "origin", json_integer(tag.origin)));
    put_json(out, name, object);
}

void out_vv(struct out *out, const char *name, const struct vv *vv)
{
    char text[VV_ORIGINS_MAX * (CLOCK_ISO_BYTES + 16)] = "";
    size_t at = 0;

    for (unsigned i = 0; i < vv->count; i++) {
        if (i != 0)
            text[at++] = ',';
        tag_print(text + at, sizeof(text) - at, tag_of(vv->hlc[i], vv->origin[i]));
        at += strlen(text + at);
    }
    out_text(out, name, text);
}
