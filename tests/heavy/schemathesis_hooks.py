"""What schemathesis does not know by itself: JSON lines."""

import json

import schemathesis

JSON_LINES = ("application/x-ndjson", "application/jsonl")


@schemathesis.serializer(*JSON_LINES)
def json_lines(ctx, value):
    return json.dumps(value).encode()


@schemathesis.deserializer(*JSON_LINES)
def first_line(ctx, response):
    return json.loads(response.content.split(b"\n")[0])
