"""A server in Python: `wasi:http/incoming-handler`, as componentize-py makes it of a class."""

import sys
from urllib.parse import unquote, urlsplit

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports import environment, outgoing_handler
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.wasi_http_types import (
    Fields,
    IncomingBody,
    IncomingRequest,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
    Scheme_Https,
)

# What one call may write.
PIECE = 4096


class IncomingHandler(exports.IncomingHandler):
    """What the component exports."""

    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        status, body = answer(request)
        response = OutgoingResponse(Fields.from_list([("content-length", str(len(body)).encode())]))
        response.set_status_code(status)
        out = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with out.write() as stream:
            for at in range(0, len(body), PIECE):
                stream.blocking_write_and_flush(body[at : at + PIECE])
        OutgoingBody.finish(out, None)


def answer(request: IncomingRequest) -> tuple[int, bytes]:
    path, _, query = (request.path_with_query() or "/").partition("?")
    operand = unquote(query)
    match path:
        case "/":
            return 200, b"hello from Python\n"
        case "/echo":
            return 200, read(request.consume())
        case "/env":
            return 200, dict(environment.get_environment()).get(operand, "").encode()
        case "/file":
            with open(operand, "rb") as file:
                return 200, file.read()
        case "/fetch":
            return fetch(operand)
        case "/log":
            print(f"out: {operand}", flush=True)
            print(f"error: {operand}", file=sys.stderr, flush=True)
            return 200, b"logged\n"
        case _:
            return 404, b"no such path\n"


def fetch(url: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    request = OutgoingRequest(Fields.from_list([]))
    request.set_scheme(Scheme_Https() if parts.scheme == "https" else Scheme_Http())
    request.set_authority(parts.netloc)
    request.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    future = outgoing_handler.handle(request, None)
    future.subscribe().block()
    response = future.get().value.value
    return response.status(), read(response.consume())


def read(body: IncomingBody) -> bytes:
    pieces = []
    with body.stream() as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(PIECE))
            except Exception as error:
                if isinstance(getattr(error, "value", None), StreamError_Closed):
                    return b"".join(pieces)
                raise
