"""SMS through ACME, a provider that does not exist: how to write a sender for Hot Potato."""
