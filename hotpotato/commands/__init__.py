"""The `hotpotato` command: administration, one module per noun."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hotpotato import __version__
from hotpotato.commands.alert import alert
from hotpotato.commands.calendar import calendar
from hotpotato.commands.check import check
from hotpotato.commands.contact import contact
from hotpotato.commands.demo import demo
from hotpotato.commands.migrate import migrate
from hotpotato.commands.notification import notification
from hotpotato.commands.oncall import oncall
from hotpotato.commands.output import examples
from hotpotato.commands.policy import policy
from hotpotato.commands.roster import roster
from hotpotato.commands.sandbox import sandbox
from hotpotato.commands.schedule import schedule
from hotpotato.commands.senders import senders
from hotpotato.commands.sendtest import send_test
from hotpotato.commands.server import server
from hotpotato.commands.silence import silence
from hotpotato.commands.tenant import tenant
from hotpotato.commands.token import token
from hotpotato.commands.user import user
from hotpotato.commands.why import why
from hotpotato.settings import DEFAULT_PATH

_EXAMPLES = examples(
    "hotpotato demo               # try it, with a database, a phone and everything",
    "",
    "hotpotato migrate            # set it up",
    "hotpotato tenant add acme --timezone Pacific/Auckland",
    "hotpotato user add Anna --tenant acme --sms +64211234567",
    "hotpotato oncall set Anna",
    "hotpotato server add icinga-akl --tenant acme",
    "hotpotato check",
    "hotpotato send-test Anna",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EXAMPLES)
@click.option(
    "--config",
    "-c",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_PATH,
    envvar="HOTPOTATO_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The configuration file.",
)
@click.version_option(__version__, prog_name="hotpotato")
@click.pass_context
def cli(ctx: click.Context, config: Path) -> None:
    """Hot Potato: between monitoring and the people on call.

    Every command takes --json and then prints one JSON document. Exit status: 0 done, 1 refused,
    with one line on stderr, 2 wrong usage.
    """
    ctx.obj = config


for command in (
    demo,
    migrate,
    tenant,
    user,
    contact,
    oncall,
    schedule,
    roster,
    policy,
    calendar,
    server,
    notification,
    alert,
    silence,
    token,
    why,
    send_test,
    senders,
    check,
    sandbox,
):
    cli.add_command(command)


def main() -> None:
    """Run the command with the process's arguments."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that can't show a character gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli(prog_name="hotpotato")
