"""People's tokens, with which their programs act in their name: only a digest of each is kept."""

from __future__ import annotations

from datetime import datetime

import msgspec

from hotpotato.store.database import Database, Transaction


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as it is shown; `scope` is "read" or "act".

    `usable`: neither revoked nor run out, and its person is not disabled. `last_used_at` is right
    to the minute.
    """

    id: int
    tenant: str
    person: str
    name: str
    scope: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    usable: bool


class Bearer(msgspec.Struct, frozen=True, kw_only=True):
    """In whose name a request with a token is made; `may_act`: not only read."""

    tenant_id: int
    tenant: str
    person_id: int
    person: str
    may_act: bool


async def add(
    transaction: Transaction,
    *,
    tenant_id: int,
    person_id: int,
    name: str,
    digest: bytes,
    scope: str,
    days: int,
) -> int:
    """Add a token that lives so many days; returns its id."""
    rows = await transaction.rows(
        """
        INSERT INTO token (tenant_id, person_id, name, digest, scope, expires_at)
        VALUES (%(tenant_id)s, %(person_id)s, %(name)s, %(digest)s, %(scope)s,
                hotpotato_now() + make_interval(days => %(days)s))
        RETURNING id
        """,
        {
            "tenant_id": tenant_id,
            "person_id": person_id,
            "name": name,
            "digest": digest,
            "scope": scope,
            "days": days,
        },
    )
    token_id: int = rows[0][0]
    return token_id


async def find(
    transaction: Transaction, tenant: str | None = None, number: int | None = None
) -> list[Token]:
    """The tokens, those of no use any more too: all, of a tenant, or the one of that id."""
    rows = await transaction.rows(
        """
        SELECT token.id, tenant.name, person.name, token.name, token.scope, token.created_at,
               token.expires_at, token.last_used_at, token.revoked_at,
               token.revoked_at IS NULL AND token.expires_at > hotpotato_now()
               AND person.disabled_at IS NULL
          FROM token JOIN tenant ON tenant.id = token.tenant_id
          JOIN person ON person.id = token.person_id
         WHERE (%(tenant)s::text IS NULL OR tenant.name = %(tenant)s)
           AND (%(id)s::bigint IS NULL OR token.id = %(id)s)
         ORDER BY tenant.name, person.name, token.id LIMIT 10000
        """,
        {"tenant": tenant, "id": number},
    )
    return [Token(**dict(zip(Token.__struct_fields__, row, strict=True))) for row in rows]


async def revoke(transaction: Transaction, number: int) -> None:
    """Let nobody in with this token from now on."""
    await transaction.execute(
        "UPDATE token SET revoked_at = coalesce(revoked_at, hotpotato_now()) WHERE id = %s",
        [number],
    )


async def bearer(database: Database, digest: bytes) -> Bearer | None:
    """Who shows the token of this digest; None if it is unknown, revoked, over or a disabled one's.

    That it was used is noted, but no more than once a minute.
    """
    rows = await database.statement(_BEARER, {"digest": digest})
    if not rows:
        return None
    return Bearer(**dict(zip(Bearer.__struct_fields__, rows[0], strict=True)))


_BEARER = """
WITH shown AS MATERIALIZED (
    SELECT token.id, token.tenant_id, tenant.name AS tenant, token.person_id,
           person.name AS person, token.scope = 'act' AS may_act
      FROM token JOIN tenant ON tenant.id = token.tenant_id
      JOIN person ON person.id = token.person_id
     WHERE token.digest = %(digest)s AND token.revoked_at IS NULL
       AND token.expires_at > hotpotato_now() AND person.disabled_at IS NULL
), used AS (
    UPDATE token SET last_used_at = hotpotato_now()
      FROM shown
     WHERE token.id = shown.id
       AND (token.last_used_at IS NULL
            OR token.last_used_at <= hotpotato_now() - interval '1 minute')
)
SELECT tenant_id, tenant, person_id, person, may_act FROM shown
"""
