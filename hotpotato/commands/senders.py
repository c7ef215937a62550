"""`hotpotato senders`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.text import Text

from hotpotato import settings
from hotpotato.commands.checking import CheckedSender, checked_senders
from hotpotato.commands.output import Answer, Shown, json_option, show, table
from hotpotato.commands.session import on_reactor, refusals
from hotpotato.senders.registry import Registry


@click.command()
@json_option
@click.pass_obj
def senders(config: Path, as_json: bool) -> None:
    """List every sender plugin found, and every sender configured.

    A plugin is found when the package that brings it is installed beside Hot Potato. A sender is
    configured by a section [senders.NAME] of the configuration file; CHECK says what is wrong with
    it, as far as it can tell.
    """
    with refusals():
        configured = settings.load(config)
        registry = Registry.discover()
        checked = on_reactor(lambda reactor: checked_senders(configured, registry, reactor))
    show(_answer(registry, checked), as_json)


def _answer(registry: Registry, checked: list[CheckedSender]) -> Answer:
    plugins = [
        {
            "name": plugin.name,
            "methods": list(plugin.methods),
            "api_version": plugin.api_version,
            "module": type(plugin).__module__,
        }
        for _, plugin in sorted(registry.plugins.items())
    ]
    return Answer(
        {
            "plugins": plugins,
            "configured": [
                {
                    "name": each.configured.name,
                    "plugin": each.configured.plugin,
                    "methods": list(each.configured.methods),
                    "after": {method: list(before) for method, before in each.before.items()},
                    "problems": list(each.problems),
                }
                for each in checked
            ],
            "broken": dict(registry.broken),
        },
        [
            table(
                ["PLUGIN", "SERVES", "FROM"],
                [
                    (plugin.name, ", ".join(plugin.methods), type(plugin).__module__)
                    for _, plugin in sorted(registry.plugins.items())
                ],
            ),
            "",
            _configured(checked),
            *(f"\nA broken plugin: {why}" for why in registry.broken.values()),
        ],
    )


def _configured(checked: list[CheckedSender]) -> Shown:
    if not checked:
        return "No sender is configured: the file has no section [senders.NAME]."
    return table(
        ["SENDER", "PLUGIN", "SERVES", "CHECK"],
        [
            (
                each.configured.name,
                each.configured.plugin,
                ", ".join(_served(*each_method) for each_method in each.before.items()),
                Text("\n".join(each.problems), style="red")
                if each.problems
                else Text("well", style="green"),
            )
            for each in checked
        ],
    )


def _served(method: str, before: Sequence[str]) -> str:
    return f"{method}, after {' and '.join(before)}" if before else method
