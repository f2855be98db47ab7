// A server in C: `wasi:http/incoming-handler`, by the bindings that wit-bindgen makes of it. Variables, files and output
// are wasi-libc's, as in any program.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "web.h"

// What one call may read or write.
enum { PIECE = 4096 };

struct bytes {
    uint8_t *at;
    size_t length;
};

static void append(struct bytes *all, const void *more, size_t length) {
    all->at = realloc(all->at, all->length + length + 1);
    if (!all->at) abort();
    memcpy(all->at + all->length, more, length);
    all->length += length;
    all->at[all->length] = 0;
}

static struct bytes text(const char *text) {
    struct bytes all = {0};
    append(&all, text, strlen(text));
    return all;
}

static struct bytes read_body(wasi_http_types_own_incoming_body_t body) {
    struct bytes all = {0};
    wasi_io_streams_own_input_stream_t stream;
    if (!wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &stream)) abort();
    web_list_u8_t piece;
    wasi_io_streams_stream_error_t end;
    while (wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(stream), PIECE, &piece, &end)) {
        append(&all, piece.ptr, piece.len);
        web_list_u8_free(&piece);
    }
    wasi_io_streams_stream_error_free(&end);
    wasi_io_streams_input_stream_drop_own(stream);
    wasi_http_types_incoming_body_drop_own(body);
    return all;
}

static struct bytes read_file(const char *path) {
    struct bytes all = text("");
    FILE *file = fopen(path, "rb");
    if (!file) return text("no such file\n");
    char piece[PIECE];
    for (size_t read; (read = fread(piece, 1, sizeof piece, file)) > 0;) append(&all, piece, read);
    fclose(file);
    return all;
}

// What is at `http://AUTHORITY/PATH`.
static struct bytes fetch(char *url) {
    if (strncmp(url, "http://", 7) != 0) return text("no such scheme\n");
    char *authority = url + 7, *path = strchr(authority, '/');
    web_string_t at = {(uint8_t *)(path ? path : "/"), path ? strlen(path) : 1};
    web_string_t host = {(uint8_t *)authority, path ? (size_t)(path - authority) : strlen(authority)};
    wasi_http_types_scheme_t scheme = {.tag = WASI_HTTP_TYPES_SCHEME_HTTP};
    wasi_http_types_own_outgoing_request_t request =
        wasi_http_types_constructor_outgoing_request(wasi_http_types_constructor_fields());
    wasi_http_types_borrow_outgoing_request_t borrowed = wasi_http_types_borrow_outgoing_request(request);
    wasi_http_types_method_outgoing_request_set_scheme(borrowed, &scheme);
    wasi_http_types_method_outgoing_request_set_authority(borrowed, &host);
    wasi_http_types_method_outgoing_request_set_path_with_query(borrowed, &at);
    wasi_http_types_own_future_incoming_response_t future;
    wasi_http_types_error_code_t error;
    if (!wasi_http_outgoing_handler_handle(request, NULL, &future, &error)) return text("it was refused\n");
    wasi_http_types_borrow_future_incoming_response_t waiting = wasi_http_types_borrow_future_incoming_response(future);
    wasi_io_poll_own_pollable_t answered = wasi_http_types_method_future_incoming_response_subscribe(waiting);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(answered));
    wasi_io_poll_pollable_drop_own(answered);
    wasi_http_types_result_result_own_incoming_response_error_code_void_t result;
    if (!wasi_http_types_method_future_incoming_response_get(waiting, &result) || result.is_err || result.val.ok.is_err)
        return text("no answer\n");
    wasi_http_types_own_incoming_body_t body;
    if (!wasi_http_types_method_incoming_response_consume(
            wasi_http_types_borrow_incoming_response(result.val.ok.val.ok), &body))
        abort();
    return read_body(body);
}

static void answer(wasi_http_types_own_response_outparam_t out, uint16_t status, struct bytes body) {
    wasi_http_types_own_outgoing_response_t response =
        wasi_http_types_constructor_outgoing_response(wasi_http_types_constructor_fields());
    wasi_http_types_borrow_outgoing_response_t borrowed = wasi_http_types_borrow_outgoing_response(response);
    wasi_http_types_method_outgoing_response_set_status_code(borrowed, status);
    wasi_http_types_own_outgoing_body_t sent;
    wasi_http_types_own_output_stream_t stream;
    if (!wasi_http_types_method_outgoing_response_body(borrowed, &sent)) abort();
    wasi_http_types_result_own_outgoing_response_error_code_t result = {.is_err = false, .val.ok = response};
    wasi_http_types_static_response_outparam_set(out, &result);
    if (!wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(sent), &stream)) abort();
    for (size_t at = 0; at < body.length; at += PIECE) {
        web_list_u8_t piece = {body.at + at, body.length - at < PIECE ? body.length - at : PIECE};
        wasi_io_streams_stream_error_t error;
        if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(
                wasi_io_streams_borrow_output_stream(stream), &piece, &error))
            break;
    }
    wasi_io_streams_output_stream_drop_own(stream);
    wasi_http_types_error_code_t error;
    wasi_http_types_static_outgoing_body_finish(sent, NULL, &error);
    free(body.at);
}

void exports_wasi_http_incoming_handler_handle(
    wasi_http_types_own_incoming_request_t request, wasi_http_types_own_response_outparam_t out) {
    wasi_http_types_borrow_incoming_request_t asked = wasi_http_types_borrow_incoming_request(request);
    struct bytes target = text("/");
    web_string_t given;
    if (wasi_http_types_method_incoming_request_path_with_query(asked, &given)) {
        target.length = 0;
        append(&target, given.ptr, given.len);
    }
    char *path = (char *)target.at, *operand = strchr(path, '?');
    if (operand) *operand++ = 0;
    else operand = "";
    if (strcmp(path, "/") == 0) {
        answer(out, 200, text("hello from C\n"));
    } else if (strcmp(path, "/echo") == 0) {
        wasi_http_types_own_incoming_body_t body;
        if (!wasi_http_types_method_incoming_request_consume(asked, &body)) abort();
        answer(out, 200, read_body(body));
    } else if (strcmp(path, "/env") == 0) {
        const char *value = getenv(operand);
        answer(out, 200, text(value ? value : ""));
    } else if (strcmp(path, "/file") == 0) {
        answer(out, 200, read_file(operand));
    } else if (strcmp(path, "/fetch") == 0) {
        answer(out, 200, fetch(operand));
    } else if (strcmp(path, "/log") == 0) {
        printf("out: %s\n", operand);
        fflush(stdout);
        fprintf(stderr, "error: %s\n", operand);
        answer(out, 200, text("logged\n"));
    } else {
        answer(out, 404, text("no such path\n"));
    }
    wasi_http_types_incoming_request_drop_own(request);
    free(target.at);
}
