"""What is counted, for /metrics. No phone number and no name of a person is ever a label."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hotpotato.vocabulary import Outcome


class Telemetry:
    """One process's counters, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "hotpotato_requests", "Requests answered", ["method", "path", "code"],
            registry=self.registry,
        )  # fmt: skip
        self._request_seconds = Histogram(
            "hotpotato_request_seconds", "Time to answer a request", ["path"],
            registry=self.registry,
        )  # fmt: skip
        self._not_let_in = Counter(
            "hotpotato_failed_authentications",
            "Credentials that were nobody's, by whether the answer was held back",
            ["held"], registry=self.registry,
        )  # fmt: skip
        self._attempts = Counter(
            "hotpotato_attempts", "Attempts at sending a message, by outcome",
            ["sender", "outcome"], registry=self.registry,
        )  # fmt: skip
        self._attempt_seconds = Histogram(
            "hotpotato_attempt_seconds", "Time until a sender's outcome", ["sender"],
            registry=self.registry,
        )  # fmt: skip
        self._incoming = Counter(
            "hotpotato_callbacks", "What providers told: receipts by progress, and replies",
            ["sender", "kind"], registry=self.registry,
        )  # fmt: skip
        self._sick = Gauge(
            "hotpotato_sender_sick", "1 if a sender is passed over where there is another",
            ["sender"], registry=self.registry,
        )  # fmt: skip
        self._state = Gauge(
            "hotpotato_state", "Counts of the whole installation, from the database", ["what"],
            registry=self.registry,
        )  # fmt: skip
        self._connections = Gauge(
            "hotpotato_database_connections", "Connections of this process", ["state"],
            registry=self.registry,
        )  # fmt: skip
        self._loops = Gauge(
            "hotpotato_loop_stalled", "1 if a loop has not finished a turn lately", ["loop"],
            registry=self.registry,
        )  # fmt: skip
        self._late = Histogram(
            "hotpotato_late_seconds", "How late the process called itself back, each second",
            registry=self.registry, buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
        )  # fmt: skip
        self._deadman = Counter(
            "hotpotato_deadman_pings", "Dead-man pings: sent, failed, or withheld",
            ["outcome"], registry=self.registry,
        )  # fmt: skip
        self._canaries = Counter(
            "hotpotato_canaries", "Canaries that came back or were lost", ["sender", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._canary_seconds = Gauge(
            "hotpotato_canary_seconds", "After how long the last canary came back", ["sender"],
            registry=self.registry,
        )  # fmt: skip
        # Kept, since prometheus-client looks each up under a lock, and this is every request's way.
        self._of_answers = functools.cache(
            lambda method, path, status: (
                self._requests.labels(method, path, str(status)),
                self._request_seconds.labels(path),
            )
        )

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count an answer. `path` is the route's pattern, not what the client wrote."""
        count, took = self._of_answers(method, path, status)
        count.inc()
        took.observe(seconds)

    def not_let_in(self, held: bool) -> None:
        """Count credentials that were nobody's."""
        self._not_let_in.labels("yes" if held else "no").inc()

    def attempted(self, sender: str, outcome: Outcome, seconds: float) -> None:
        """Count an attempt."""
        self._attempts.labels(sender, outcome.value).inc()
        self._attempt_seconds.labels(sender).observe(seconds)

    def came_back(self, sender: str, kind: str) -> None:
        """Count a receipt, by its progress, or a reply."""
        self._incoming.labels(sender, kind).inc()

    def judged(self, sender: str, sick: bool) -> None:
        """Show whether a sender is sick."""
        self._sick.labels(sender).set(sick)

    def counted(self, counts: Mapping[str, float]) -> None:
        """Show what the database counted now, and nothing that it counted before."""
        self._state.clear()
        for what, value in counts.items():
            self._state.labels(what).set(value)

    def pool(self, open_: int, busy: int, waiting: int) -> None:
        """Show how the connection pool stands."""
        for state, value in (("open", open_), ("busy", busy), ("waiting", waiting)):
            self._connections.labels(state).set(value)

    def late(self, seconds: float) -> None:
        """Count a look of the process after itself, and how late it was."""
        self._late.observe(seconds)

    def pinged(self, outcome: str) -> None:
        """Count a dead-man ping that was "sent", that "failed", or that was "withheld"."""
        self._deadman.labels(outcome).inc()

    def flown(self, sender: str, seconds: float | None) -> None:
        """Count a canary that came back after so many seconds; None: it did not."""
        self._canaries.labels(sender, "lost" if seconds is None else "back").inc()
        if seconds is not None:
            self._canary_seconds.labels(sender).set(seconds)

    def stalled(self, loop: str, stalled: bool) -> None:
        """Show whether a loop stands still."""
        self._loops.labels(loop).set(stalled)
