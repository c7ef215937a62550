"""The API's description of itself (OpenAPI 3.1), made of the endpoints that are mounted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import hotpotato
from hotpotato.api.answers import Answer, json_answer
from hotpotato.api.site import About, Endpoint, Request

PATH = "/api/openapi.json"

_PARAMETER = re.compile(r"<(?:(int):)?(\w+)>")
_SCHEMAS: Mapping[str, Any] = {
    "Envelope": {
        "type": "object",
        "required": ["success", "code", "message", "data"],
        "properties": {
            "success": {"const": True},
            "code": {"type": "integer"},
            "message": {"type": ["string", "null"]},
            "data": True,
        },
        "additionalProperties": False,
    },
    "Error": {
        "type": "object",
        "required": ["success", "code", "message", "data"],
        "properties": {
            "success": {"const": False},
            "code": {"type": "integer"},
            "message": {"type": "string"},
            "output": {"type": "string", "description": "In version 1: the message again."},
            "data": {"type": "null"},
        },
        "additionalProperties": False,
    },
}
_SCHEMES: Mapping[str, Any] = {
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Apikey KEY` of a monitoring server; version 1 has it in the body, too.",
    },
    "token": {"type": "http", "scheme": "bearer", "description": "A person's token."},
    "callback": {"type": "http", "scheme": "basic", "description": "As the provider was told."},
}


class OpenApi:
    """The endpoint that describes the others, and itself."""

    def __init__(self, others: Iterable[Endpoint]) -> None:
        own = Endpoint("GET", PATH, self.describe, About({200: ("application/json", {})}))
        self._endpoints = [*others, own]

    def endpoints(self) -> Sequence[Endpoint]:
        """What to mount."""
        return self._endpoints[-1:]

    async def describe(self, request: Request) -> Answer:
        """This document."""
        return json_answer(200, document(self._endpoints))


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document of some endpoints; see `About`."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _PARAMETER.sub(r"{\2}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hot Potato", "version": hotpotato.__version__},
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "securitySchemes": _SCHEMES},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    about = endpoint.about
    answers = {str(status): _answer(*kind) for status, kind in about.answers.items()}
    failed = _answer("application/json", {"$ref": "#/components/schemas/Error"}, "What is wrong.")
    found: dict[str, Any] = {
        "summary": (endpoint.handle.__doc__ or "").partition("\n")[0],
        "parameters": [*_in_path(endpoint.path), *_in_query(about.query)],
        "responses": {**answers, "default": failed},
        "security": [{scheme: []} if scheme else {} for scheme in about.credentials],
    }
    if about.body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": about.body}}}
    return found


def _answer(media: str | None, schema: object, what: str = "Done.") -> dict[str, Any]:
    if media is None:
        return {"description": what}
    return {"description": what, "content": {media: {"schema": schema}}}


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 0} if kind else {"type": "string"},
        }
        for kind, name in _PARAMETER.findall(path)
    ]


def _in_query(query: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
