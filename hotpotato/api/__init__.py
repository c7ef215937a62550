"""Requests in: monitoring servers (V1, V2), providers' callbacks, and whoever runs it."""
