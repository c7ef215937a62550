"""`hotpotato sandbox`: a stand-in for Modica's gateway, with a phone to look at and reply from."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import click

from hotpotato.commands.output import Answer, Refused, facts, json_option, plain, show, table

PORT = 8025

_url = click.option(
    "--url",
    default=f"http://127.0.0.1:{PORT}",
    envvar="HOTPOTATO_SANDBOX_URL",
    show_default=True,
    help="Where the sandbox is.",
)


@click.group()
def sandbox() -> None:
    """Play with a stand-in for Modica's gateway and the phones behind it."""


@sandbox.command()
@click.option("--port", default=PORT, show_default=True, help="0: a free one.")
@click.option("--interface", default="127.0.0.1", show_default=True)
@click.option("--application", default="sandbox", show_default=True, help="HTTP Basic user.")
@click.option("--password", default="sandbox", show_default=True)
@click.option("--callback-url", help="For receipts and replies: http://…/api/senders/NAME")
@click.option("--callback-username")
@click.option("--callback-password", envvar="HOTPOTATO_SANDBOX_CALLBACK_PASSWORD")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document for each event.")
def run(port: int, interface: str, as_json: bool, **options: Any) -> None:
    """Run a gateway in the foreground and print what it gets and sends, line by line."""
    from treq.client import HTTPClient
    from twisted.internet.defer import Deferred
    from twisted.internet.error import CannotListenError
    from twisted.internet.task import react
    from twisted.web.client import Agent

    from hotpotato.sandbox import Gateway

    def tell(kind: str, facts: Mapping[str, Any]) -> None:
        click.echo(json.dumps({"event": kind, **facts}) if as_json else plain(told(kind, facts)))

    async def main(reactor: Any) -> None:
        gateway = Gateway(
            reactor,
            HTTPClient(Agent(reactor)),
            first_id=time.time_ns(),
            on_event=tell,
            **options,
        )
        try:
            await gateway.start(reactor, port, interface)
        except CannotListenError as error:
            reason = f"cannot listen on port {port}: {error.socketError}"
            raise SystemExit(f"hotpotato: {reason}") from error
        tell("listening", {"url": gateway.url})
        await Deferred()

    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))


@sandbox.command()
@click.argument("text")
@click.option("--from", "number", help="The phone that replies; default: the last that got a text.")
@_url
@json_option
def reply(text: str, number: str | None, url: str, as_json: bool) -> None:
    """Reply from a phone, as in: hotpotato sandbox reply "ack KWT"."""
    done = _ask(url, "POST", "/sandbox/reply", {"text": text, "number": number})
    if done["answered"] != 200:
        raise Refused(f"the reply was answered {done['answered'] or 'by nobody'}, expected 200")
    show(Answer(done, ["The reply was taken."]), as_json)


@sandbox.command()
@click.option("--number", help="Only those to this phone.")
@_url
@json_option
def messages(number: str | None, url: str, as_json: bool) -> None:
    """Show what the phones got, oldest first."""
    query = "" if number is None else "?" + urllib.parse.urlencode({"number": number})
    found = _ask(url, "GET", f"/sandbox/messages{query}")
    rows = [
        (message["number"], (message["receipts"] or ["none yet"])[-1], plain(message["text"]))
        for message in found["messages"]
    ]
    show(Answer(found, [table(["PHONE", "RECEIPT", "TEXT"], rows)]), as_json)


@sandbox.command()
@click.argument("do", required=False)
@click.option("--number", help="Only for messages to this phone.")
@click.option("--text", help="Only for texts in which this regular expression is found.")
@click.option("--times", type=int, help="Only for the next so many messages.")
@click.option("--chance", default=1.0, show_default=True, help="With this probability.")
@click.option("--seconds", default=5.0, show_default=True, help="How slow “slow” is.")
@click.option("--retry-after", help="The header, with a status.")
@click.option("--shape", default="error", show_default=True, help="The body: error, code, empty …")
@_url
@json_option
def misbehave(do: str | None, url: str, as_json: bool, **how: Any) -> None:
    """Have messages treated badly. Without DO, show what it can be and what is asked for."""
    from hotpotato.sandbox.misbehaviour import WORDS

    if do is None:
        found = _ask(url, "GET", "/sandbox/misbehave")
    else:
        found = _ask(url, "POST", "/sandbox/misbehave", {"do": do} | how)
    asked = [_asked_for(misbehaviour) for misbehaviour in found["misbehaviours"]]
    shown = [f"Asked for: {'; '.join(asked) or 'nothing'}."]
    show(Answer(found, shown if do else [facts(WORDS.items()), *shown]), as_json)


@sandbox.command()
@_url
@json_option
def behave(url: str, as_json: bool) -> None:
    """Take back every misbehaviour that was asked for."""
    found = _ask(url, "DELETE", "/sandbox/misbehave")
    show(Answer(found, ["The sandbox behaves."]), as_json)


def told(kind: str, facts: Mapping[str, Any]) -> str:
    """One line about an event of the gateway, for a person."""
    answered = facts.get("answered") or "no answer"
    match kind:
        case "message":
            return f"SMS to {facts['number']}: {facts['text']}"
        case "receipt":
            return f"receipt for {facts['id']}: {facts['status']} -> {answered}"
        case "reply":
            return f"reply from {facts['number']}: {facts['text']} -> {answered}"
        case "refused":
            return f"refused with {facts['status']}: {facts['why']}"
    return f"{kind}: " + ", ".join(f"{name} {value}" for name, value in facts.items())


def _asked_for(misbehaviour: Mapping[str, Any]) -> str:
    limits = [
        f"{name} {misbehaviour[name]}"
        for name in ("times", "number", "text")
        if misbehaviour[name] is not None
    ]
    return ", ".join([misbehaviour["do"], *limits])


def _ask(url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Ask the sandbox's own HTTP. Raises Refused for whatever goes wrong."""
    if not url.startswith(("http://", "https://")):
        raise Refused(f"--url: expected http://…, not {url}")
    request = urllib.request.Request(  # noqa: S310
        url.rstrip("/") + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refused(_reason(error)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Refused(
            f"no sandbox at {url} ({reason}): start one with `hotpotato sandbox run`"
        ) from error


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"answered {error.code}: is it a sandbox?"
