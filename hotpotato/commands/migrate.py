"""`hotpotato migrate`."""

from __future__ import annotations

import click

from hotpotato.commands.output import Answer, Refused
from hotpotato.commands.session import Session, with_database
from hotpotato.store import schema
from hotpotato.store.database import TooSlow


@click.command()
@with_database
async def migrate(session: Session) -> Answer:
    """Bring the database's schema up to date.

    Safe to repeat, and to run from two hosts at once. Daemons of the version before keep working,
    so hosts are upgraded one after the other: migrate first, then restart each daemon. Not during
    a backup, and on a large installation at a quiet hour: what is written waits while an index is
    made.

    The database's user must be allowed to create tables, and once, for the extension btree_gist,
    have the right CREATE on the database: its owner has both.
    """
    try:
        applied = await schema.migrate(session.database)
    except TooSlow as error:
        raise Refused(
            "somebody holds a lock, a backup perhaps; nothing was changed: repeat it afterwards"
        ) from error
    await schema.check(session.database)
    last = schema.migrations()[-1]
    shown = [f"applied {each.number:04} {each.name}" for each in applied]
    return Answer(
        {
            "applied": [{"number": each.number, "name": each.name} for each in applied],
            "schema": last.number,
        },
        [*shown, f"The schema is up to date, at migration {last.number}."],
    )
