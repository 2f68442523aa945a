"""moto's S3 server, for the heavy tests, with three things that it lacks: If-Match where an upload in parts is completed
(as S3 keeps it), a journal by which what it had answered survives a `kill -9`, and faults on demand.

Arguments: the folder of the journal, and the port; it prints a line when it listens. `PUT /_fault/NAME` begins a fault,
`DELETE /_fault/NAME` ends it: `denied` (403), `blind` (conditions are not looked at), `slow` (a write is answered, and
done, a quarter of a second late), `mute` (what publishes is done, and answered by 503)."""

import io
import os
import pickle
import re
import socket
import sys
import threading
import time
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

DENIED = b"<Error><Code>AccessDenied</Code><Message>canary</Message></Error>"
CHANGED = b"<Error><Code>PreconditionFailed</Code><Message>canary</Message></Error>"
CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")


class Server:
    def __init__(self, app, journal):
        self.app, self.journal = app, journal
        # The ids of uploads begun before a restart, by what moto calls them since.
        self.uploads, self.faults, self.lock = {}, set(), threading.Lock()

    def replay(self):
        if not os.path.exists(self.journal):
            return
        with open(self.journal, "rb") as journal:
            while True:
                try:
                    environ, body, upload = pickle.load(journal)
                except (EOFError, pickle.UnpicklingError):
                    return
                _, _, answer = self.ask(environ, body)
                if upload:
                    self.uploads[upload] = upload_id(answer)

    def ask(self, environ, body):
        environ = dict(environ)
        for old, new in self.uploads.items():
            environ["QUERY_STRING"] = environ["QUERY_STRING"].replace(old, new)
        environ.update({"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), "wsgi.errors": sys.stderr})
        environ.update({"wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.multithread": True})
        environ.update({"wsgi.multiprocess": False, "wsgi.run_once": False})
        said = []
        answer = b"".join(self.app(environ, lambda status, headers, _=None: said.extend((status, headers))))
        return said[0], said[1], answer

    def changed(self, environ):
        """Whether If-Match forbids the completion of an upload."""
        wanted = environ.get("HTTP_IF_MATCH")
        if environ["REQUEST_METHOD"] != "POST" or "uploadId=" not in environ["QUERY_STRING"] or not wanted:
            return False
        bucket, key = environ["PATH_INFO"].lstrip("/").split("/", 1)
        found = s3_backends["123456789012"]["aws"].get_object(bucket, key)
        return found is None or found.etag.strip('"') != wanted.strip('"')

    def __call__(self, environ, start):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        # Outside the lock: a body may come slowly.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if path.startswith("/_fault/"):
            (self.faults.add if method == "PUT" else self.faults.discard)(path.removeprefix("/_fault/"))
            start("204 No Content", [])
            return [b""]
        writes = method in ("PUT", "POST", "DELETE")
        in_parts = "uploadId=" in environ["QUERY_STRING"]
        publishes = (method == "PUT" and not in_parts) or (method == "POST" and in_parts)
        if writes and "slow" in self.faults:
            time.sleep(0.25)
        if "denied" in self.faults:
            start("403 Forbidden", [("Content-Length", str(len(DENIED)))])
            return [b"" if method == "HEAD" else DENIED]
        kept = {name: value for name, value in environ.items() if isinstance(value, str)}
        if "blind" in self.faults:
            kept = {name: value for name, value in kept.items() if name not in CONDITIONS}
        with self.lock:
            if self.changed(kept):
                start("412 Precondition Failed", [("Content-Length", str(len(CHANGED)))])
                return [CHANGED]
            status, headers, answer = self.ask(kept, body)
            if writes and status.startswith("2"):
                begun = method == "POST" and "uploads" in parse_qs(kept["QUERY_STRING"], keep_blank_values=True)
                with open(self.journal, "ab") as journal:
                    pickle.dump((kept, body, upload_id(answer) if begun else None), journal)
            if "mute" in self.faults and publishes and status.startswith("2"):
                start("503 Service Unavailable", [("Content-Length", "0")])
                return [b""]
        start(status, headers)
        return [answer]


def upload_id(answer):
    return re.search(rb"<UploadId>(.*?)</UploadId>", answer).group(1).decode()


def main():
    folder, port = sys.argv[1], int(sys.argv[2])
    server = Server(DomainDispatcherApplication(create_backend_app), os.path.join(folder, "journal"))
    server.replay()
    http = make_server("127.0.0.1", port, server, threaded=True, request_handler=MotoRequestHandler)
    http.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    print(f"listens on {http.port}", flush=True)
    http.serve_forever()


main()
