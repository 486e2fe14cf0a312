/** result_encode: see the header.
 *  Owns: as there.   Thread: as there.
 *  Holds: the row loop asks libpq for three things a value at most, and writes each value once. */
#include "result_encode.h"

#include <stdlib.h>
#include <string.h>

#include "value_encode.h"

typedef struct column {
    unsigned char kind;   /* pg_kind_t, with KIND_ARRAY */
    unsigned char binary; /* pg_binary_t */
} column_t;

struct shape {
    int column_count;
    bool is_all_binary;
    byte_buffer_t bytes; /* a bin: its header, then msgpack [name, oid, …] */
    column_t columns[];
};

static bool shape_write(shape_t *shape, const libpq_api_t *pq, const PGresult *result);
static void put_rows(byte_buffer_t *out, const libpq_api_t *pq, const PGresult *result, const shape_t *shape);
static void put_row_count(byte_buffer_t *out, const char *digits);
static bool has_binary(const libpq_api_t *pq, const PGresult *result, int column_count);

shape_t *shape_create(const libpq_api_t *pq, const PGresult *result) {
    int count = pq->PQnfields(result);
    shape_t *shape = calloc(1, sizeof *shape + (size_t)count * sizeof *shape->columns);
    if (shape == NULL) return NULL;
    shape->column_count = count;
    shape->is_all_binary = true;
    byte_buffer_init(&shape->bytes, SIZE_MAX);
    for (int i = 0; i < count; i++) {
        Oid oid = pq->PQftype(result, i);
        shape->columns[i].kind = (unsigned char)pg_kind_of(oid);
        shape->columns[i].binary = (unsigned char)pg_binary_of(oid);
        if (shape->columns[i].binary == BINARY_NONE) shape->is_all_binary = false;
    }
    if (shape_write(shape, pq, result)) return shape;
    shape_destroy(shape);
    return NULL;
}

/* The name stays as it is: what objects do not take as a key ('__proto__') is the reader's to know. */
static bool shape_write(shape_t *shape, const libpq_api_t *pq, const PGresult *result) {
    byte_buffer_t content;
    byte_buffer_init(&content, UINT32_MAX);
    byte_buffer_put_array_header(&content, (uint64_t)shape->column_count * 2);
    for (int i = 0; i < shape->column_count; i++) {
        const char *name = pq->PQfname(result, i);
        byte_buffer_put_str(&content, name, name == NULL ? 0 : strlen(name));
        byte_buffer_put_uint(&content, pq->PQftype(result, i));
    }
    byte_buffer_put_bin(&shape->bytes, content.bytes, content.size);
    bool is_ok = content.status == BUFFER_OK && shape->bytes.status == BUFFER_OK;
    byte_buffer_free(&content);
    byte_buffer_shrink(&shape->bytes, 0);
    return is_ok;
}

void shape_destroy(shape_t *shape) {
    if (shape == NULL) return;
    byte_buffer_free(&shape->bytes);
    free(shape);
}

bool shape_matches(const shape_t *shape, const libpq_api_t *pq, const PGresult *result) {
    return pq->PQnfields(result) == shape->column_count;
}

bool shape_all_binary(const shape_t *shape) { return shape->is_all_binary; }

bool result_encode(byte_buffer_t *out, const libpq_api_t *pq, const PGresult *result, const shape_t *shape,
                   const char *source) {
    if (!shape_matches(shape, pq, result)) return false;
    /* libpq's prototypes want these two not const, and read only. */
    const char *tag = pq->PQcmdStatus((PGresult *)result);
    const char *affected = pq->PQcmdTuples((PGresult *)result);
    byte_buffer_put_str(out, source, strlen(source));
    byte_buffer_put(out, shape->bytes.bytes, shape->bytes.size);
    byte_buffer_put_str(out, tag, tag == NULL ? 0 : strcspn(tag, " "));
    put_row_count(out, affected == NULL ? "" : affected);
    put_rows(out, pq, result, shape);
    return out->status == BUFFER_OK;
}

static void put_row_count(byte_buffer_t *out, const char *digits) {
    uint64_t count = 0;
    if (*digits == '\0') {
        byte_buffer_put_nil(out);
        return;
    }
    for (; *digits >= '0' && *digits <= '9'; digits++) count = count * 10 + (uint64_t)(*digits - '0');
    byte_buffer_put_uint(out, count);
}

static void put_rows(byte_buffer_t *out, const libpq_api_t *pq, const PGresult *result, const shape_t *shape) {
    int row_count = pq->PQntuples(result);
    int column_count = shape->column_count;
    bool is_binary = has_binary(pq, result, column_count);
    byte_buffer_t scratch;
    byte_buffer_init(&scratch, SIZE_MAX);
    /* Rows without columns are told by a nil each: `select` alone has one such row. */
    byte_buffer_put_array_header(out, (uint64_t)row_count * (uint64_t)(column_count == 0 ? 1 : column_count));
    for (int row = 0; row < row_count && out->status == BUFFER_OK; row++) {
        if (column_count == 0) byte_buffer_put_nil(out);
        for (int i = 0; i < column_count && out->status == BUFFER_OK; i++) {
            size_t size = (size_t)pq->PQgetlength(result, row, i);
            if (size == 0 && pq->PQgetisnull(result, row, i)) {
                byte_buffer_put_nil(out);
                continue;
            }
            const char *value = pq->PQgetvalue(result, row, i);
            int kind = shape->columns[i].kind;
            if (is_binary && pq->PQfformat(result, i) == 1) {
                value_put_binary(out, (pg_binary_t)shape->columns[i].binary, kind, value, size);
            } else if (kind == KIND_TEXT) {
                byte_buffer_put_str(out, value, size);
            } else if (kind & KIND_ARRAY) {
                array_put_text(out, &scratch, kind & ~KIND_ARRAY, value, size);
            } else {
                value_put_text(out, kind, value, size);
            }
        }
    }
    if (scratch.status == BUFFER_NO_MEMORY) out->status = BUFFER_NO_MEMORY;
    byte_buffer_free(&scratch);
}

static bool has_binary(const libpq_api_t *pq, const PGresult *result, int column_count) {
    for (int i = 0; i < column_count; i++) {
        if (pq->PQfformat(result, i) == 1) return true;
    }
    return false;
}
