"""The ways out to people: the built-in senders, and the registry that finds everybody's."""
