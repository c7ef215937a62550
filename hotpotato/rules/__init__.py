"""Decisions: pure functions from facts to an answer.

Nothing in here knows a clock, a database or a network: what a rule needs, `now` included, is
handed to it. The same facts always give the same answer, so a rule can be tested with examples
and properties, and asked again about the past.
"""
