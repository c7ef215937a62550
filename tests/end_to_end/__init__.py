"""The whole: monitoring programs at one end, a phone at the other."""
