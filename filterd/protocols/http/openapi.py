"""The OpenAPI 3.1 document of the HTTP protocol; schemas come from the types that parse and answer."""

from typing import Any

import msgspec

from filterd import __version__
from filterd.protocols.http.wire import BatchBody, MessageBody, VerdictBody

_TYPES = (MessageBody, BatchBody, VerdictBody)
_REFS, _SCHEMAS = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
_MESSAGE, _BATCH, _VERDICT = _REFS

_ERROR = {
    "description": "What is wrong, in one line",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {"error": {"type": "string"}},
            }
        }
    },
}
_ERRORS = dict.fromkeys(("400", "401", "413", "415", "429", "503"), _ERROR)
_INPUT = {
    "required": True,
    "content": {
        "message/rfc822": {"schema": {"type": "string", "format": "binary"}},
        "application/json": {"schema": {"oneOf": [_MESSAGE, _BATCH]}},
    },
}


def _parameter(name: str, description: str, *values: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "enum": list(values)} if values else {"type": "string"}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _flags(name: str) -> dict[str, Any]:
    flag = {"oneOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "boolean"}}]}
    return {"type": "object", "required": [name], "properties": {name: flag}}


def _get(summary: str, description: str, media_type: str = "application/json") -> dict[str, Any]:
    content = {media_type: {"schema": {"type": "string" if media_type.startswith("text") else "object"}}}
    return {
        "get": {"summary": summary, "responses": {"200": {"description": description, "content": content}}}
    }


def _post(
    summary: str, answer: dict[str, Any], *parameters: dict[str, Any], closed: bool = False
) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "parameters": list(parameters),
            "requestBody": _INPUT,
            "responses": {"200": answer, **_ERRORS, **({"403": _ERROR} if closed else {})},
        }
    }


_KIND = _parameter("kind", "What a raw body is; looked at when left out", "mail", "sms")
_ID = _parameter("id", "The caller's own id of a raw body; comes back in the answer")
_USER = _parameter("user", "For whom a raw body is judged, or who says what it is; empty for the site")
_LABEL = _parameter("label", "What the message is", "ham", "spam")
_VERDICTS = {
    "oneOf": [
        _VERDICT,
        {"type": "object", "properties": {"verdicts": {"type": "array", "items": _VERDICT}}},
    ]
}

DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "filterd",
        "version": __version__,
        "description": "Judges mail and SMS, takes corrections. Nothing leaves the machine.",
    },
    "paths": {
        "/v1/check": _post("Judge one message or many", _answer("The verdict", _VERDICTS), _KIND, _ID, _USER),
        "/v1/learn": _post(
            "Take a correction; durable when answered",
            _answer("False: it was known already", _flags("learned")),
            *(_LABEL, _KIND, _ID, _USER),
            closed=True,
        ),
        "/v1/forget": _post(
            "Take a correction back",
            _answer("False: there was none", _flags("forgotten")),
            *(_KIND, _USER),
            closed=True,
        ),
        "/v1/messages": _get("The latest verdicts, without text", "Newest first"),
        "/v1/status": _get("What the daemon is doing", "Model, queue, counts, drift"),
        "/v1/openapi.json": _get("This document", "OpenAPI 3.1"),
        "/metrics": _get("Prometheus metrics", "Text exposition format 0.0.4", "text/plain"),
        "/ping": _get("Is somebody there", "pong", "text/plain"),
        "/healthy": _get("Does the event loop turn", "It does"),
        "/ready": _get("Is a model loaded and room in the queue", "Yes; 503 where not"),
        "/checkv2": _post("Rspamd's check", _answer("As Rspamd answers", {"type": "object"})),
        "/learnspam": _post(
            "Rspamd's learn spam", _answer("As Rspamd answers", {"type": "object"}), closed=True
        ),
        "/learnham": _post(
            "Rspamd's learn ham", _answer("As Rspamd answers", {"type": "object"}), closed=True
        ),
        "/stat": _get("Rspamd's counts", "As Rspamd answers"),
        "/auth": _get("Rspamd's counts, shorter; `rspamc uptime` asks it", "As Rspamd answers"),
    },
    "components": {
        "schemas": _SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
    "security": [{}, {"token": []}],
}
