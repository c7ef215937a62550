"""What falls due: one mechanism, `loop`, and its users."""
