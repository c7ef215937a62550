"""Hot Potato: between monitoring and the people on call."""

__version__ = "0.1.0"
